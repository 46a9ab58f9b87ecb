"""Proof of the promises: a world of regions on this machine, faults, drills, and the checker."""
