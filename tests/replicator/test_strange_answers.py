"""Whatever an engine, or something before it, answers: only Meridian's errors leave the store, and where an answer to a
write is not understood, what is at the keys decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.control.control_storage import Guard, control_text
from replicator.domain.clock import Hlc
from replicator.domain.errors import MeridianError, RegionRefuses, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item
from replicator.eventstore.storage import Insert
from replicator.eventstore.store_errors import GuardBusy, GuardFailed, LaneTaken, OutcomeUnknown
from replicator.runtime.settings import Settings
from tests.replicator.servers import Engine, Reply, serving

REGION = "us-east-1"
LANE = LaneId(REGION, StreamId("user", "homer"))
GUARD = Guard("fences", "one", {"open": True})
READS = ("BatchGetItem", "Query", "Scan", "DescribeTable")


def refusal(code: object, **more: object) -> Reply:
    return 400, json.dumps({"__type": code, "message": "no", **more}).encode()


def cancelled(reasons: object) -> Reply:
    return refusal("com.amazonaws.dynamodb.v20120810#TransactionCanceledException", CancellationReasons=reasons)


CODES = ("AccessDeniedException", "ValidationException", "ResourceNotFoundException", "DuplicateItem", "TeapotException",
         "UnrecognizedClientException", "ItemCollectionSizeLimitExceededException", "ConditionalCheckFailedException",
         "ThrottlingException", "InternalServerError", "TransactionConflictException")  # fmt: skip
REASONS: dict[str, object] = {
    "none": None, "a text": "ValidationError", "an object": {"Code": "ValidationError"}, "empty": [], "too few": [{}],
    "null": [None, None], "numbers": [1, 2], "no codes": [{}, {"Message": "x"}], "null codes": [{"Code": None}] * 2,
    "strange codes": [{"Code": 7}, {"Code": {"a": 1}}, {"Code": ["x"]}], "unknown": [{"Code": "Teapot"}, {"Code": "None"}],
    "DynamoDB Local": [{"Code": "ValidationError", "Message": "Duplicate primary key exists in table"}, {"Code": "None"}],
    "throttled": [{"Code": "ThrottlingError"}],
}  # fmt: skip
ANSWERS: dict[str, Reply] = {
    **{code: refusal(code) for code in CODES},
    **{f"reasons: {name}": cancelled(reasons) for name, reasons in REASONS.items()},
    "reasons: missing": refusal("TransactionCanceledException"),
    "a number as type": refusal(5),
    "null as type": refusal(None),
    "an object as type": refusal({"a": 1}),
    "html 403": (403, b"<html>Forbidden</html>"),
    "html 404": (404, b"<html>Not Found</html>"),
    "html 429": (429, b"<html>slow down</html>"),
    "html 200": (200, b"<html>all is well</html>"),
    "redirect": (302, b""),
    "empty 400": (400, b""),
    "empty 200": (200, b""),
    "no part 200": (200, b"{}"),
    "null parts 200": (200, b'{"Items":null,"Responses":null,"Table":null,"UnprocessedItems":null}'),
    "a list": (400, b"[1]"),
    "null": (400, b"null"),
    "a text": (400, b'"no"'),
    "bytes": (400, b"\x00\xff\xfe{"),
    "nested": (400, b"[" * 200_000),
    "a long number": (400, b'{"__type":' + b"9" * 10_000 + b"}"),
    "half": (400, b'{"__type": "Vali'),
}


class Strange(Engine):
    """Answers writes by `once`, then by `write`, and reads by what it holds, or by `read` where that is given."""

    write: Reply = (200, b"{}")
    read: Reply | None = None
    once: list[Reply] = []  # noqa: RUF012
    events: tuple[Event, ...] = ()
    guard: Guard | None = None

    def reply(self, operation: str, body: bytes) -> Reply:
        if operation not in READS:
            return self.once.pop(0) if self.once else self.write
        if self.read is not None:
            return self.read
        if operation == "BatchGetItem":
            items = [{name: _sent(value) for name, value in to_item(event).items()} for event in self.events]
            return 200, json.dumps({"Responses": {"meridian-events": items}}).encode()
        value = {"S": control_text(self.guard.value)} if self.guard else None
        return 200, json.dumps({"Items": [{"sk": {"S": "one"}, "value": value}] if value else []}).encode()


def _sent(value: dict[str, Any]) -> dict[str, Any]:
    from base64 import b64encode

    return {kind: b64encode(held).decode() if kind == "B" else held for kind, held in value.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[Strange]:
    with serving(Strange()) as server:
        yield server


@pytest.fixture
def engine(server: Strange) -> Strange:
    server.write, server.read, server.events, server.guard = (200, b"{}"), None, (), None
    return server


@pytest.fixture(scope="module")
def settings(server: Strange) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield Settings(REGION, endpoints={REGION: server.url}, attempts=1)


@pytest.fixture(scope="module")
def storage(settings: Settings) -> DynamoStorage:
    return DynamoStorage(settings)


@pytest.fixture(scope="module")
def control(settings: Settings) -> DynamoControl:
    return DynamoControl(settings)


def chain(count: int, by: str = "us") -> list[Event]:
    events: list[Event] = []
    for number in range(1, count + 1):
        prev = events[-1].digest if events else GENESIS
        new = NewEvent("renamed", {}, metadata={"by": by})
        events.append(seal(LANE, number, Hlc(1_763_914_981_000 + number, 0), new, EMPTY, prev))
    return events


def calls(storage: DynamoStorage, control: DynamoControl) -> dict[str, Callable[[], object]]:
    return {
        "insert": lambda: storage.insert(chain(1)),
        "insert two": lambda: storage.insert(chain(2)),
        "insert guarded": lambda: storage.insert(chain(1), [GUARD]),
        "insert_each": lambda: storage.insert_each(chain(2)),
        "get": lambda: storage.get([(LANE, 1)]),
        "read": lambda: list(storage.read(LANE)),
        "lanes": lambda: list(storage.lanes()),
        "index": lambda: list(storage.index(REGION)),
        "identity": storage.identity,
        "control put": lambda: control.put("scope", {"key": {"a": 1}}),
        "control swap": lambda: control.swap("scope", "key", {"a": 1}, {"a": 2}),
        "control first": lambda: control.swap("scope", "key", None, {"a": 2}),
        "control get": lambda: list(control.get_all("scope")),
        "control delete": lambda: control.delete("scope", {"key": {"a": 1}}),
        "control identity": control.identity,
    }  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_only_errors_of_meridian_leave_the_store(
    engine: Strange, storage: DynamoStorage, control: DynamoControl, name: str
) -> None:
    for read in (None, ANSWERS[name]):
        engine.write, engine.read = ANSWERS[name], read
        for what, call in calls(storage, control).items():
            try:
                with suppress(MeridianError):
                    call()
            except Exception as error:
                raise AssertionError(f"{what} raised {type(error).__name__}") from error


# -- what is at the keys decides -------------------------------------------------------------------------------------------

REFUSALS = [name for name, (status, _) in ANSWERS.items() if 400 <= status < 500 and not name.startswith("html")]
PASSING = {"ThrottlingException", "InternalServerError", "TransactionConflictException", "reasons: throttled"}
UNREADABLE = {"reasons: a text", "reasons: an object", "reasons: numbers", "a number as type", "an object as type", "a list",
              "null", "a text", "bytes", "nested"}  # fmt: skip
"""botocore's own parsers raise anything for these."""
UNDERSTOOD = {"DuplicateItem", "ConditionalCheckFailedException"}
NOT_UNDERSTOOD = [name for name in REFUSALS if name not in PASSING | UNDERSTOOD]
CERTAIN = {name for name in NOT_UNDERSTOOD if name.startswith("reasons") or name in CODES}
GUARDS = pytest.mark.parametrize("guards", [(), (GUARD,)], ids=["unguarded", "guarded"])


@GUARDS
@pytest.mark.parametrize("name", [*NOT_UNDERSTOOD, "html 403", "redirect", *sorted(UNDERSTOOD)])
def test_a_write_that_is_there_has_succeeded_and_one_whose_place_is_taken_has_lost(
    engine: Strange, storage: DynamoStorage, name: str, guards: tuple[Guard, ...]
) -> None:
    engine.write, engine.guard = ANSWERS[name], GUARD
    engine.events = tuple(chain(2))
    assert storage.insert(chain(2), guards) is False
    assert storage.insert_each(chain(2)) == [Insert.TAKEN] * 2
    engine.events = tuple(chain(1, by="another"))
    with pytest.raises(LaneTaken):
        storage.insert(chain(2), guards)


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_where_nothing_is_there_the_refusal_says_why(engine: Strange, storage: DynamoStorage, name: str) -> None:
    engine.write, engine.guard = ANSWERS[name], GUARD
    wanted = RegionRefuses if name in CERTAIN else (RegionRefuses, OutcomeUnknown)
    for guards in ((), (GUARD,)):
        with pytest.raises(wanted, match="us-east-1"):
            storage.insert(chain(2), guards)
    with pytest.raises(RegionUnavailable):
        storage.insert_each(chain(2))


def test_a_refusal_says_what_the_engine_said_and_what_to_do(engine: Strange, storage: DynamoStorage) -> None:
    for name, said in {
        "reasons: DynamoDB Local": "Duplicate primary key exists in table.*engine",
        "AccessDeniedException": "AccessDeniedException; no.*policies",
        "ResourceNotFoundException": "ResourceNotFoundException.*terraform apply",
    }.items():
        engine.write = ANSWERS[name]
        with pytest.raises(RegionRefuses, match=said):
            storage.insert(chain(2))


@pytest.mark.parametrize("name", ["html 403", "html 404", "redirect", "empty 400"])
def test_what_a_proxy_answers_says_nothing_about_a_write(engine: Strange, storage: DynamoStorage, name: str) -> None:
    engine.write = ANSWERS[name]
    with pytest.raises(OutcomeUnknown) as unknown:
        storage.insert(chain(2), [GUARD] if engine.guard else [])
    assert unknown.value.events == tuple(chain(2))


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_guard_that_does_not_hold_is_named_whatever_the_engine_calls_it(
    engine: Strange, storage: DynamoStorage, name: str
) -> None:
    engine.write = ANSWERS[name]
    for engine.guard in (None, Guard("fences", "one", {"open": False})):
        with pytest.raises(GuardFailed):
            storage.insert(chain(1), [GUARD])


@pytest.mark.parametrize("name", [name for name in NOT_UNDERSTOOD if name not in UNREADABLE])
def test_a_swap_is_settled_by_what_is_there(engine: Strange, control: DynamoControl, name: str) -> None:
    engine.write = ANSWERS[name]
    engine.guard = Guard("scope", "one", {"a": 2})
    assert control.swap("scope", "one", {"a": 1}, {"a": 2})
    assert not control.swap("scope", "one", {"a": 1}, {"a": 3})
    assert not control.swap("scope", "one", None, {"a": 3})
    with pytest.raises(RegionUnavailable):
        control.swap("scope", "one", {"a": 2}, {"a": 3})


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_busy_guards_are_named_at_once_and_a_busy_event_is_sent_again(
    engine: Strange, settings: Settings, code: str
) -> None:
    storage, other = DynamoStorage(replace(settings, attempts=3)), Guard("fences", "other", {"open": True})
    engine.write, before = cancelled([{"Code": "None"}, {"Code": code}, {"Code": "None"}]), engine.asked
    with pytest.raises(GuardBusy, match=f"fences one is .*{code}") as busy:
        storage.insert(chain(1), [GUARD, other])
    assert other.key not in str(busy.value)
    assert engine.asked == before + 1
    engine.write = cancelled([{"Code": code}, {"Code": code}])
    with pytest.raises(RegionUnavailable, match=code) as failed:
        storage.insert(chain(1), [GUARD])
    assert not isinstance(failed.value, GuardBusy)
    assert engine.asked == before + 4


def test_a_guard_that_is_busy_behind_a_lost_answer_leaves_the_outcome_unknown(engine: Strange, settings: Settings) -> None:
    storage = DynamoStorage(replace(settings, attempts=2))
    engine.once, engine.write = (
        [ANSWERS["InternalServerError"]],
        cancelled([{"Code": "None"}, {"Code": "TransactionConflict"}]),
    )
    with pytest.raises(OutcomeUnknown):
        storage.insert(chain(1), [GUARD])
    assert not engine.once


# -- reads that are answered in part ---------------------------------------------------------------------------------


class Throttling(Engine):
    """Processes `at_once` keys of a batch read and hands the others back."""

    def __init__(self, events: list[Event], at_once: int) -> None:
        super().__init__()
        self._items = {(event.lane.key, event.sequence): to_item(event) for event in events}
        self._at_once = at_once

    def reply(self, operation: str, body: bytes) -> Reply:
        ((table, wanted),) = json.loads(body)["RequestItems"].items()
        done, left = wanted["Keys"][: self._at_once], wanted["Keys"][self._at_once :]
        items = [self._items[key["pk"]["S"], int(key["sk"]["S"])] for key in done]
        answer = {"Responses": {table: [{name: _sent(value) for name, value in item.items()} for item in items]}}
        return 200, json.dumps({**answer, "UnprocessedKeys": {table: {"Keys": left}} if left else {}}).encode()


def test_keys_that_were_not_processed_are_read_again(settings: Settings) -> None:
    events = chain(7)
    with serving(Throttling(events, 2)) as server:
        storage = DynamoStorage(replace(settings, endpoints={REGION: server.url}))
        assert storage.get([(LANE, event.sequence) for event in events]) == {(LANE, e.sequence): e for e in events}
        assert server.asked == 4


def test_an_engine_that_processes_no_key_is_asked_as_often_as_any_other(settings: Settings) -> None:
    with serving(Throttling(chain(2), 0)) as server:
        storage = DynamoStorage(replace(settings, endpoints={REGION: server.url}, attempts=3))
        with pytest.raises(RegionUnavailable, match="none of a batch was processed"):
            storage.get([(LANE, 1), (LANE, 2)])
        assert server.asked == 3, "with pauses in between, and not for ever"
