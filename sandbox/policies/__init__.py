"""Network policies of the sandbox's node: translated into nftables rules, and in force before a pod's first packet."""
