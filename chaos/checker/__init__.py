"""Checker: judges a run by its clients' history and the final reads alone. It does not know how Meridian works."""
