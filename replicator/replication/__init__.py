"""Copying events to other regions: links, and the drivers that give them their turns."""
