"""Drills: an outage of each kind under real load, what an operator does about it, and every promise checked."""
