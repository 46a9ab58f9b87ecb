"""Workload: clients that write, read and claim, and what they write."""
