"""The conflict-free data types: pure, each in a file of its own, each with its rule and its source."""

from projectors.crdt.base import Crdt, InvalidOperation, Tag
from projectors.crdt.counter import PnCounter
from projectors.crdt.lww import Assign, LwwRegister
from projectors.crdt.orset import Add, OrSet, Remove

__all__ = ["Add", "Assign", "Crdt", "InvalidOperation", "LwwRegister", "OrSet", "PnCounter", "Remove", "Tag"]
