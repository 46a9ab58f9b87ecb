"""Faults of services and clocks: rules in the format of LocalStack's Chaos API, an engine of our own in front of any
endpoint, and wall clocks that can be set. Faults of the network are in chaos/world/network.py, of processes in
chaos/child_processes.py."""
