"""Conflict-free data types: pure, each in a file of its own, each with its rule and its source."""

from projectors.crdt.base import Crdt, InvalidOperation, Made, Tag
from projectors.crdt.bounded import BoundedCounter, Restock, Take, Transfer, may_take
from projectors.crdt.counter import PnCounter
from projectors.crdt.dwflag import DisableWinsFlag
from projectors.crdt.ewflag import EnableWinsFlag
from projectors.crdt.extremum import MaxRegister, MinRegister
from projectors.crdt.gcounter import GCounter
from projectors.crdt.gset import GSet
from projectors.crdt.lww import Assign, LwwRegister
from projectors.crdt.lwwmap import LwwMap, Put
from projectors.crdt.mvregister import LatestRegister, MvRegister
from projectors.crdt.ormap import OrMap, Resettable, Update
from projectors.crdt.orset import Add, OrSet, Remove
from projectors.crdt.rwset import RemoveWinsSet
from projectors.crdt.twophase import TwoPhaseSet
from projectors.crdt.yjs import Draft, RichText, Sequence

__all__ = [
    "Add",
    "Assign",
    "BoundedCounter",
    "Crdt",
    "DisableWinsFlag",
    "Draft",
    "EnableWinsFlag",
    "GCounter",
    "GSet",
    "InvalidOperation",
    "LatestRegister",
    "LwwMap",
    "LwwRegister",
    "Made",
    "MaxRegister",
    "MinRegister",
    "MvRegister",
    "OrMap",
    "OrSet",
    "PnCounter",
    "Put",
    "Remove",
    "RemoveWinsSet",
    "Resettable",
    "Restock",
    "RichText",
    "Sequence",
    "Tag",
    "Take",
    "Transfer",
    "TwoPhaseSet",
    "Update",
    "may_take",
]
