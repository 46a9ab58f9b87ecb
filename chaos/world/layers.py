"""Layers of network faults: several act on the links at one time, and each ends without undoing the others.

On each link the layer that began last is in force: among those that cut it (hole, mute, reset), and in each direction among
those that slow it down; a link may be both. When a layer ends, the one before it is in force again. A half-open link kills
its connections once, when it begins. Effects on a link are credited to the layer in force.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chaos.world.links import DIRECTIONS, PASS, Mode

_WHAT = ("connections held", "connections reset", "connections refused", "connections killed", "bytes held",
         "pieces delayed", "pieces lost")  # fmt: skip


class Orders(Protocol):
    """Receiver of the orders: a Network."""

    def put(
        self, way: str, delays: Mapping[str, Mode], links: Iterable[str] | None = None
    ) -> Mapping[str, Counter[str]]: ...


@dataclass(eq=False, slots=True)
class Layer:
    """One fault on some links, and its effects so far, as far as they are known."""

    mode: Mode
    links: tuple[str, ...]
    direction: str = "both"
    did: Counter[str] = field(default_factory=Counter)

    @property
    def struck(self) -> bool:
        """Whether it has met anything."""
        return self.did.total() > 0

    def __str__(self) -> str:
        return ", ".join(f"{self.did[what]:,} {what}" for what in _WHAT if self.did[what]) or "nothing passed these links"


@dataclass(frozen=True, slots=True)
class _Force:
    """Layers in force on a link. None: none of that kind."""

    cut: Layer | None = None
    there: Layer | None = None
    back: Layer | None = None

    @property
    def order(self) -> tuple[str, Mode, Mode]:
        cut = self.cut.mode.way if self.cut is not None else "pass"
        there, back = (each.mode if each is not None else PASS for each in (self.there, self.back))
        return cut, there, back

    def credit(self, did: Mapping[str, int]) -> None:
        for what, count in did.items():
            kind, _, direction = what.rpartition(" ")
            layer = {"there": self.there, "back": self.back}.get(direction, self.cut)
            if layer is not None:
                layer.did[kind if direction in ("there", "back") else what] += count


class Layers:
    """All layers on the links of a network."""

    def __init__(self, network: Orders) -> None:
        self._network = network
        self._active: list[Layer] = []
        self._forces: dict[str, _Force] = {}

    def add(self, mode: Mode, links: Iterable[str], direction: str = "both") -> Layer:
        """Add a layer on these links, on top of all others."""
        layer = Layer(mode, tuple(links), direction)
        self._active.append(layer)
        if mode.way == "half-open":
            self._tell({name: _with(self._forces.get(name, _Force()), layer) for name in layer.links})
        self._tell({name: self._in_force(name) for name in layer.links})
        return layer

    def remove(self, layer: Layer) -> None:
        """Remove a layer, and count its effects."""
        self._active.remove(layer)
        self._tell({name: self._in_force(name) for name in layer.links})

    def _in_force(self, link: str) -> _Force:
        here = [layer for layer in self._active if link in layer.links]

        def slow(direction: str) -> Layer | None:
            return _last(each for each in here if each.mode.way == "pass" and direction in DIRECTIONS[each.direction])

        return _Force(
            _last(each for each in here if each.mode.way not in ("pass", "half-open")), slow("there"), slow("back")
        )

    def _tell(self, forces: Mapping[str, _Force]) -> None:
        alike: dict[tuple[str, Mode, Mode], list[str]] = {}
        for name, force in forces.items():
            alike.setdefault(force.order, []).append(name)
        for (way, there, back), names in alike.items():
            for name, did in self._network.put(way, {"there": there, "back": back}, names).items():
                self._forces.get(name, _Force()).credit(did)
                self._forces[name] = forces[name]


def _with(force: _Force, cut: Layer) -> _Force:
    return _Force(cut, force.there, force.back)


def _last(layers: Iterable[Layer]) -> Layer | None:
    return next(reversed(list(layers)), None)
