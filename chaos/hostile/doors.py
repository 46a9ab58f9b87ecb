"""Doors of two running regions, four for each: inputs go through them, and each gives an immediate answer."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from chaos.child_processes import Process, free_ports
from chaos.hostile.hostile_plan import Good
from chaos.hostile.kinds import API, HARMLESS, LAMBDA, QUARANTINED, REFUSED, STORE, STREAM, Hostile
from chaos.hostile.requests import Request, events_body, to_stream
from chaos.hostile.stored import FORK, record_of, valid_item
from chaos.hostile.verdicts import WRONG, by_answer, by_error, by_table
from chaos.workload.model import PROJECTION, added
from chaos.world.world import World
from projectors.connect import connect_inbound
from projectors.run.invocation import Inbound
from projectors.settings import load_projections
from replicator.aws import clients
from replicator.connect import connect_outbound
from replicator.domain.errors import MeridianError
from replicator.eventstore.event_items import to_item
from replicator.eventstore.store import EventStore
from replicator.replication.invocation import Outbound
from replicator.runtime.wall_clock import wall_clock

_BATCH = 20
_ANSWER_SECONDS = 30.0
Said = tuple[Hostile, str, str]


class Doors:
    """Doors of a world's regions. Use it as a context manager: it starts an API beside each region's workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stores: dict[str, EventStore] = {region: world.store(region) for region in world.regions}
        self.good: dict[tuple[str, int], bytes] = {}
        """Acknowledged good events: lane and sequence to digest."""
        self.failed_batches: list[str] = []
        self._clients: dict[str, Any] = {r: clients.dynamodb(world.settings(r), r) for r in world.regions}
        ports = dict(zip(world.regions, free_ports(len(world.regions)), strict=True))
        self.apis = {region: _api(world, region, port) for region, port in ports.items()}
        self._ports = ports
        self._waiting: dict[str, list[tuple[Hostile | None, Mapping[str, Any]]]] = {r: [] for r in world.regions}
        self._functions: dict[str, tuple[Outbound, Inbound]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Doors:
        try:
            for region, process in self.apis.items():
                process.start()
                self._stack.callback(process.stop)
                self._wait_ready(region)
            for region in self.world.regions:
                self._make_queues(region)
                settings = self.world.settings(region)
                inbound = connect_inbound(settings, load_projections([PROJECTION]), _quiet)
                self._functions[region] = (connect_outbound(settings, _quiet), inbound)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_queues(self, region: str) -> None:
        settings = self.world.settings(region)
        client = clients.sqs(settings, region)
        for name in ("dead-letters", "backlog-views", *(f"backlog-{peer}" for peer in settings.peers)):
            client.create_queue(QueueName=f"{settings.prefix}-{name}")

    def _wait_ready(self, region: str) -> None:
        for _ in range(600):
            if not self.apis[region].running:
                raise self.apis[region].failure("ended")
            try:
                if self._ask(region, Request("GET", "/ready", ()))[0] == 200:
                    return
            except OSError:
                pass
            self.apis[region].wait_running(0.1)
        raise self.apis[region].failure("never answered")

    # -- hostile ---------------------------------------------------------------------------------------------------

    def send(self, hostile: Hostile) -> Iterator[Said]:
        """Send one input. Yields the door's answers to it, or to those that were waiting to be sent with it."""
        door = hostile.kind.door
        if door == LAMBDA:
            waiting = self._waiting[hostile.region]
            waiting.append((hostile, hostile.sent))
            if len(waiting) >= _BATCH:
                yield from self._invoke(hostile.region)
            return
        how, said = {STORE: self._call, STREAM: self._put, API: self._request}[door](hostile)
        yield hostile, how, said

    def flush(self) -> Iterator[Said]:
        """Send the inputs that wait for a batch."""
        for region in self._waiting:
            yield from self._invoke(region)

    def _call(self, hostile: Hostile) -> tuple[str, str]:
        try:
            hostile.sent(self.stores[hostile.region])
        except Exception as error:
            return by_error(error)
        return HARMLESS, "accepted"

    def _put(self, hostile: Hostile) -> tuple[str, str]:
        table = self.world.settings(hostile.region).events_table
        try:
            self._clients[hostile.region].put_item(TableName=table, Item=hostile.sent)
        except Exception as error:
            return by_table(error)
        if hostile.kind is FORK:
            home = hostile.sent["pk"]["S"].partition("#")[0]
            self._keep(self.stores[home].append(f"seat/{hostile.mark}", added(hostile.mark, 1)), copied=False)
        return (HARMLESS if hostile.kind.expected == {HARMLESS} else QUARANTINED), "put"

    def _request(self, hostile: Hostile) -> tuple[str, str]:
        request: Request = hostile.sent
        try:
            nowhere = any(word in hostile.kind.name for word in ("path", "query"))
            return by_answer(*self._ask(hostile.region, request), request.framed, nowhere)
        except OSError as error:
            if not request.framed:
                return REFUSED, f"closed without an answer: {error}"
            return WRONG, f"no answer: {type(error).__name__}: {error}"

    def _invoke(self, region: str) -> Iterator[Said]:
        """Hand a batch to both functions that read the stream. A failed batch would be delivered again and again."""
        waiting, self._waiting[region] = self._waiting[region], []
        if not waiting:
            return
        outbound, inbound = self._functions[region]
        failure = ""
        for handle in (outbound.replicate, inbound.project):
            try:
                records = [json.loads(json.dumps(record)) for _, record in waiting]
                if failed := handle(records)["batchItemFailures"]:
                    failure = f"the batch will be delivered again from {failed}"
            except Exception as error:
                failure = f"the whole batch will be delivered again: {type(error).__name__}: {str(error)[:300]}"
        if failure:
            self.failed_batches.append(failure)
        for hostile, _ in waiting:
            if hostile is not None:
                yield (hostile, WRONG, failure) if failure else (hostile, QUARANTINED, "handed over")

    # -- good ------------------------------------------------------------------------------------------------------

    def add(self, good: Good) -> None:
        """Append a good event through its door. Raises MeridianError when it is not acknowledged."""
        if good.door == API:
            status, _, body = self._ask(good.region, to_stream(good.mark, events_body(good.mark)))
            if status != 201:
                raise MeridianError(f"a good event was answered with {status}: {body[:300]!r}")
            for event in json.loads(body)["events"]:
                lane, _, _ = event["id"].rpartition("#")
                self.good[(lane, event["sequence"])] = bytes.fromhex(event["digest"])
        elif good.door == STREAM:
            item = valid_item(good.region, good.mark, wall_clock())
            self._clients[good.region].put_item(TableName=self.world.settings(good.region).events_table, Item=item)
            self.good[(item["pk"]["S"], 1)] = item["digest"]["B"]
        else:
            events = self.stores[good.region].append(f"thing/{good.mark}", added(good.mark, 1))
            self._keep(events)
            if good.door == LAMBDA:
                records = [record_of(to_item(event), f"1{event.sequence:016d}") for event in events]
                self._waiting[good.region] += [(None, record) for record in records]

    def _keep(self, events: Sequence[Any], copied: bool = True) -> None:
        if copied:
            self.good.update({(event.lane.key, event.sequence): event.digest for event in events})

    def _ask(self, region: str, request: Request) -> tuple[int, dict[str, str], bytes]:
        with socket.create_connection(("127.0.0.1", self._ports[region]), _ANSWER_SECONDS) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # answered before all was sent: the answer can be read
                connection.sendall(request.encoded())
            if not request.framed:
                connection.shutdown(socket.SHUT_WR)
            answer = bytearray()
            try:
                while part := connection.recv(65_536):
                    answer += part
            except ConnectionResetError:
                if not answer:
                    raise
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = re.match(r"HTTP/1\.[01] (\d{3})", lines[0])
        if status is None:
            raise ConnectionError(f"the answer is not HTTP: {bytes(answer[:80])!r}")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(status[1]), headers, body


def _quiet(dimensions: Any, values: Any) -> None:
    """Discard metrics."""


def _api(world: World, region: str, port: int) -> Process:
    settings = world.inside(region)
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": region,
        "PYTHONUNBUFFERED": "1",
        "MERIDIAN_REGION": region,
        "MERIDIAN_PEERS": ",".join(settings.peers),
        "MERIDIAN_PREFIX": settings.prefix,
        "MERIDIAN_ENDPOINTS": ",".join(f"{each}={url}" for each, url in settings.endpoints.items()),
        "MERIDIAN_PROJECTIONS": PROJECTION,
    }
    program = "from replicator.cli.entrypoints import projectors; projectors()"
    command = [sys.executable, "-c", program, "serve", "--port", str(port)]
    return Process(f"API of {region}", command, environment, world.logs / f"{region}-api.log")


@contextmanager
def doors_of(world: World) -> Iterator[Doors]:
    """Open the doors of a world that runs."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    with Doors(world) as doors:
        yield doors
