"""What happens to links at one time: each thing ends without undoing the others, and is credited with what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from chaos.world.layers import Layers
from chaos.world.links import HALF_OPEN, HOLE, MUTE, PASS, RESET, Mode

ONE, TWO = "a>b", "b>a"


class Links:
    """What each link was told last, all that it was told, and what it will say that it has done meanwhile."""

    def __init__(self) -> None:
        self.now: dict[str, tuple[str, Mode, Mode]] = {}
        self.told: list[tuple[str, str]] = []
        self.did: dict[str, Counter[str]] = {}

    def put(self, way: str, delays: Mapping[str, Mode], links: Iterable[str] | None = None) -> dict[str, Counter[str]]:
        names = list(links or ())
        for name in names:
            self.now[name] = (way, delays["there"], delays["back"])
            self.told.append((name, way))
        return {name: self.did.pop(name, Counter()) for name in names}


def test_a_hole_that_ends_leaves_the_links_as_slow_as_they_were() -> None:
    links, slow = Links(), Mode(latency=0.1)
    layers = Layers(links)
    slowness = layers.add(slow, [ONE, TWO])
    hole = layers.add(HOLE, [ONE])
    assert links.now == {ONE: ("hole", slow, slow), TWO: ("pass", slow, slow)}
    layers.remove(hole)
    assert links.now[ONE] == ("pass", slow, slow)
    layers.remove(slowness)
    assert links.now == {ONE: ("pass", PASS, PASS), TWO: ("pass", PASS, PASS)}


def test_a_slowness_that_ends_leaves_the_hole_that_began_after_it() -> None:
    links = Links()
    layers = Layers(links)
    slowness = layers.add(Mode(latency=0.1), [ONE, TWO])
    hole = layers.add(HOLE, [ONE])
    layers.remove(slowness)
    assert links.now == {ONE: ("hole", PASS, PASS), TWO: ("pass", PASS, PASS)}
    layers.remove(hole)
    assert links.now[ONE] == ("pass", PASS, PASS)


def test_the_cut_that_began_last_is_in_force_and_gives_way_to_the_one_before() -> None:
    links = Links()
    layers = Layers(links)
    first, second, third = layers.add(HOLE, [ONE]), layers.add(MUTE, [ONE]), layers.add(RESET, [ONE])
    layers.remove(second)
    assert links.now[ONE][0] == "reset"
    layers.remove(third)
    assert links.now[ONE][0] == "hole"
    layers.remove(first)
    assert links.now[ONE][0] == "pass"


def test_each_direction_is_as_slow_as_what_slows_it_down() -> None:
    links, there, back = Links(), Mode(latency=0.1), Mode(loss=0.5)
    layers = Layers(links)
    layers.add(there, [ONE], "there")
    late = layers.add(back, [ONE], "back")
    assert links.now[ONE] == ("pass", there, back)
    layers.remove(late)
    assert links.now[ONE] == ("pass", there, PASS)


def test_connections_are_killed_once_and_a_hole_below_goes_on() -> None:
    links = Links()
    layers = Layers(links)
    hole = layers.add(HOLE, [ONE])
    links.told.clear()
    half = layers.add(HALF_OPEN, [ONE])
    links.did[ONE] = Counter({"connections killed": 3})
    assert links.told == [(ONE, "half-open"), (ONE, "hole")]
    layers.remove(half)
    layers.remove(hole)
    assert [way for _, way in links.told].count("half-open") == 1


def test_what_links_did_is_credited_to_what_was_in_force() -> None:
    links = Links()
    layers = Layers(links)
    slowness = layers.add(Mode(latency=0.1), [ONE, TWO], "there")
    links.did[ONE] = Counter({"pieces delayed there": 4})
    hole = layers.add(HOLE, [ONE])
    links.did[ONE] = Counter({"bytes held": 100, "connections held": 2, "pieces delayed there": 1})
    idle = layers.add(MUTE, [TWO])
    layers.remove(hole)
    layers.remove(idle)
    layers.remove(slowness)
    assert (slowness.did, slowness.struck, str(slowness)) == ({"pieces delayed": 5}, True, "5 pieces delayed")
    assert (str(hole), hole.struck) == ("2 connections held, 100 bytes held", True)
    assert (str(idle), idle.struck) == ("nothing passed these links", False)


def test_of_two_that_are_alike_the_one_in_force_is_credited() -> None:
    links = Links()
    layers = Layers(links)
    under, over = layers.add(HOLE, [ONE]), layers.add(HOLE, [ONE])
    links.did[ONE] = Counter({"bytes held": 7})
    layers.remove(over)
    layers.remove(under)
    assert (under.struck, over.struck) == (False, True)


def test_a_half_open_link_is_credited_with_what_it_killed() -> None:
    class Killing(Links):
        def put(self, way: str, delays: Mapping[str, Mode], links: Iterable[str] | None = None) -> dict[str, Counter[str]]:
            found = super().put(way, delays, links)
            if way == "half-open":
                self.did[ONE] = Counter({"connections killed": 2})
            return found

    layers = Layers(Killing())
    half = layers.add(HALF_OPEN, [ONE])
    layers.remove(half)
    assert str(half) == "2 connections killed"
