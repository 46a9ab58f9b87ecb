"""The hybrid logical clock: never back, never before what it saw, and never dragged far ahead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.domain.clock import (
    DEFAULT_MAX_AHEAD_MS,
    MAX_COUNTER,
    MAX_MILLISECONDS,
    Hlc,
    HybridLogicalClock,
    milliseconds_of,
    time_of,
)
from replicator.domain.errors import ClockAhead, InvalidEvent

NOW = 1_763_914_981_123
JEPSEN_MS = 262_000
hlcs = st.builds(
    Hlc, st.integers(0, MAX_MILLISECONDS) | st.integers(NOW, NOW + 2), st.integers(0, MAX_COUNTER) | st.integers(0, 2)
)
skews = st.integers(-JEPSEN_MS, JEPSEN_MS) | st.sampled_from([-JEPSEN_MS, JEPSEN_MS])  # the second is a strobe


class Wall:
    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 3_000), skews), max_size=40))
def test_bumps_and_strobes_never_turn_clocks_back_or_past_what_they_saw(steps: list[tuple[int, bool, int, int]]) -> None:
    walls = [Wall(), Wall(), Wall()]
    clocks = [HybridLogicalClock(wall) for wall in walls]
    seen = [Hlc(0, 0)] * 3
    true, latest_wall = NOW, 0
    for region, by_observing, passed, skew in steps:
        true += passed
        walls[region].now = true + skew
        latest_wall = max(latest_wall, true + skew)
        other = (region + 1) % 3
        context = seen[other]
        if by_observing:
            clocks[region].observe(context)
            stamp = clocks[region].tick()
        else:
            stamp = clocks[region].tick(after=context)
        assert stamp > max(seen[region], context)
        assert stamp.ms <= latest_wall  # logical time never leaves real clocks behind
        assert clocks[region].last == stamp
        seen[region] = stamp


@settings(max_examples=200)
@given(hlcs, hlcs)
def test_text_order_is_time_order(a: Hlc, b: Hlc) -> None:
    assert (str(a) < str(b)) == (a < b)
    assert Hlc.parse(str(a)) == a


def test_a_full_counter_moves_on_to_the_next_millisecond() -> None:
    clock = HybridLogicalClock(Wall())
    clock.observe(Hlc(NOW, MAX_COUNTER - 1))
    assert [clock.tick() for _ in range(3)] == [Hlc(NOW, MAX_COUNTER), Hlc(NOW + 1, 0), Hlc(NOW + 1, 1)]


def test_a_clock_that_stands_still_still_moves_time_on() -> None:
    clock = HybridLogicalClock(Wall())
    assert [clock.tick().counter for _ in range(4)] == [0, 1, 2, 3]


def test_what_lies_on_the_bound_is_followed() -> None:
    edge = Hlc(NOW + DEFAULT_MAX_AHEAD_MS, 0)
    observing, ticking = HybridLogicalClock(Wall()), HybridLogicalClock(Wall())
    observing.observe(edge)
    assert observing.tick() == ticking.tick(after=edge) == edge.next()


@pytest.mark.parametrize("how", ["observe", "tick"])
@pytest.mark.parametrize("bound", [DEFAULT_MAX_AHEAD_MS, 5_000])
def test_what_lies_beyond_the_bound_is_refused_naming_it_and_changes_nothing(how: str, bound: int) -> None:
    clock = HybridLogicalClock(Wall(), max_ahead_ms=bound)
    before = clock.tick()
    far = Hlc(NOW + bound + 1, 0)
    with pytest.raises(ClockAhead, match=rf"the bound is {bound // 1000} s.*NTP"):
        clock.observe(far) if how == "observe" else clock.tick(after=far)
    assert clock.last == before
    assert clock.tick() == before.next()


def test_a_tick_may_not_step_over_the_bound_by_a_full_counter() -> None:
    clock = HybridLogicalClock(Wall())
    with pytest.raises(ClockAhead):
        clock.tick(after=Hlc(NOW + DEFAULT_MAX_AHEAD_MS, MAX_COUNTER))


def test_a_clock_set_back_beyond_the_bound_refuses_until_it_is_right_again() -> None:
    wall = Wall()
    clock = HybridLogicalClock(wall)
    issued = clock.tick()
    wall.now -= DEFAULT_MAX_AHEAD_MS + 1
    with pytest.raises(ClockAhead):
        clock.tick()
    wall.now += 1
    assert clock.tick() == issued.next()


def test_an_old_timestamp_is_never_too_far_ahead() -> None:
    wall = Wall()
    clock = HybridLogicalClock(wall)
    issued = clock.tick()
    wall.now = 0
    clock.observe(Hlc(NOW - 1, 0))
    assert clock.last == issued


@pytest.mark.parametrize(
    "number", [-1, 1.5, float("nan"), float("inf"), True, "1", None, 10**13, pytest.param(10**5000, id="huge")]
)
def test_impossible_numbers_are_no_timestamp(number: object) -> None:
    with pytest.raises(InvalidEvent, match="HLC time"):
        Hlc(number, 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent, match="HLC counter"):
        Hlc(0, number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "", "1763914981123", "1763914981123-42", "1763914981123-00042\n", " 763914981123-00042", "-763914981123-00042",
        "1763914981123_00042", "1763914981123-65536", "176391498112\uff13-00042", "1e12000000000-00042", "NaN", None, 5, b"",
    ],
)  # fmt: skip
def test_what_is_no_timestamp_is_not_parsed(text: object) -> None:
    with pytest.raises(InvalidEvent, match="HLC"):
        Hlc.parse(text)  # type: ignore[arg-type]


def test_the_last_timestamp_of_all_has_no_next() -> None:
    with pytest.raises(InvalidEvent):
        Hlc(MAX_MILLISECONDS, MAX_COUNTER).next()


def test_threads_share_a_clock_without_sharing_a_timestamp() -> None:
    clock = HybridLogicalClock(Wall())
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: [clock.tick() for _ in range(2_000)], range(4)))
    assert all(run == sorted(run) for run in runs)
    assert len({stamp for run in runs for stamp in run}) == 8_000


@settings(max_examples=500, deadline=None)
@given(st.integers(0, MAX_MILLISECONDS), st.integers(-23, 23))
def test_a_time_is_its_milliseconds_exactly_in_every_year_and_zone(ms: int, hours: int) -> None:
    time = time_of(ms)
    assert milliseconds_of(time) == ms
    assert milliseconds_of(time.astimezone(timezone(timedelta(hours=hours)))) == ms
    assert milliseconds_of(time + timedelta(microseconds=999)) == ms  # rounded down
    assert (time.microsecond % 1000, time.tzinfo) == (0, UTC)
    seconds, rest = divmod(ms, 1000)
    assert time == datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)


def test_times_before_the_epoch_are_rounded_down_too() -> None:
    assert milliseconds_of(datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)) == -1
