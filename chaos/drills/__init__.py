"""Drills: one outage under a load of real flights, measured. Each kind is a scenario file; `chaos drill` runs one."""
