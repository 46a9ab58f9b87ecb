"""Report: the HTML page of a run."""
