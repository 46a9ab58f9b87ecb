"""Reads of values: of streams, from the events themselves, and of rows, from views."""
