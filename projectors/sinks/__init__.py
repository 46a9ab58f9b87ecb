"""Where views are kept: one port, one contract test (tests/projectors/sinks), one file for each kind of store."""

from projectors.sinks.memory import MemorySink
from projectors.sinks.port import Change, Sink

__all__ = ["Change", "MemorySink", "Sink"]
