"""Invocations as the driver of a projector: dead letters, messages, and what Lambda is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from botocore.exceptions import ClientError

from projectors import Projection, register
from projectors.connect import connect_inbound
from projectors.settings import sink_id
from replicator import RegionUnavailable
from replicator.control.pointers import Pointers
from replicator.replication.lambda_batches import BatchFailed, item_failures
from replicator.runtime.settings import Settings
from tests.projectors.benches import ALL_IS_WELL, EAST, SECOND, VIEWS, WEST, Bench, Mended, Visits, batch, lane, record
from tests.projectors.test_projector import poisoned

SQS_LIMIT = 262_144


def message(number: int, since: int = 5000, tries: int = 0, link: str = VIEWS, **spans: tuple[int, int]) -> dict[str, str]:
    pointers = Pointers(link, {lane(stream): span for stream, span in spans.items()}, since, tries)
    return {"messageId": f"m{number}", "body": str(pointers)}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- what Lambda is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("first", ["an event", "a change"])
def test_while_the_backlog_is_down_too_the_batch_comes_again(partial: bool, first: str) -> None:
    bench = Bench(partial=partial)
    removed, *events = bench.append("homer", *["visited"] * 3)
    bench.sink.error = bench.queue.error = RegionUnavailable("down")
    records = batch(*events) if first == "an event" else [record(removed, "REMOVE", 7), *batch(*events)]
    if partial and first != "an event":
        assert bench.inbound.project(records) == item_failures(["100"])
    else:
        with pytest.raises(BatchFailed) as raised:
            bench.inbound.project(records)
        assert "horse" not in str(raised.value)
    bench.sink.error = bench.queue.error = None
    assert bench.inbound.project(batch(*events)) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 3}


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_a_sink_that_fails_as_nobody_foresaw_is_no_success(bench: Bench, code: str) -> None:
    events = bench.append("homer", "visited")
    bench.sink.error = ClientError({"Error": {"Code": code, "Message": "no"}}, "BatchGetItem")
    with pytest.raises(ClientError):
        bench.inbound.project(batch(*events))


def test_a_quarantine_that_cannot_be_looked_at_fails_no_batch(bench: Bench) -> None:
    bench.control.read_error = RegionUnavailable("down")
    assert bench.inbound.project(batch(*bench.append("homer", "visited"))) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}


def test_a_message_of_another_link_or_of_none_is_kept_and_the_others_are_worked_on(bench: Bench) -> None:
    for name in ("homer", "marge"):
        bench.append(name, "visited")
    messages = [
        message(1, homer=(1, 1)),
        message(2, link=f"{EAST}>{WEST}", homer=(1, 1)),
        message(3, link=f"{WEST}>views", homer=(1, 1)),
        {"messageId": "m4", "body": "{"},
        message(5, marge=(1, 1)),
        message(6, link=f"{VIEWS}>a sink that is no more", homer=(1, 1)),
    ]
    assert bench.inbound.catch_up(messages, lambda: True) == item_failures(["m2", "m3", "m4", "m6"])
    assert bench.view("homer", "visits") == bench.view("marge", "visits") == {"visits": 1}


def test_messages_that_fail_again_are_one_that_waits_since_the_first(bench: Bench) -> None:
    bench.append("homer", *["visited"] * 3)
    bench.sink.error = RegionUnavailable("down")
    messages = [message(1, 4000, 2, homer=(2, 3)), message(2, 3000, 0, homer=(1, 1), marge=(1, 1))]
    assert bench.inbound.catch_up(messages, lambda: True) == ALL_IS_WELL
    assert all(1 <= delay <= 8 for delay in bench.queue.delays())
    assert bench.queue.found() == [Pointers(VIEWS, {lane("homer"): (1, 3), lane("marge"): (1, 1)}, 3000, 3)]
    bench.queue.error = RegionUnavailable("down")
    assert bench.inbound.catch_up(messages, lambda: True) == item_failures(["m1", "m2"])


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_a_poison_event_is_one_letter_however_often_it_comes(bench: Bench) -> None:
    poison, events = poisoned(bench)
    for cut in (2, 3, len(events), len(events)):
        assert bench.inbound.project(batch(*events[:cut])) == ALL_IS_WELL
        bench.restart()
    bench.inbound.catch_up([message(1, homer=(2, 2)), message(2, homer=(1, 9))], lambda: True)
    (letter,) = bench.letter()
    assert (letter.link, dict(letter.lanes)) == (VIEWS, {poison.lane: (2, 2)})
    assert letter.cause["event"] == f"member {poison.id}"
    assert "KeyError at benches.py:" in letter.cause["error"]


def test_letters_are_sent_again_where_one_could_not_be_recorded(bench: Bench) -> None:
    _, events = poisoned(bench)
    bench.control.error = RegionUnavailable("down")
    with pytest.raises(RegionUnavailable):
        bench.inbound.project(batch(*events))
    assert bench.inbound.catch_up([message(1, homer=(1, 4))], lambda: True) == item_failures(["m1"])
    assert bench.letter()


def test_a_replay_after_the_fix_folds_what_is_behind_too_and_empties_quarantine(bench: Bench) -> None:
    _, events = poisoned(bench)
    (other,) = bench.append("homer3", "joined")
    bench.inbound.project(batch(*events, other))
    assert len(bench.letter()) == 2
    bench.projector.feeds[0].engine._projections = bench.projections = (Mended, Visits)  # it has looked a moment ago
    replayed = [m for m in bench.letters.messages() if "homer3" not in m["body"]]
    assert bench.inbound.catch_up(replayed, lambda: True) == ALL_IS_WELL
    assert bench.view("homer") == {"called": "nobody", "visits": 4, "paid": 0}
    assert bench.refused() == [f"member {other.id}"], "what was not replayed stays until it is looked at"
    assert bench.metric("Quarantined")[-1] == 1
    bench.inbound.catch_up([message(1, homer3=(1, 1))], lambda: True)
    assert (bench.refused(), bench.queue.found()) == ([], [])
    assert bench.metric("Quarantined")[-1] == 0


@pytest.mark.parametrize("image", [None, {}], ids=["null", "empty"])
def test_a_record_that_is_no_event_is_one_letter_and_is_released_by_its_replay(bench: Bench, image: object) -> None:
    (event,) = bench.append("homer", "visited")
    for _ in range(3):
        bench.inbound.project([record(event, NewImage=image)])
        bench.restart()
    (letter,) = bench.letter()
    assert dict(letter.lanes) == {event.lane: (1, 1)}
    assert bench.inbound.catch_up(bench.letters.messages(), lambda: True) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}
    assert bench.refused() == []


def test_a_letter_is_small_enough_for_the_queue(bench: Bench) -> None:
    loose = register(lambda p: p["text"] + "\ud800", x=lambda p: 1)
    bench.restart(type("Loose", (Projection,), {"name": "loose", "stream_type": "member", "n": loose}))
    bench.inbound.project(batch(*bench.append("homer", "x", text="x" * 300_000)))
    (sent,) = bench.letters.messages()
    assert len(sent["body"].encode()) < SQS_LIMIT


def test_a_poison_lane_in_a_message_leaves_the_others_alone(bench: Bench) -> None:
    names = [f"m{n:03}" for n in range(120)]
    for name in names:
        bench.append(name, "joined", **({} if name in ("m010", "m060") else {"name": name}))
    assert bench.inbound.catch_up([message(1, **dict.fromkeys(names, (1, 1)))], lambda: True) == ALL_IS_WELL
    assert len(list(bench.sink.views("member"))) == 118
    assert len(bench.letter()) == len(bench.refused()) == 2
    assert bench.queue.found() == []


def test_poison_that_fails_again_after_a_replay_is_a_letter_again(bench: Bench) -> None:
    poison, events = poisoned(bench)
    bench.inbound.project(batch(*events))
    for _ in range(2):
        bench.take(bench.letters)
        assert [dict(letter.lanes) for letter in bench.letter()] == [{poison.lane: (poison.sequence, poison.sequence)}]
        assert len(bench.refused()) == 1


# -- sinks -------------------------------------------------------------------------------------------------------------


def test_functions_feed_dynamodb_first_and_every_other_sink_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(EAST, (WEST,))
    for named, expected in (("", [""]), ("dynamodb", [""]), (SECOND, ["", SECOND]), (f"{SECOND} dynamodb", ["", SECOND])):
        monkeypatch.setenv("MERIDIAN_SINKS", named)
        feeds = connect_inbound(settings, [Visits]).projector.feeds
        assert [feed.name for feed in feeds] == expected
        assert [feed.link for feed in feeds] == [VIEWS, f"{VIEWS}>{sink_id(SECOND)}"][: len(expected)]
        assert {feed.backlog._queue for feed in feeds} == {feeds[0].backlog._queue}, "one queue wakes the function"  # type: ignore[attr-defined]
