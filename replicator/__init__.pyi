"""Meridian's events and how they travel: the event store, and the copy to every other region."""

from replicator.connect import connect_consumer, connect_homed_claims, connect_personal_data, connect_store
from replicator.domain.clock import Hlc, HybridLogicalClock
from replicator.domain.errors import (
    ClockAhead,
    DamagedEvent,
    InvalidConfig,
    InvalidEvent,
    InvalidName,
    InvalidOperation,
    InvalidToken,
    MeridianError,
    RegionUnavailable,
)
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken, TokenCodec
from replicator.domain.vector import VersionVector
from replicator.eventstore.appender import Write
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.operations import (
    Accept,
    Always,
    AtToken,
    GaveUp,
    IfEmpty,
    Operation,
    Precondition,
    Reject,
    Rejected,
    Result,
    Saved,
    When,
)
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention, GuardFailed, NotHereYet, OutcomeUnknown
from replicator.fencing import RegionFenced
from replicator.runtime.settings import Settings, read_settings

__all__ = [
    "Accept",
    "Always",
    "AppendContention",
    "AtToken",
    "ClockAhead",
    "ConsistencyToken",
    "DamagedEvent",
    "Event",
    "EventStore",
    "GaveUp",
    "GuardFailed",
    "Hlc",
    "HybridLogicalClock",
    "IfEmpty",
    "InvalidConfig",
    "InvalidEvent",
    "InvalidName",
    "InvalidOperation",
    "InvalidToken",
    "LaneId",
    "MemoryStorage",
    "MeridianError",
    "NewEvent",
    "NotHereYet",
    "Observed",
    "Operation",
    "OutcomeUnknown",
    "Precondition",
    "RegionFenced",
    "RegionUnavailable",
    "Reject",
    "Rejected",
    "Result",
    "Saved",
    "Settings",
    "StreamId",
    "TokenCodec",
    "VersionVector",
    "When",
    "Write",
    "connect_consumer",
    "connect_homed_claims",
    "connect_personal_data",
    "connect_store",
    "read_settings",
]
