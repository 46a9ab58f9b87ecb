"""Meridian's views: conflict-free data types, projections declared field by field, and the engine that keeps them.

Its names are public, and so are those of the packages that docs/api.md lists. All other modules may change with any release.
"""

from replicator.runtime.lazy import lazily

_NAMES = {
    "connect": "connect_projector_worker connect_service",
    "crdt": "may_take",
    "engine.engine": "Engine",
    "engine.memory_sink": "MemorySink",
    "engine.sink": "Sink",
    "model.fields": "add assign collection counter final_set flag grow_counter grow_set lww_map maximum minimum "
    "multi_register or_map put register remove remove_wins_set restock rich_text sequence stock take "
    "transfer update",
    "model.projection": "Projection",
    "model.view": "View ViewKey",
    "reads.queries": "Query Snapshot",
    "reads.rows": "Row read_row",
    "sinks.dynamodb": "DynamoSink",
    "sinks.opening": "open_sink",
}
"""Public names, by the module that defines them."""

__all__, __getattr__, __dir__ = lazily(__name__, _NAMES)
del lazily
