"""Folding events into views, and the port where views are kept."""
