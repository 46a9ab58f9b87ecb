"""The checker: judges a run by its clients' history and the final reads alone, and knows nothing of how Meridian works."""
