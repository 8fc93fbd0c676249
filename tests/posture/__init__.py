"""How well a complete store of prod is locked up, judged by others' programs, with every exception explained."""
