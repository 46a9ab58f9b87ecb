"""Process of the network's links: a TCP proxy for each, which passes bytes as its mode says.

    python -m chaos.world.links SEED CONTROL us-east-1>eu-west-1=LISTEN:TARGET …

All ports are of this machine. A line of JSON to CONTROL sets the modes of links: chaos/world/network.py sends it. The answer
holds what each of them has done to traffic since it was last set: a fault that met nothing does not count.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from replicator.domain.errors import InvalidConfig

HOST = "127.0.0.1"
_CHUNK = 16_384
_QUEUED = 64
_HELD = 256
"""Maximum number of connections kept of a link that is cut; the oldest are reset, as kernels give up."""
_WAYS = ("pass", "hole", "mute", "reset", "half-open")
DIRECTIONS = {"both": ("there", "back"), "there": ("there",), "back": ("back",)}
_RESEND_SECONDS = 0.2
"""Seconds of TCP's shortest retransmission time-out, doubled with every loss (RFC 6298, section 5; Linux's minimum)."""
_MOST_LOSSES = 5


@dataclass(frozen=True, slots=True)
class Mode:
    """Mode of a link. `way` is one of

    - pass: everything goes through, with the delays below;
    - hole: nothing goes through, in either direction. Connections stay open and new ones are accepted, and what was sent
      is delivered when the link passes again, also after the sender has given up: TCP sends again what was lost;
    - mute: requests arrive, answers do not;
    - reset: connections are reset, new ones at once;
    - half-open: existing connections die permanently, without notice to either end; new ones pass.

    Bytes arrive `latency` seconds later, give or take `jitter`, at `bandwidth` bytes a second (0: any). A share `loss` of
    their pieces is lost and sent again, as TCP does: late, with all behind it. Bytes stay in order.
    """

    way: str = "pass"
    latency: float = 0.0
    bandwidth: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.way not in _WAYS:
            raise InvalidConfig(f"a link has no mode {self.way!r}; choose from {', '.join(_WAYS)}")
        for name, unit in (("latency", "s"), ("bandwidth", "bytes/s"), ("jitter", "s")):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InvalidConfig(f"{name} {value:g} {unit} is wrong; give a finite number, 0 or more")
        if not 0 <= self.loss < 1:
            raise InvalidConfig(f"loss {self.loss:g} is wrong; give a share from 0 (none) to below 1")


PASS, HOLE, MUTE, RESET, HALF_OPEN = Mode(), Mode("hole"), Mode("mute"), Mode("reset"), Mode("half-open")


class _Link:
    """One link: listens for the client region, connects to the server region, pumps bytes both ways."""

    def __init__(self, target: int, seed: str) -> None:
        self._target = target
        self._delays = {"there": PASS, "back": PASS}
        self._chance = {way: random.Random(f"{seed} {way}") for way in ("there", "back")}
        self._way = "pass"
        self._gates = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._free = {"there": 0.0, "back": 0.0}
        self._open: dict[int, list[asyncio.StreamWriter]] = {}
        self._dead: set[int] = set()
        """Connections that are open to both ends and carry nothing any more."""
        self._count = 0
        self._did: Counter[str] = Counter()
        self.set("pass", {})

    def set(self, way: str, delays: Mapping[str, Mode]) -> Counter[str]:
        """Set the mode from now on; latency, jitter, bandwidth and loss hold in the given directions. Returns the effects
        since it was last set."""
        done, self._did = self._did, Counter()
        self._way = way
        self._delays |= delays
        for direction, gate in self._gates.items():
            held = way == "hole" or (way == "mute" and direction == "back")
            gate.clear() if held else gate.set()
        if way == "half-open":
            self._did["connections killed"] += len(self._open.keys() - self._dead)
            self._dead |= self._open.keys()
        if way == "reset":
            self._did["connections reset"] += len(self._open)
            for number in list(self._open):
                self._reset(number)
        return done

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, from its acceptance to its end."""
        self._count += 1
        number = self._count
        self._open[number] = [writer]
        try:
            if self._way == "reset":
                self._did["connections refused"] += 1
                return
            if (self._dead or not self._gates["there"].is_set()) and len(self._open) > _HELD:
                self._reset(min(self._dead or self._open))
            self._did["connections held"] += not self._gates["there"].is_set()
            await self._gates["there"].wait()
            there, out = await asyncio.open_connection(HOST, self._target)
            if number not in self._open:
                _abort(out)
                return
            self._open[number].append(out)
            await asyncio.gather(self._pump(number, "there", reader, out), self._pump(number, "back", there, writer))
            for each in (out, writer):
                each.close()
            del self._open[number]
        except OSError:
            pass  # either end closed or refused: `finally` closes the other one
        finally:
            self._reset(number)

    def _reset(self, number: int) -> None:
        self._dead.discard(number)
        for writer in self._open.pop(number, ()):
            _abort(writer)

    async def _pump(self, number: int, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pump bytes in one direction until their end, each delayed as the link's mode says."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        delivery = asyncio.ensure_future(self._deliver(number, direction, waiting, writer))
        try:
            while True:
                chunk = await reader.read(_CHUNK)
                if number not in self._dead and not self._gates[direction].is_set():
                    self._did["bytes held"] += len(chunk)
                put = asyncio.ensure_future(waiting.put((self._due(direction, len(chunk)), chunk)))
                await asyncio.wait({put, delivery}, return_when=asyncio.FIRST_COMPLETED)
                if not put.done():
                    put.cancel()
                if delivery.done() or not chunk:
                    await delivery
                    return
        except OSError:
            await self._buried(number)
            raise
        finally:
            delivery.cancel()

    async def _buried(self, number: int) -> None:
        """Return at once, or never where the connection is dead: its other end gets no notice."""
        if number in self._dead:
            await asyncio.get_running_loop().create_future()

    async def _deliver(
        self, number: int, direction: str, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await waiting.get()
            if (early := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(early)
            await self._gates[direction].wait()
            await self._buried(number)
            if not chunk:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def _due(self, direction: str, size: int) -> float:
        now = asyncio.get_running_loop().time()
        mode, chance = self._delays[direction], self._chance[direction]
        free = max(now, self._free[direction]) + size / mode.bandwidth if mode.bandwidth else now
        self._free[direction] = free  # all connections of a link share its bandwidth
        late = mode.latency + (chance.uniform(-mode.jitter, mode.jitter) if mode.jitter else 0.0)
        resend, losses = _RESEND_SECONDS, 0
        while mode.loss and losses < _MOST_LOSSES and chance.random() < mode.loss:
            late += resend
            resend *= 2
            losses += 1
        due = free + max(late, 0.0)
        if size:
            self._did[f"pieces lost {direction}"] += losses
            self._did[f"pieces delayed {direction}"] += due > now
        return due


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, so that the other end sees at once that this is no orderly end."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _run(seed: str, control: int, links: Mapping[str, tuple[int, int]]) -> None:
    served = {name: _Link(target, f"{seed} {name}") for name, (_, target) in links.items()}

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order: Any = json.loads(await reader.readline() or "null")
        if order is not None:
            delays = {direction: Mode(**mode) for direction, mode in order["delays"].items()}
            did = {name: +served[name].set(order["way"], delays) for name in order["links"]}
            writer.write(json.dumps({"did": did}).encode() + b"\n")
            await writer.drain()
        writer.close()

    for name, (port, _) in links.items():
        await asyncio.start_server(served[name].serve, HOST, port, backlog=512)
    server = await asyncio.start_server(obey, HOST, control)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    seed, control, *rest = arguments
    links = {}
    for each in rest:
        name, _, ports = each.partition("=")
        listen, _, target = ports.partition(":")
        links[name] = (int(listen), int(target))
    asyncio.run(_run(seed, int(control), links))


if __name__ == "__main__":
    main(sys.argv[1:])
