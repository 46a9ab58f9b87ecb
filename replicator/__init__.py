"""Meridian's event store, and the replication of events to every other region.

The names of this package are public, as are those of the packages that docs/api.md lists. All other modules may change with
any release.
"""

from replicator.runtime.lazy import lazily

_NAMES = {
    "aws.control_table": "DynamoControl",
    "aws.event_table": "DynamoStorage",
    "aws.kinesis": "create_streams",
    "aws.tables": "create_tables",
    "connect": "connect_consumer connect_homed_claims connect_keys connect_personal_data connect_publish_worker "
    "connect_store",
    "control.memory_control": "MemoryControl",
    "domain.clock": "Hlc HybridLogicalClock",
    "domain.errors": "ClockAhead DamagedEvent InvalidConfig InvalidEvent InvalidName InvalidOperation InvalidToken "
    "MeridianError RegionRefuses RegionUnavailable",
    "domain.event": "Event NewEvent Observed",
    "domain.names": "LaneId StreamId parse_sequence_key sequence_key",
    "domain.token": "ConsistencyToken TokenCodec",
    "domain.vector": "VersionVector",
    "eventstore.appender": "AppendPolicy Write",
    "eventstore.change_feed": "Page changes",
    "eventstore.durability": "Appended",
    "eventstore.event_items": "event_of",
    "eventstore.history": "AtSequence AuditEntry audit moment_of signed",
    "eventstore.memory_storage": "MemoryStorage",
    "eventstore.models": "EventItem bind",
    "eventstore.operations": "Accept Always AtToken GaveUp IfEmpty Operation Precondition Reject Rejected Result Saved When",
    "eventstore.reducer": "Reducer",
    "eventstore.restream": "Restream",
    "eventstore.store": "EventStore",
    "eventstore.store_errors": "AppendContention GuardFailed NotHereYet OutcomeUnknown",
    "eventstore.stream_state": "StreamState",
    "eventstore.upcasting": "Schemas set_events",
    "eventstore.whereabouts": "NotEverywhereYet Whereabouts",
    "fencing": "RegionFenced",
    "runtime.logs": "configure_logs",
    "runtime.settings": "Settings read_settings",
}
"""Names of the package, by module."""

__all__, __getattr__, __dir__ = lazily(__name__, _NAMES)
del lazily
