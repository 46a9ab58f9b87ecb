"""What a system costs a month, by what the fleet's tables meter and AWS's list prices: `python -m benchmarks.cost`."""
