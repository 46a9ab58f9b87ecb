"""Meridian's events and how they travel: the event store, and the copy to every other region."""

from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.kinesis import create_streams
from replicator.aws.tables import create_tables
from replicator.connect import (
    connect_consumer,
    connect_homed_claims,
    connect_keys,
    connect_personal_data,
    connect_publish_worker,
    connect_store,
)
from replicator.control.memory_control import MemoryControl
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
    RegionRefuses,
    RegionUnavailable,
)
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId, parse_sequence_key, sequence_key
from replicator.domain.token import ConsistencyToken, TokenCodec
from replicator.domain.vector import VersionVector
from replicator.eventstore.appender import AppendPolicy, Write
from replicator.eventstore.change_feed import Page, changes
from replicator.eventstore.durability import Appended
from replicator.eventstore.event_items import event_of
from replicator.eventstore.history import AtSequence, AuditEntry, audit, moment_of, signed
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.models import EventItem, bind
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
from replicator.eventstore.reducer import Reducer
from replicator.eventstore.restream import Restream
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention, GuardFailed, NotHereYet, OutcomeUnknown
from replicator.eventstore.stream_state import StreamState
from replicator.eventstore.upcasting import Schemas, set_events
from replicator.eventstore.whereabouts import NotEverywhereYet, Whereabouts
from replicator.fencing import RegionFenced
from replicator.runtime.logs import configure_logs
from replicator.runtime.settings import Settings, read_settings

__all__ = [
    "Accept",
    "Always",
    "AppendContention",
    "AppendPolicy",
    "Appended",
    "AtSequence",
    "AtToken",
    "AuditEntry",
    "ClockAhead",
    "ConsistencyToken",
    "DamagedEvent",
    "DynamoControl",
    "DynamoStorage",
    "Event",
    "EventItem",
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
    "MemoryControl",
    "MemoryStorage",
    "MeridianError",
    "NewEvent",
    "NotEverywhereYet",
    "NotHereYet",
    "Observed",
    "Operation",
    "OutcomeUnknown",
    "Page",
    "Precondition",
    "Reducer",
    "RegionFenced",
    "RegionRefuses",
    "RegionUnavailable",
    "Reject",
    "Rejected",
    "Restream",
    "Result",
    "Saved",
    "Schemas",
    "Settings",
    "StreamId",
    "StreamState",
    "TokenCodec",
    "VersionVector",
    "When",
    "Whereabouts",
    "Write",
    "audit",
    "bind",
    "changes",
    "configure_logs",
    "connect_consumer",
    "connect_homed_claims",
    "connect_keys",
    "connect_personal_data",
    "connect_publish_worker",
    "connect_store",
    "create_streams",
    "create_tables",
    "event_of",
    "moment_of",
    "parse_sequence_key",
    "read_settings",
    "sequence_key",
    "set_events",
    "signed",
]
