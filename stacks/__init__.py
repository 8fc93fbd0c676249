"""What exists: the manifest of each environment and the program that turns it into resources."""
