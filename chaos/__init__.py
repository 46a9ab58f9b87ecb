"""The proof: a world of regions on this machine, faults, drills, and the checker of the promises."""
