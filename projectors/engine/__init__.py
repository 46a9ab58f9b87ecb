"""Engine that folds events into views, and the port of the sinks that keep them."""
