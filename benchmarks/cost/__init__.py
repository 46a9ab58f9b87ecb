"""Bill of a system for a month, by the fleet's meter and AWS's list prices: `python -m benchmarks.cost`."""
