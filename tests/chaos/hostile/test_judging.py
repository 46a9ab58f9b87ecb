"""The judge of hostile inputs: it passes what is as it should be, and finds each thing that is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chaos.checker.final_reads import StoredView
from chaos.hostile.kinds import HARMLESS, LAMBDA, QUARANTINED, REFUSED, STORE, STREAM, Hostile, kind
from chaos.hostile.stored import FORK, valid_item
from chaos.hostile.verdicts import WRONG, Found, Region, by_answer, by_error, regions_wrong, tally
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidName, RegionUnavailable
from replicator.domain.names import LaneId
from replicator.eventstore.store_errors import AppendContention

EAST, WEST = "us-east-1", "eu-west-1"
MARK = "h000007"
LISTED = f'quarantine#{EAST}>views record {EAST}#thing#{MARK}#0000000000000001: {{"held":null,"reason":"damaged"}}'
PROBLEM = {"content-type": "application/problem+json"}


def item(mark: str = MARK, ms: int = 1_763_914_981_000) -> Mapping[str, Any]:
    return valid_item(EAST, mark, ms)


def view(state: str = "{}") -> StoredView:
    return StoredView("{}", state, "{}", b"x")


def region(
    name: str, *events: Mapping[str, Any], views: Mapping[str, StoredView] | None = None, refused: Any = ()
) -> Region:
    return Region(name, events, views or {}, refused)


def judged(door: str, expected: str, how: str, *regions: Region, travels: bool = False) -> str:
    hostile = Hostile(7, kind("x", door, expected, "y", travels), EAST, MARK, item())
    return Found(regions).became(hostile, how, "said").how


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def test_an_error_of_ours_that_says_something_is_a_refusal() -> None:
    assert by_error(InvalidName("name 'x' is none; give another"))[0] == REFUSED
    assert by_error(raised(lambda: Hlc.parse("nonsense")))[0] == REFUSED


@pytest.mark.parametrize(
    "call",
    [
        lambda: (_ for _ in ()).throw(ValueError("raised by nobody of ours")),
        lambda: LaneId("us-east-1"),  # type: ignore[call-arg]
        lambda: {}["x"],
    ],
)
def test_what_python_says_of_code_that_did_not_look_is_a_leak(call: Callable[[], object]) -> None:
    assert by_error(raised(call))[0] == WRONG


@pytest.mark.parametrize("error", [RegionUnavailable("us-east-1 did not answer in 5 s"), AppendContention("lost 20 races")])
def test_that_something_is_down_or_busy_is_no_refusal(error: Exception) -> None:
    assert by_error(error)[0] == WRONG


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a key of some length"), AttributeError("'str' object has no attribute"), RecursionError("maximum depth"),
        UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed"), MemoryError("so much of it"), InvalidName(""),
        InvalidName("x" * 5_000), IndexError("list index out of range"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_that_leaked_or_says_nothing_is_none(error: Exception) -> None:
    assert by_error(error)[0] == WRONG


def test_an_answer_is_a_refusal_only_as_a_problem_of_4xx() -> None:
    body = b'{"type":"urn:meridian:x","status":400,"detail":"say it"}'
    assert by_answer(400, PROBLEM, body, True)[0] == REFUSED
    assert by_answer(422, PROBLEM, body, True)[0] == WRONG, "another status"
    assert by_answer(400, {}, body, True)[0] == WRONG, "another content type"
    assert by_answer(400, PROBLEM, b"Bad Request", True)[0] == WRONG
    assert by_answer(400, PROBLEM, b'{"type":"x","status":400,"detail":""}', True)[0] == WRONG
    assert by_answer(500, PROBLEM, body.replace(b"400", b"500"), True)[0] == WRONG
    assert by_answer(400, {}, b"Invalid HTTP request received.", False)[0] == REFUSED
    assert by_answer(503, {}, b"", False)[0] == WRONG
    assert by_answer(201, {}, b"{}", True)[0] == HARMLESS


def test_what_was_refused_must_be_nowhere() -> None:
    assert judged(STORE, REFUSED, REFUSED, region(EAST), region(WEST)) == REFUSED
    assert judged(STORE, REFUSED, REFUSED, region(EAST, item()), region(WEST)) == WRONG
    assert judged(STORE, REFUSED, REFUSED, region(EAST), region(WEST, item())) == WRONG
    assert judged(STORE, REFUSED, REFUSED, region(EAST, views={f"thing@1#thing/{MARK}": view()}), region(WEST)) == WRONG


def test_what_is_quarantined_must_be_listed_with_a_reason_and_neither_copied_nor_viewed() -> None:
    listed = region(EAST, item(), refused=[LISTED])
    for door in (STREAM, LAMBDA):
        assert judged(door, QUARANTINED, QUARANTINED, listed, region(WEST)) == QUARANTINED
    assert judged(STREAM, QUARANTINED, QUARANTINED, region(EAST, item()), region(WEST)) == WRONG
    silent = LISTED.replace('"reason":"damaged"', '"reason":null')
    assert judged(STREAM, QUARANTINED, QUARANTINED, region(EAST, item(), refused=[silent]), region(WEST)) == WRONG
    assert judged(STREAM, QUARANTINED, QUARANTINED, listed, region(WEST, item())) == WRONG
    viewed = region(WEST, views={f"thing@1#thing/{MARK}": view()})
    assert judged(STREAM, QUARANTINED, QUARANTINED, listed, viewed) == WRONG
    placed = f'quarantine#{EAST} record 900000000007: {{"reason":"without a key"}}'
    assert judged(LAMBDA, QUARANTINED, QUARANTINED, region(EAST, refused=[placed]), region(WEST)) == QUARANTINED


def test_a_valid_event_that_no_projection_digests_must_be_copied_unchanged() -> None:
    listed = region(EAST, item(), refused=[LISTED])
    assert judged(STREAM, QUARANTINED, QUARANTINED, listed, region(WEST, item()), travels=True) == QUARANTINED
    assert judged(STREAM, QUARANTINED, QUARANTINED, listed, region(WEST), travels=True) == WRONG
    assert judged(STREAM, QUARANTINED, QUARANTINED, listed, region(WEST, item(ms=1)), travels=True) == WRONG


def test_what_is_declared_harmless_must_be_everywhere_as_it_was_sent() -> None:
    assert judged(STREAM, HARMLESS, HARMLESS, region(EAST, item()), region(WEST, item())) == HARMLESS
    assert judged(STREAM, HARMLESS, HARMLESS, region(EAST, item()), region(WEST)) == WRONG
    assert judged(STREAM, HARMLESS, HARMLESS, region(EAST, item()), region(WEST, item(ms=1))) == WRONG
    assert judged(STREAM, HARMLESS, HARMLESS, region(EAST, item(), refused=[LISTED]), region(WEST, item())) == WRONG


def test_a_fork_must_be_listed_and_never_be_in_its_home() -> None:
    hostile = Hostile(7, FORK, EAST, MARK, item())
    kept = region(WEST, item(ms=1))
    assert Found([region(EAST, item(), refused=[LISTED]), kept]).became(hostile, QUARANTINED, "").how == QUARANTINED
    assert Found([region(EAST, item()), kept]).became(hostile, QUARANTINED, "").how == WRONG
    assert (
        Found([region(EAST, item(), refused=[LISTED]), region(WEST, item())]).became(hostile, QUARANTINED, "").how == WRONG
    )


def test_good_events_and_views_must_be_the_same_everywhere() -> None:
    good = item("g000001")
    key = (good["pk"]["S"], 1)
    there = [region(EAST, good, views={"v": view()}), region(WEST, good, views={"v": view()})]
    assert regions_wrong(there, {key: good["digest"]["B"]}) == []
    assert len(regions_wrong([there[0], region(WEST, views={"v": view()})], {key: good["digest"]["B"]})) == 1
    assert len(regions_wrong(there, {key: b"another"})) == 2
    altered = region(WEST, {**good, "payload": {"S": "{}"}}, views={"v": view()})
    assert len(regions_wrong([there[0], altered], {key: good["digest"]["B"]})) == 1, "its digest is what it was"
    assert len(regions_wrong([there[0], region(WEST, good, views={"v": view("[]")})], {})) == 1
    assert len(regions_wrong([there[0], region(WEST, good)], {})) == 1


def test_what_is_not_as_it_should_be_is_counted_by_door_and_kind() -> None:
    hostile = Hostile(7, kind("x", STORE, REFUSED, "y"), EAST, MARK, None)
    found = Found([region(EAST), region(WEST)])
    counts = tally([found.became(hostile, how, "") for how in (REFUSED, HARMLESS, WRONG)])[(STORE, "x")]
    assert counts == {"sent": 3, "refused": 1, "harmless": 1, "wrong": 1, "not as it should be": 2}


@pytest.mark.parametrize("status", [401, 404, 409, 429, 500, 503])
def test_that_something_is_not_there_or_comes_too_often_is_no_refusal(status: int) -> None:
    body = json.dumps({"type": "x", "status": status, "detail": "something"}).encode()
    assert by_answer(status, PROBLEM, body, True)[0] == WRONG


def test_what_a_region_that_is_unknown_wrote_is_listed_as_that_region() -> None:
    hostile = Hostile(
        7, kind("region unknown", STREAM, QUARANTINED, "y"), EAST, MARK, {"pk": {"S": f"sa-east-1#thing#{MARK}"}}
    )
    listed = f'quarantine#{EAST}>views region sa-east-1: {{"reason":"no region of this system"}}'
    assert Found([region(EAST, refused=[listed])]).became(hostile, QUARANTINED, "said").how == QUARANTINED
    assert Found([region(EAST)]).became(hostile, QUARANTINED, "said").how == WRONG
    assert Found([region(WEST, refused=[listed])]).became(hostile, QUARANTINED, "said").how == WRONG
