"""The network between regions: a TCP proxy for each link, which can be cut, slowed down and reset.

A link `a>b` carries what region a's processes ask of region b, and b's answers. All links are one process of its own,
`python -m chaos.world.network`, so that no load of the drill's delays them; a Network starts it and tells it what to do.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.world.processes import Process, free_ports
from replicator.errors import InvalidConfig

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_CHUNK = 16_384
_QUEUED = 64
_HELD = 256
"""So many connections are kept of a link that is cut; the oldest are reset, as kernels give up."""
_WAYS = ("pass", "hole", "mute", "reset")


@dataclass(frozen=True, slots=True)
class Mode:
    """What a link does. `way` is one of

    - pass: everything goes through, `latency` seconds later in each direction and at `bandwidth` bytes a second (0: any);
    - hole: nothing goes through, in either direction. Connections stay open and new ones are accepted, and what was sent
      is delivered when the link passes again, also where the sender has long given up: TCP sends again what was lost;
    - mute: requests arrive, answers do not;
    - reset: connections are reset, new ones at once.
    """

    way: str = "pass"
    latency: float = 0.0
    bandwidth: float = 0.0

    def __post_init__(self) -> None:
        if self.way not in _WAYS:
            raise InvalidConfig(f"a link cannot {self.way!r}; choose from {', '.join(_WAYS)}")
        if self.latency < 0 or self.bandwidth < 0:
            raise InvalidConfig(f"latency {self.latency:g} s and bandwidth {self.bandwidth:g} bytes/s cannot be negative")


PASS, HOLE, MUTE, RESET = Mode(), Mode("hole"), Mode("mute"), Mode("reset")


class Network:
    """The links between regions that listen on these ports of this machine. All pass at first."""

    def __init__(self, regions: Mapping[str, int], log: Path) -> None:
        names = [f"{client}>{server}" for client in regions for server in regions if client != server]
        control, *listening = free_ports(len(names) + 1)
        self._control = control
        self._ports = dict(zip(names, listening, strict=True))
        links = [f"{name}={port}:{regions[name.partition('>')[2]]}" for name, port in self._ports.items()]
        self.process = Process("network", [sys.executable, "-m", "chaos.world.network", str(control), *links], {}, log)

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(self._ports)

    def endpoint(self, client: str, server: str) -> str:
        """The URL by which processes of `client` reach `server`."""
        return f"http://{_HOST}:{self._ports[f'{client}>{server}']}"

    def outgoing(self, region: str) -> tuple[str, ...]:
        """The links that carry what `region` asks of others."""
        return tuple(link for link in self._ports if link.startswith(f"{region}>"))

    def incoming(self, region: str) -> tuple[str, ...]:
        """The links that carry what others ask of `region`."""
        return tuple(link for link in self._ports if link.endswith(f">{region}"))

    def start(self) -> None:
        """Start it, and wait until it takes orders. Raises ProcessFailed."""
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
                    raise self.process.failure(f"took no orders within {_START_SECONDS:.0f} s") from None
                time.sleep(0.05)

    def set(self, mode: Mode, links: Iterable[str] | None = None) -> None:
        """Make these links (all unless given) do this from now on, their existing connections too."""
        names = list(self._ports if links is None else links)
        if unknown := [name for name in names if name not in self._ports]:
            raise InvalidConfig(f"there is no link {unknown[0]!r}; choose from {', '.join(self._ports)}")
        with socket.create_connection((_HOST, self._control), timeout=5.0) as connection, connection.makefile("rw") as line:
            line.write(json.dumps({"links": names, "mode": asdict(mode)}) + "\n")
            line.flush()
            answer = json.loads(line.readline() or "null")
        if answer != {"done": len(names)}:
            raise self.process.failure(f"answered {answer!r}")

    def stop(self) -> None:
        self.process.stop()


# -- the process ---------------------------------------------------------------------------------------------------


class _Link:
    """One link: listens for the client region, connects to the server region, pumps bytes both ways."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.mode = PASS
        self._gates = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._free = {"there": 0.0, "back": 0.0}
        self._open: dict[int, list[asyncio.StreamWriter]] = {}
        self._count = 0
        self.set(PASS)

    def set(self, mode: Mode) -> None:
        self.mode = mode
        for direction, gate in self._gates.items():
            held = mode.way == "hole" or (mode.way == "mute" and direction == "back")
            gate.clear() if held else gate.set()
        if mode.way == "reset":
            for number in list(self._open):
                self._reset(number)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its acceptance to its end."""
        self._count += 1
        number = self._count
        self._open[number] = [writer]
        try:
            if self.mode.way == "reset":
                return
            if not self._gates["there"].is_set() and len(self._open) > _HELD:
                self._reset(min(self._open))
            await self._gates["there"].wait()
            there, out = await asyncio.open_connection(_HOST, self._target)
            if number not in self._open:
                _abort(out)
                return
            self._open[number].append(out)
            await asyncio.gather(self._pump("there", reader, out), self._pump("back", there, writer))
            for each in (out, writer):
                each.close()
            del self._open[number]
        except OSError:
            pass  # either end closed or refused: the other one is told in `finally`
        finally:
            self._reset(number)

    def _reset(self, number: int) -> None:
        for writer in self._open.pop(number, ()):
            _abort(writer)

    async def _pump(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes in one direction until their end, each as late as the link is slow."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        delivery = asyncio.ensure_future(self._deliver(direction, waiting, writer))
        try:
            while True:
                chunk = await reader.read(_CHUNK)
                put = asyncio.ensure_future(waiting.put((self._due(direction, len(chunk)), chunk)))
                await asyncio.wait({put, delivery}, return_when=asyncio.FIRST_COMPLETED)
                if not put.done():
                    put.cancel()
                if delivery.done() or not chunk:
                    await delivery
                    return
        finally:
            delivery.cancel()

    async def _deliver(
        self, direction: str, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await waiting.get()
            if (early := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(early)
            await self._gates[direction].wait()
            if not chunk:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def _due(self, direction: str, size: int) -> float:
        now = asyncio.get_running_loop().time()
        mode = self.mode
        free = max(now, self._free[direction]) + size / mode.bandwidth if mode.bandwidth else now
        self._free[direction] = free  # all connections of a link share its bandwidth
        return free + mode.latency


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset: the other end learns at once that this is no orderly end."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _run(control: int, links: Mapping[str, tuple[int, int]]) -> None:
    served = {name: _Link(target) for name, (_, target) in links.items()}

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order: Any = json.loads(await reader.readline() or "null")
        if order is not None:
            for name in order["links"]:
                served[name].set(Mode(**order["mode"]))
            writer.write(json.dumps({"done": len(order["links"])}).encode() + b"\n")
            await writer.drain()
        writer.close()

    for name, (port, _) in links.items():
        await asyncio.start_server(served[name].serve, _HOST, port, backlog=512)
    server = await asyncio.start_server(obey, _HOST, control)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    """`python -m chaos.world.network CONTROL a>b=LISTEN:TARGET …`, all on this machine."""
    control, *rest = arguments
    links = {}
    for each in rest:
        name, _, ports = each.partition("=")
        listen, _, target = ports.partition(":")
        links[name] = (int(listen), int(target))
    asyncio.run(_run(int(control), links))


if __name__ == "__main__":
    main(sys.argv[1:])
