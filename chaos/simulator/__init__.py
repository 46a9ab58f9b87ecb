"""Simulator: Meridian's own core under a seeded scheduler, in one thread, with simulated time, clocks, regions, stores,
streams and networks. The same seed replays the same run; a failing one is shrunk to the fewest steps."""
