"""Benchmarks: each row is a ratio against a named baseline in the same run. `make bench` prints the table."""
