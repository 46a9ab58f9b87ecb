"""Meridian's views: conflict-free data types, projections declared field by field, and the engine that keeps them."""

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
from projectors.model.view import View

__all__ = [
    "Engine",
    "MemorySink",
    "Projection",
    "Sink",
    "View",
    "add",
    "assign",
    "collection",
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
    "or_map",
    "put",
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
