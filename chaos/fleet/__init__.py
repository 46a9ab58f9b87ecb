"""Fleet: many short-lived function sandboxes copy a region's events, in simulated time and with every request metered."""
