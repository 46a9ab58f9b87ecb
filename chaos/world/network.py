"""Network between regions: a TCP proxy for each link, which can be cut, slowed down and reset.

A link `a>b` carries the requests of region a's processes to region b, and b's answers. All links are one separate process,
chaos/world/links.py, so that no load of the drill's delays them; a Network starts and controls it.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from chaos.child_processes import Process, free_ports
from chaos.world.links import DIRECTIONS, HALF_OPEN, HOLE, HOST, MUTE, PASS, RESET, Mode
from replicator.domain.errors import InvalidConfig

__all__ = ["HALF_OPEN", "HOLE", "MUTE", "PASS", "RESET", "Mode", "Network"]

_START_SECONDS = 20.0


class Network:
    """Links between regions that listen on these ports of this machine. All pass at first. `seed` chooses what jitter and
    loss strike."""

    def __init__(self, regions: Mapping[str, int], log: Path, *, seed: int = 0) -> None:
        names = [f"{client}>{server}" for client in regions for server in regions if client != server]
        control, *listening = free_ports(len(names) + 1)
        self._control = control
        self._ports = dict(zip(names, listening, strict=True))
        links = [f"{name}={port}:{regions[name.partition('>')[2]]}" for name, port in self._ports.items()]
        command = [sys.executable, "-m", "chaos.world.links", str(seed), str(control), *links]
        self.process = Process("network", command, {}, log)

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(self._ports)

    def endpoint(self, client: str, server: str) -> str:
        """Return the URL by which processes of `client` reach `server`."""
        return f"http://{HOST}:{self._ports[f'{client}>{server}']}"

    def start(self) -> None:
        """Start it, and wait until it accepts orders. Raises ProcessFailed."""
        self.process.start()
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.set(PASS)
                return
            except OSError:
                if not self.process.running:
                    raise self.process.failure("ended while it started") from None
                if time.monotonic() > end:
                    raise self.process.failure(f"accepted no commands within {_START_SECONDS:.0f} s") from None
                time.sleep(0.05)

    def set(self, mode: Mode, links: Iterable[str] | None = None, direction: str = "both") -> dict[str, Counter[str]]:
        """Set the mode of these links (all unless given) from now on, also for their existing connections.

        Latency, jitter, bandwidth and loss hold in `direction`: there (from the client region), back, or both; the other
        direction stays as it is. Returns as `put`. Raises InvalidConfig.
        """
        if direction not in DIRECTIONS:
            raise InvalidConfig(f"a link has no direction {direction!r}; choose from {', '.join(DIRECTIONS)}")
        return self.put(mode.way, dict.fromkeys(DIRECTIONS[direction], mode), links)

    def put(self, way: str, delays: Mapping[str, Mode], links: Iterable[str] | None = None) -> dict[str, Counter[str]]:
        """Set the mode with delays for each direction: there, back. Returns each link's effects since it was last set: how
        many connections it has held, reset, refused or killed, how many bytes it has held, and how many pieces were delayed
        and lost in each direction."""
        names = list(self._ports if links is None else links)
        if unknown := [name for name in names if name not in self._ports]:
            raise InvalidConfig(f"there is no link {unknown[0]!r}; choose from {', '.join(self._ports)}")
        order = {"links": names, "way": way, "delays": {direction: asdict(mode) for direction, mode in delays.items()}}
        with socket.create_connection((HOST, self._control), timeout=5.0) as connection, connection.makefile("rw") as line:
            line.write(json.dumps(order) + "\n")
            line.flush()
            answer = json.loads(line.readline() or "null")
        if not isinstance(answer, dict) or answer.get("did", {}).keys() != set(names):
            raise self.process.failure(f"answered {answer!r}")
        return {name: Counter(did) for name, did in answer["did"].items()}

    def stop(self) -> None:
        self.process.stop()
