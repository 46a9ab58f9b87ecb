"""The page of a run, to look at."""
