"""Meridian's events and how they travel: the event store, and the copy to every other region.

A module is imported when one of its names is asked for: a function that copies needs no event store. What the names are,
for readers and type checkers, is in __init__.pyi.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "connect": "connect_consumer connect_homed_claims connect_personal_data connect_store",
    "domain.clock": "Hlc HybridLogicalClock",
    "domain.errors": "ClockAhead DamagedEvent InvalidConfig InvalidEvent InvalidName InvalidOperation InvalidToken "
    "MeridianError RegionUnavailable",
    "domain.event": "Event NewEvent Observed",
    "domain.names": "LaneId StreamId",
    "domain.token": "ConsistencyToken TokenCodec",
    "domain.vector": "VersionVector",
    "eventstore.appender": "Write",
    "eventstore.memory_storage": "MemoryStorage",
    "eventstore.operations": "Accept Always AtToken GaveUp IfEmpty Operation Precondition Reject Rejected Result Saved When",
    "eventstore.store": "EventStore",
    "eventstore.store_errors": "AppendContention GuardFailed NotHereYet OutcomeUnknown",
    "fencing": "RegionFenced",
    "runtime.settings": "Settings read_settings",
}
"""By module, what it gives."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # the next time it is simply there
    return value
