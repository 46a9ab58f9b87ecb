"""Scenarios: a steady state, faults on a timeline with a seed, and what must hold. Each is a file; `chaos run` runs one."""
