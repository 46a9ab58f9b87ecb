"""Actions on the links between regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from chaos.scenarios.action import LEAST_SECONDS, LEAST_SHARE, Action, number
from chaos.scenarios.stage import Stage
from chaos.world.layers import Layer
from chaos.world.links import DIRECTIONS, Mode
from replicator.domain.errors import InvalidConfig

_LEAST: Mapping[str, float] = {"latency": LEAST_SECONDS, "jitter": LEAST_SECONDS, "bandwidth": 1, "loss": LEAST_SHARE}
_MOST_BANDWIDTH = 100_000_000


class OnLinks(Action, ABC):
    """Action on links: those `from` a region, `to` a region, between both, or all of them."""

    takes: ClassVar[tuple[str, ...]] = ("from", "to", "both-ways")
    required = ()
    proxied = True

    def __init__(
        self, leave: str | None = None, to: str | None = None, both_ways: bool = False, direction: str = "both", **how: float
    ) -> None:
        if not isinstance(both_ways, bool):
            raise InvalidConfig(f"both-ways is {both_ways!r}; give true or false")
        if both_ways and not (leave or to):
            raise InvalidConfig("both-ways has no meaning for all links; give from or to")
        if leave is not None and leave == to:
            raise InvalidConfig(f"no link is from {leave} to {to}; name two regions")
        if direction not in DIRECTIONS:
            raise InvalidConfig(f"direction is {direction!r}; choose from {', '.join(DIRECTIONS)}")
        self.leave, self.to, self.both_ways, self.direction = leave, to, both_ways, direction
        self.mode = self._mode(**how)
        self._layer: Layer | None = None

    @property
    def acts_on(self) -> Iterable[str]:
        return [each for each in (self.leave, self.to) if each]

    @abstractmethod
    def _mode(self, **how: float) -> Mode:
        """Return the mode of the links. Raises InvalidConfig, or TypeError for arguments that it does not take."""

    def strikes(self, region: str) -> bool:
        return region in (self.leave, self.to) or not (self.leave or self.to)

    def start(self, stage: Stage) -> None:
        self._layer = stage.layers.add(self.mode, self._links(stage), self.direction)

    def stop(self, stage: Stage) -> None:
        if self._layer is not None:
            stage.layers.remove(self._layer)
            stage.remark(str(self._layer), self._layer.struck)

    def _links(self, stage: Stage) -> list[str]:
        def matches(link: str, leave: str | None, to: str | None) -> bool:
            client, _, server = link.partition(">")
            return (leave is None or client == stage.name(leave)) and (to is None or server == stage.name(to))

        return [
            link for link in stage.network.links
            if matches(link, self.leave, self.to) or (self.both_ways and matches(link, self.to, self.leave))
        ]  # fmt: skip


class Hole(OnLinks):
    does = "data sent over these links is held back, in both directions, until they work again"

    def silences(self, region: str) -> bool:
        return (self.leave in (None, region) and self.to is None) or (self.both_ways and self.to == region)

    def _mode(self, **how: float) -> Mode:
        return Mode("hole", **how)


class Mute(OnLinks):
    does = "requests over these links arrive, and their answers do not"

    def _mode(self, **how: float) -> Mode:
        return Mode("mute", **how)


class Reset(OnLinks):
    does = "connections over these links are reset, new ones at once"

    def _mode(self, **how: float) -> Mode:
        return Mode("reset", **how)


class HalfOpen(OnLinks):
    does = "the connections over these links die without notice to either end; new ones pass"

    def _mode(self, **how: float) -> Mode:
        return Mode("half-open", **how)


class Slow(OnLinks):
    does = (
        "these links take `latency` seconds (plus or minus `jitter`), pass `bandwidth` bytes a second (0: no limit) and "
        "lose a share `loss` of what is sent, which is sent again; in `direction` there, back or both"
    )
    takes = (*OnLinks.takes, "latency", "jitter", "bandwidth", "loss", "direction")

    def _mode(self, **how: float) -> Mode:
        if not any(how.values()):
            raise InvalidConfig("a slow link needs latency, jitter, bandwidth or loss")
        mode = Mode("pass", **{name: number(name, value, 0) for name, value in how.items()})
        for name, value in how.items():
            number(name, value, _LEAST[name], nothing=True)
        if mode.bandwidth > _MOST_BANDWIDTH:
            raise InvalidConfig(
                f"bandwidth is {mode.bandwidth!r}, which has no noticeable effect; give up to {_MOST_BANDWIDTH}"
            )
        return mode
