"""Control state: one contract for both backends, and the three small things that are kept in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.aws.control_table import DynamoControl
from replicator.control.backlog import TableBacklog
from replicator.control.checkpoints import Checkpoints
from replicator.control.control_storage import ControlStorage, fitting
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import PAGE, Quarantine, by_lane, select
from replicator.domain.errors import InvalidName, RegionUnavailable
from replicator.domain.names import LaneId, StreamId
from replicator.runtime.settings import Settings

LANES = [LaneId("us-east-1", StreamId("user", name)) for name in ("apu", "bart", "homer", "ned", "Zoë")]


@pytest.fixture(params=["memory", pytest.param("emulator", marks=pytest.mark.emulator)])
def control(request: pytest.FixtureRequest) -> ControlStorage:
    return MemoryControl() if request.param == "memory" else DynamoControl(request.getfixturevalue("emptied_settings"))


def test_scopes_are_listed_in_key_order_a_part_at_a_time_and_apart_from_each_other(control: ControlStorage) -> None:
    values = {f"k{n:03d}": {"n": n, "text": "Zoë 🦄", "none": None} for n in range(60)}
    control.put("one", dict(reversed(values.items())))
    control.put("other", {"k000": {"n": -1}})
    control.put("one", {})
    assert list(control.get_all("one")) == list(values.items())
    assert [key for key, _ in control.get_all("one", limit=7)] == [f"k{n:03d}" for n in range(7)]
    assert [key for key, _ in control.get_all("one", limit=7, after="k006")] == [f"k{n:03d}" for n in range(7, 14)]
    assert [key for key, _ in control.get_all("one", after="k057")] == ["k058", "k059"]
    assert list(control.get_all("one", after="k059")) == list(control.get_all("neither")) == []
    control.put("one", {"k003": {"n": "replaced"}})
    assert dict(control.get_all("one"))["k003"] == {"n": "replaced"}

    # delete: only the exact value, only in this scope
    control.delete("one", {**values, "never": {"n": 1}})
    assert list(control.get_all("one")) == [("k003", {"n": "replaced"})]
    assert list(control.get_all("other")) == [("k000", {"n": -1})]
    control.delete("one", {})
    control.delete("neither", {"k003": {"n": "replaced"}})
    control.delete("one", {"k003": {"n": "replaced"}})
    assert list(control.get_all("one")) == []


def test_a_value_is_swapped_only_for_the_one_that_was_read(control: ControlStorage) -> None:
    assert not control.swap("homes", "claims", {"epoch": 1}, {"epoch": 2})
    assert control.swap("homes", "claims", None, {"epoch": 1})
    assert not control.swap("homes", "claims", None, {"epoch": 9})
    assert not control.swap("homes", "claims", {"epoch": 0}, {"epoch": 9})
    assert list(control.get_all("homes")) == [("claims", {"epoch": 1})]
    assert control.swap("homes", "claims", {"epoch": 1}, {"epoch": 2})
    assert list(control.get_all("homes")) == [("claims", {"epoch": 2})]


def test_scopes_are_read_together_and_values_one_by_one(control: ControlStorage) -> None:
    control.put("one", {"a": {"n": 1}, "b": {"n": 2}})
    control.put("other", {"a": {"n": 3}})
    assert control.get_scopes(["one", "other", "neither"]) == {
        "one": {"a": {"n": 1}, "b": {"n": 2}}, "other": {"a": {"n": 3}}, "neither": {}
    }  # fmt: skip
    assert control.get_scopes([]) == {}
    assert control.get("one", "b") == {"n": 2}
    assert control.get("one", "c") is control.get("neither", "a") is None


def test_values_are_swapped_together_each_on_its_own_condition(control: ControlStorage) -> None:
    many = {("one", f"k{n:03d}"): (None, {"n": n}) for n in range(60)}
    control.swap_each(many)
    control.swap_each({**many, ("other", "a"): (None, {"n": -1}), ("one", "k003"): ({"n": 3}, {"n": 30})})
    control.swap_each({("one", "k004"): ({"n": 40}, {"n": 0}), ("one", "none"): ({"n": 1}, {"n": 0})})
    control.swap_each({})
    held = control.get_scopes(["one", "other"])
    assert held["one"] == {f"k{n:03d}": {"n": n} for n in range(60)} | {"k003": {"n": 30}}
    assert held["other"] == {"a": {"n": -1}}


def test_a_swap_whose_answer_was_lost_knows_its_own_value(control: ControlStorage) -> None:
    assert control.swap("homes", "claims", None, {"epoch": 1})
    assert control.swap("homes", "claims", None, {"epoch": 1})  # sent again, it fails on what it wrote itself
    assert control.swap("homes", "claims", {"epoch": 0}, {"epoch": 1})


@pytest.mark.emulator
def test_a_swap_that_is_refused_for_another_reason_says_so(emptied_settings: Settings) -> None:
    with pytest.raises(RegionUnavailable, match=r"did not change homes claims: \w+"):
        DynamoControl(replace(emptied_settings, prefix="missing")).swap("homes", "claims", None, {"epoch": 1})


def test_checkpoints_of_another_stream_or_reader_do_not_count(control: ControlStorage) -> None:
    checkpoints = Checkpoints(control, "replicator")
    assert checkpoints.load("arn:1") == {}
    checkpoints.save("arn:1", "shard-1", "100", closed=False)
    checkpoints.save("arn:1", "shard-1", "200", closed=True)
    checkpoints.save("arn:1", "shard-2", None, closed=True)
    checkpoints.save("arn:2", "shard-3", "300", closed=False)
    Checkpoints(control, "projector").save("arn:1", "shard-1", "999", closed=False)
    loaded = {shard: (v["position"], v["closed"]) for shard, v in checkpoints.load("arn:1").items()}
    assert loaded == {"shard-1": ("200", True), "shard-2": (None, True)}
    assert list(checkpoints.load("arn:2")) == ["shard-3"]


def test_quarantine_holds_one_record_an_event_with_both_digests(control: ControlStorage) -> None:
    quarantine = Quarantine(control, "us-east-1>eu-west-1")
    for _ in range(2):
        quarantine.add("us-east-1#user#homer#1", "fork", b"\x01" * 32, b"\x02" * 32)
    quarantine.add("us-east-1#user#marge#1", "damaged")
    assert quarantine.records() == [
        ("us-east-1#user#homer#1", {"reason": "fork", "held": "01" * 32, "refused": "02" * 32}),
        ("us-east-1#user#marge#1", {"reason": "damaged", "held": None, "refused": None}),
    ]
    assert Quarantine(control, "us-east-1").records() == []


def refuse(control: ControlStorage, *keys: str) -> Quarantine:
    quarantine = Quarantine(control, "us-east-1>views")
    for key in keys:
        quarantine.add(key, "why")
    return quarantine


HOMER, LISA = "us-east-1#user#homer j", "us-east-1#user#lisa"
LISTED = [
    f"a view {HOMER}#0000000000000002", f"place {HOMER}#0000000000000002", f"place {HOMER}#0000000000000007",
    f"place@2 {HOMER}#0000000000000002", f"{LISA}#head", f"{LISA}#0000000000000003", f"{LISA} 0000000000000004",
    "region mars", "record 77",
]  # fmt: skip


def test_an_event_that_many_projections_refuse_is_counted_once(control: ControlStorage) -> None:
    assert refuse(control, *LISTED[:4]).count() == 2
    assert refuse(control, *LISTED).count() == 7


def test_records_are_found_by_lane(control: ControlStorage) -> None:
    found = by_lane(dict(refuse(control, *LISTED).records()))
    assert {lane.key: sorted(records) for lane, records in found.items()} == {
        HOMER: sorted(LISTED[:4]),
        LISA: sorted(LISTED[4:6]),
    }


@pytest.mark.parametrize(
    ("what", "chosen"),
    [
        *((key, [key]) for key in LISTED),
        (f"{HOMER}#0000000000000002", [LISTED[0], LISTED[1], LISTED[3]]),
        (HOMER, LISTED[:4]),
        (LISA, LISTED[4:7]),
        ("place", LISTED[1:4]),
        ("place@2", [LISTED[3]]),
        ("a view", [LISTED[0]]),
        *((what, []) for what in ("", "us-east-1", "user", "homer", "None", "plac", f"{HOMER}#0000000000000009")),
    ],
)
def test_an_event_a_lane_or_a_projection_names_its_records(what: str, chosen: list[str]) -> None:
    records = dict(refuse(MemoryControl(), *LISTED).records())
    assert sorted(select(records, what)) == sorted(chosen)


def test_quarantine_is_gone_through_some_lanes_at_a_time_and_from_the_beginning_again() -> None:
    keys = [f"us-east-1#user#u{lane:03d}#{sequence:016d}" for lane in range(300) for sequence in (1, 2, 3)]
    quarantine = refuse(MemoryControl(), *keys, "us-east-1>eu-west-1")
    after, seen = "", []
    for _ in range(21):
        found, after = quarantine.some(after, 50)
        assert len(found) <= 50
        seen += [key for records in found.values() for key in records]
    assert sorted(seen[: len(keys)]) == keys, "each once"
    assert seen[len(keys) : len(keys) + 6] == keys[:6], "and again"
    first, end = quarantine.some("", 1000, lambda key: key.endswith("3"))
    assert all(list(records) == [key] and key.endswith("3") for records in first.values() for key in records)
    assert end == keys[PAGE - 1], "however few of them are wanted, no more are read"
    assert quarantine.some("us-east-1>eu-west-1", 2)[0].keys() == {
        LaneId.from_key("us-east-1#user#u000"),
        LaneId.from_key("us-east-1#user#u001"),
    }
    assert refuse(MemoryControl()).some("a", 2) == ({}, "")
    assert quarantine.held(keys[7])
    assert quarantine.held("us-east-1#user#u000#0000000000000009") is None


def test_what_a_sort_key_cannot_hold_is_kept_all_the_same(control: ControlStorage) -> None:
    long = LaneId("us-east-1", StreamId("t" * 128, "x" * 1024))
    assert len(long.key) > 1024, "DynamoDB's limit of a sort key"
    backlog = TableBacklog(control, "us-east-1>eu-west-1")
    backlog.defer({long: (3, 9), LANES[0]: (1, 1)}, 7)
    part = backlog.take(10)
    assert part is not None
    assert part.lanes == {long: (3, 9), LANES[0]: (1, 1)}
    backlog.done(part)
    assert backlog.page(10) == {}
    quarantine = Quarantine(control, "us-east-1")
    keys = [long.key + "#0000000000000001", "a lone \ud800 in a key", "k" * 9_000]
    for key in keys:
        quarantine.add(key, "r" * 500_000)
    records = dict(quarantine.records())
    assert records.keys() > {keys[0]}
    assert [len(value["reason"]) for value in records.values()] == [2_001] * 3
    assert all(len(key.encode()) <= 1024 for key, _ in control.get_all("quarantine#us-east-1"))
    quarantine.release(records)
    assert quarantine.records() == []


def test_a_key_that_was_made_to_fit_is_no_lane_s_own() -> None:
    """A lane may be named as the fitted key of another one."""
    long = LaneId("us-east-1", StreamId("t" * 60, "x" * 1000))
    fitted = fitting(long.key)
    assert fitted != long.key
    with pytest.raises(InvalidName):
        LaneId.from_key(fitted)


def test_what_a_record_was_made_of_releases_it_also_when_its_reason_was_cut() -> None:
    control = MemoryControl()
    quarantine = Quarantine(control, "external")
    quarantine.release({"x": quarantine.add("x", "why " * 5_000)})
    assert quarantine.records() == []
