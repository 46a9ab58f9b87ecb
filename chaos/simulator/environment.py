"""Environment of simulated regions: time, the network, crash points, and the breaches seen while running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from chaos.checker.history import History
from chaos.simulator.crash_points import Axe, Killed
from chaos.simulator.simulated_network import Mishap, Network
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import Event

NAMES = (
    "us-east-1", "eu-west-1", "ap-southeast-2", "sa-east-1", "ap-northeast-1", "us-west-2", "eu-north-1", "af-south-1",
    "ca-central-1",
)  # fmt: skip
BEGIN = 1_763_914_981.0
"""Start of every simulation, in seconds since the epoch."""
STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """Size of a world. `checked` are the stream types whose appends check the fence in their own transaction; `page` is how
    many records are read at once (few, so that batches of a shard queue up), `queue` how many events a link takes before it
    uses the backlog; `watched` is whether projectors count the conflicts that they meet, `functions` whether regions have
    functions in place of workers, and `unsent` how often their queues take no message."""

    regions: int = 3
    streams: int = 8
    sessions: int = 6
    checked: tuple[str, ...] = ()
    page: int = 25
    queue: int = 60
    watched: bool = False
    functions: bool = False
    unsent: float = 0.2

    def __post_init__(self) -> None:
        if not 2 <= self.regions <= len(NAMES):
            raise InvalidConfig(f"--regions {self.regions}: give 2 to {len(NAMES)}")
        if not 1 <= self.streams <= 1_000_000:
            raise InvalidConfig(f"--streams {self.streams}: give 1 to 1,000,000")

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES[: self.regions]


class Environment:
    """Simulated world without its regions and their clients."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.now = BEGIN
        self.history = History(lambda: self.now)
        self.axe = Axe()
        self.network = Network(self.wait)
        self.breaches: dict[str, list[str]] = {}
        """Breaches seen while it ran, by promise."""
        self.mishap = Mishap.NONE
        self.attempted: tuple[Event, ...] = ()
        """Events of the write that a mishap was meant for."""
        self.copies = self.events = self.requests = 0
        self.healing = False
        self.disasters = 0
        """Number of times that a region lost its data."""
        self._nonces = count()

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def nonce(self) -> str:
        return f"{next(self._nonces):x}"

    def broken(self, promise: str, example: str) -> None:
        """Record that a promise was seen to be broken."""
        self.breaches.setdefault(promise, []).append(example)

    def unforeseen(self, error: BaseException) -> None:
        self.broken("unforeseen", f"{type(error).__name__}: {error}")

    def born(self, event: Event) -> None:
        """Record that an event was written in its home."""
        self.events += 1

    def arrived(self, event: Event) -> None:
        """Record that an event was copied to a region."""
        self.copies += 1

    @contextmanager
    def killing(self, at: int, after: bool) -> Iterator[list[str]]:
        """Kill the work within at its change of this number (0: do not kill). Yields a list that holds "killed" once it
        was."""
        told: list[str] = []
        if at:
            self.axe.arm(at, after)
        try:
            yield told
        except Killed:
            told.append("killed")
        finally:
            self.axe.rest()
