"""Thousands of hostile inputs in memory: each is refused as its kind says, and the check of that can fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from chaos.hostile import hostile_calls, requests, stored, verdicts
from chaos.hostile.hostile_plan import Good, inputs
from chaos.hostile.kinds import DOORS, HARMLESS, Hostile
from replicator import EventStore, MemoryStorage
from replicator.domain import event as event_module
from replicator.domain import names
from replicator.eventstore.event_items import to_item
from replicator.replication.stream_records import read_records

EAST, WEST = REGIONS = ("us-east-1", "eu-west-1")
MS = 1_763_914_981_000


def wrong_calls(count: int, seed: int) -> list[str]:
    """Kinds of calls that a store in memory does not answer as declared."""
    store, random = EventStore(MemoryStorage(), EAST, REGIONS), Random(seed)
    wrong = []
    for number in range(count):
        hostile = hostile_calls.hostile_call(random, number, EAST, number)
        try:
            hostile.sent(store)
            how = HARMLESS
        except Exception as error:
            how, _ = verdicts.by_error(error)
        wrong += [hostile.kind.name] if how not in hostile.kind.expected else []
    return wrong


def wrong_records(count: int, seed: int) -> list[str]:
    """Kinds of items and records that are not read as declared: a good event behind each must be read all the same."""
    random, wrong = Random(seed), []
    good = stored.record_of(stored.valid_item(EAST, "good", MS), "1")
    for number in range(count):
        item = stored.hostile_item(random, number, EAST, WEST, MS, number)
        record = stored.hostile_record(random, number, EAST, MS, number)
        for hostile, sent in ((item, stored.record_of(item.sent, "7")), (record, record.sent)):
            try:
                text = json.loads(json.dumps(sent))
                events, refused = read_records([text, good])
            except Exception as error:
                wrong.append(f"{hostile.kind.name}: {type(error).__name__}")
                continue
            # Well sealed: what is missing, or that no such region is known, others see.
            passes = hostile.kind.name in ("sequence after a gap", "region unknown")
            valid = HARMLESS in hostile.kind.expected or hostile.kind.travels or passes
            if (len(events), len(refused)) != ((2, 0) if valid else (1, 1)) or any(len(r.reason) > 3_000 for r in refused):
                wrong.append(hostile.kind.name)
            elif valid and not passes and hostile is item and any(item.sent[n] != v for n, v in to_item(events[0]).items()):
                wrong.append(f"{hostile.kind.name}: changed")
    return wrong


def test_every_hostile_call_of_the_store_is_refused_by_an_error_that_says_why() -> None:
    assert wrong_calls(len(hostile_calls.CALLS) * 60, seed=5) == []


def test_every_hostile_record_is_refused_alone_and_what_is_harmless_is_read_as_it_was_sent() -> None:
    assert wrong_records(len(stored.ITEMS) * 30, seed=6) == []


def test_the_same_seed_is_the_same_inputs_of_every_kind_at_every_door() -> None:
    def told(seed: int) -> list[Any]:
        found = list(inputs(6_000, seed, REGIONS, MS))
        return [
            (e.number, e.kind, e.region, e.mark, None if callable(e.sent) else repr(e.sent)) if isinstance(e, Hostile) else e
            for e in found
        ]

    first = told(1)
    assert first == told(1)
    assert first != told(2)
    kinds = Counter((each[1].door, each[1].name) for each in first if not isinstance(each, Good))
    assert len(kinds) == len(hostile_calls.CALLS) + len(stored.ITEMS) + 1 + len(stored.RECORDS) + len(requests.REQUESTS)
    assert {door for door, _ in kinds} == set(DOORS) == {each.door for each in first if isinstance(each, Good)}
    assert sum(isinstance(each, Good) for each in first) >= 600
    marks = [each.mark if isinstance(each, Good) else each[3] for each in first]
    assert len(set(marks)) == len(marks)


def test_every_framed_request_is_http_with_one_length() -> None:
    random = Random(3)
    for number in range(1_000):
        request = requests.hostile_request(random, number, EAST, number).sent
        head = request.encoded().partition(b"\r\n\r\n")[0]
        if request.framed:
            assert head.split(b"\r\n")[0].endswith(b" HTTP/1.1")
            assert head.count(b"Content-Length") == (request.method == "POST")


def skip_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_module, "digest_of", lambda event: event.digest)


def leak_key_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(kind: str, text: str, limit: int) -> str:
        return {"": ""}[text[:0] if names_ok(text) else text]

    def names_ok(text: Any) -> bool:
        return isinstance(text, str) and bool(text) and "#" not in text

    monkeypatch.setattr(names, "check_segment", check)


def count_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicator.replication.stream_records.GENESIS", None)


@pytest.mark.parametrize(
    ("plant", "run", "found"),
    [
        (skip_digests, wrong_records, "digest or prev flipped"),
        (leak_key_errors, wrong_calls, "stream name with the delimiter"),
        (count_anything, wrong_records, "clock far ahead"),
    ],
    ids=["digests are not checked", "a KeyError leaks", "every first event is refused"],
)
def test_a_planted_break_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    run: Callable[[int, int], list[str]],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert found in run(len(stored.ITEMS) * 2, 5)
