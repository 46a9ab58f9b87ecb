"""Meridian's views: conflict-free data types, projections declared field by field, and the engine that keeps them."""

from projectors.engine import Engine
from projectors.memory import MemorySink
from projectors.projection import Projection, add, collection, counter, register, remove
from projectors.sink import Sink
from projectors.view import View

__all__ = [
    "Engine",
    "MemorySink",
    "Projection",
    "Sink",
    "View",
    "add",
    "collection",
    "counter",
    "register",
    "remove",
]
