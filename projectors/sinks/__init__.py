"""Stores that keep views: one port, one contract test (tests/projectors/sinks), one file for each kind of store."""

from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Change, Sink

__all__ = ["Change", "MemorySink", "Sink"]
