"""Meridian's views: conflict-free data types, projections declared field by field, and the engine that keeps them."""

from projectors.connect import connect_projector_worker, connect_service
from projectors.crdt import may_take
from projectors.engine.engine import Engine
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Sink
from projectors.model.fields import (
    add,
    assign,
    collection,
    counter,
    final_set,
    flag,
    grow_counter,
    grow_set,
    lww_map,
    maximum,
    minimum,
    multi_register,
    or_map,
    put,
    register,
    remove,
    remove_wins_set,
    restock,
    rich_text,
    sequence,
    stock,
    take,
    transfer,
    update,
)
from projectors.model.projection import Projection
from projectors.model.view import View, ViewKey
from projectors.reads.queries import Query, Snapshot
from projectors.reads.rows import Row, read_row
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.opening import open_sink

__all__ = [
    "DynamoSink",
    "Engine",
    "MemorySink",
    "Projection",
    "Query",
    "Row",
    "Sink",
    "Snapshot",
    "View",
    "ViewKey",
    "add",
    "assign",
    "collection",
    "connect_projector_worker",
    "connect_service",
    "counter",
    "final_set",
    "flag",
    "grow_counter",
    "grow_set",
    "lww_map",
    "maximum",
    "may_take",
    "minimum",
    "multi_register",
    "open_sink",
    "or_map",
    "put",
    "read_row",
    "register",
    "remove",
    "remove_wins_set",
    "restock",
    "rich_text",
    "sequence",
    "stock",
    "take",
    "transfer",
    "update",
]
