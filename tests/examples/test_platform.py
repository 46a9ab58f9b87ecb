"""The identity platform's operations on addresses, on stores in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.identity.platform import Identity
from replicator import EventStore, MemoryStorage, Rejected, Saved
from replicator.claims import HomedClaims
from replicator.claims.homes import HomeMover
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData

EAST = "us-east-1"


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    storage = MemoryStorage()
    store = EventStore(storage, EAST, [EAST])
    HomeMover({EAST: storage.control}, {EAST: storage}, frozenset({"email"})).move([EAST])
    claims = HomedClaims(EAST, {EAST: storage.control}.__getitem__, {EAST: store}.__getitem__)
    personal = PersonalData(EAST, {EAST: MemoryKeys()}, LocalWrapping(tmp_path / "personal.key"))
    identity = Identity(store, claims, personal)
    for user in ("homer", "lisa"):
        assert isinstance(identity.register(user, user.title(), f"{user}@springfield.example", who=user), Saved)
    return identity


def owner(identity: Identity, email: str) -> str | None:
    found = identity.claims.owner(identity.email_claim(email)).owner
    return str(found) if found else None


def test_a_change_to_a_free_address_gives_the_old_one_up(identity: Identity) -> None:
    assert isinstance(identity.change_email("homer", "max@power.example", who="homer"), Saved)
    assert owner(identity, "max@power.example") == "user/homer"
    assert owner(identity, "homer@springfield.example") is None
    assert identity.user("homer").value["email"] == "max@power.example"


def test_a_change_to_somebody_else_s_address_changes_nothing(identity: Identity) -> None:
    assert isinstance(identity.change_email("homer", "lisa@springfield.example", who="homer"), Rejected)
    assert owner(identity, "homer@springfield.example") == "user/homer"
    assert identity.user("homer").value["email"] == "homer@springfield.example"


def test_another_spelling_of_one_s_own_address_stays_one_s_own(identity: Identity) -> None:
    assert isinstance(identity.change_email("lisa", " Lisa@Springfield.example", who="lisa"), Saved)
    assert owner(identity, "lisa@springfield.example") == "user/lisa"
    assert identity.user("lisa").value["email"] == " Lisa@Springfield.example"
    assert isinstance(identity.register("bart", "Bart", "lisa@springfield.example", who="bart"), Rejected)
