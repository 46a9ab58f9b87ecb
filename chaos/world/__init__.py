"""World: regions as processes on this machine, the network between them, servers beside them, and backups."""
