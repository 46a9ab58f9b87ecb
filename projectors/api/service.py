"""Service behind the API: blocking calls, each run on a thread of its own by the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from projectors.api.problems import Problem
from projectors.api.weight import MAX_PAGE_BYTES, Entries, check_answer, check_echo
from projectors.engine.sink import Sink
from projectors.model.projection import Projection, ProjectionFailed
from projectors.reads.queries import Query, Snapshot
from projectors.versions.versions import Versions
from replicator.control.memory_control import MemoryControl
from replicator.domain.clock import MAX_COUNTER, MAX_MILLISECONDS, Hlc
from replicator.domain.errors import DamagedEvent, InvalidOperation, InvalidToken
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import MAX_SEQUENCE, StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import VersionVector
from replicator.eventstore.change_feed import changes
from replicator.eventstore.durability import WITHIN_SECONDS
from replicator.eventstore.history import AuditEntry, Moment, moment_of
from replicator.eventstore.operations import GaveUp, Operation, Rejected
from replicator.eventstore.store import EventStore

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and its token; for a value, also the version of the projection whose code made it."""

    body: Json
    token: str
    version: int | None = None


class Service:
    """Streams and values of one region. `timeout` bounds, in seconds, how long a read waits for what its token names;
    `check` raises InvalidConfig or RegionUnavailable when the region's tables cannot be reached."""

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[type[Projection]] = (),
        sink: Sink | None = None,
        *,
        reveal: Any = None,
        timeout: float = 2.0,
        versions: Versions | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._check = check
        self._timeout = timeout
        self._versions = versions or Versions(MemoryControl())
        every = {each: Query(each, store, sink, reveal=reveal) for each in projections}
        self._queries = {each: query for each, query in every.items() if not each.rows}
        self._checks = tuple(every.values())

    def value(self, stream: StreamId, projection: str | None, moment: Moment | None, at_least: str | None) -> Answer:
        """Return a stream's value now, or at a moment."""
        query = self._query(stream, projection)
        if moment is None:
            snapshot = query.now(stream, at_least, self._timeout)
        else:
            snapshot = query.at(stream, moment, at_least, self._timeout)
        shown = self._shown(snapshot, query.projection.name)
        check_answer(shown)
        return Answer(shown, shown["token"], query.projection.version)

    def history(
        self, stream: StreamId, projection: str | None, after: str | None, limit: int, at_least: str | None = None
    ) -> Answer:
        """Return a page of the values after each event: at most `limit` of them, and MAX_PAGE_BYTES, but always one."""
        query = self._query(stream, projection)
        entries = Entries[Snapshot](lambda snapshot: self._shown(snapshot, query.projection.name))
        count = size = 0
        more = False
        for snapshot in query.history(stream, after, at_least, self._timeout):
            size += entries.weigh(snapshot)
            more = count == limit or (count > 0 and size > MAX_PAGE_BYTES)
            if more:
                break
            count += 1
        shown = entries.first(count)
        token = shown[-1]["token"] if shown else self._store.tokens.encode(self._store.join(after))
        body = {"stream": str(stream), "history": shown, "more": more, "token": token}
        check_answer(body)
        return Answer(body, token)

    def changes(self, stream: StreamId, after: str | None, limit: int, at_least: str | None = None) -> Answer:
        """Return a page of the change feed."""
        return self._page("events", _event, stream, after, limit, at_least)

    def audit(self, stream: StreamId, after: str | None, limit: int, at_least: str | None = None) -> Answer:
        """Return a page of the audit trail."""
        return self._page("entries", _entry, stream, after, limit, at_least)

    def _page(
        self,
        name: str,
        shown: Callable[[Event], Json],
        stream: StreamId,
        after: str | None,
        limit: int,
        at_least: str | None,
    ) -> Answer:
        entries = Entries(shown)
        page = changes(
            self._store, [stream], after, limit, self._timeout,
            at_least=at_least, max_bytes=MAX_PAGE_BYTES, size=entries.weigh,
        )  # fmt: skip
        listed = entries.first(len(page.events))
        return self._answer({"stream": str(stream), name: listed, "more": page.more}, page.token)

    def save(self, operations: Sequence[Operation], copies: int | None = None, within: float = WITHIN_SECONDS) -> Answer:
        """Carry operations out in one transaction, and wait for copies as EventStore.save. Raises Problem 412 with the
        reasons and the present token, or 409."""
        self._nameable(operations)
        check_echo(event for operation in operations for event in operation.events)
        for operation in operations:
            self._digestible(operation.stream, operation.events)
        result = self._store.save(*operations, timeout=self._timeout, copies=copies, within=within)
        if isinstance(result, Rejected):
            etag = self._store.tokens.encode(result.token)
            detail = "; ".join(result.reasons)
            raise Problem(
                "precondition-failed", 412, detail, {"ETag": f'"{etag}"'}, reasons=list(result.reasons), token=etag
            )
        if isinstance(result, GaveUp):
            raise Problem("contention", 409, result.reason)
        written = {"events": [_event(event) for event in result.events], "regions": list(result.regions)}
        return self._answer(written, result.token)

    def where(self, token: str) -> Json:
        """Return which regions hold everything that a token names. Raises InvalidToken."""
        return self._store.stable(token, self._timeout).as_json()

    def ready(self) -> None:
        """Raise InvalidConfig or RegionUnavailable unless the region's tables can be reached."""
        self._check()

    @property
    def region(self) -> str:
        """Region that the service reads and writes."""
        return self._store.region

    @property
    def projections(self) -> Mapping[str, type[Projection]]:
        """Projections whose values can be read, by name; of several versions the latest."""
        return {each.name: each for each in sorted(self._queries, key=lambda each: each.version)}

    def _query(self, stream: StreamId, projection: str | None) -> Query:
        fitting = {each.name for each in self._queries if each.reads(stream)}
        if not fitting:
            raise Problem("not-found", 404, f"no projection reads streams of type {stream.type!r} here")
        if projection is None and len(fitting) == 1:
            (projection,) = fitting
        if projection not in fitting:
            named = f"{projection!r} is not one of them" if projection is not None else "name one with ?projection="
            raise Problem("not-found", 404, f"streams of type {stream.type!r} feed {', '.join(sorted(fitting))}; {named}")
        chosen = self._versions.chosen(each for each in self._queries if each.name == projection)[projection]
        if not chosen.reads(stream):
            detail = (
                f"version {chosen.version} of {projection}, which readers see, is not fed by streams of type {stream.type!r}"
            )
            raise Problem("not-found", 404, detail)
        return self._queries[chosen]

    def _nameable(self, operations: Sequence[Operation]) -> None:
        """Refuse a write whose token could be too long for the answer: it must fail before it is written, not after."""
        longest = VersionVector(dict.fromkeys(self._store.regions, MAX_SEQUENCE))
        streams = {operation.stream: longest for operation in operations}
        try:
            self._store.tokens.encode(ConsistencyToken(streams, Hlc(MAX_MILLISECONDS, MAX_COUNTER)))
        except InvalidToken as error:
            raise InvalidOperation(f"{error}. Nothing was written; write to fewer streams at once") from error

    def _digestible(self, stream: StreamId, events: Sequence[NewEvent]) -> None:
        """Refuse events that a projection here could not process: once written they would stay for good."""
        for query in self._checks:
            if query.projection.reads(stream):
                try:
                    query.check(stream, events)
                except (ProjectionFailed, DamagedEvent) as error:
                    why = error.public if isinstance(error, ProjectionFailed) else str(error)
                    raise Problem("invalid-event", 422, f"the events cannot be projected: {why}") from error

    def _answer(self, body: Json, token: ConsistencyToken) -> Answer:
        text = self._store.tokens.encode(token)
        return Answer({**body, "token": text}, text)

    def _shown(self, snapshot: Snapshot, projection: str) -> Json:
        shown = {
            "stream": str(snapshot.stream),
            "projection": projection,
            "value": snapshot.value,
            "vector": dict(snapshot.vector.items()),
            "at": snapshot.at.isoformat() if snapshot.at else None,
            "token": self._store.tokens.encode(snapshot.token),
        }
        return {**shown, "event": _event(snapshot.event)} if snapshot.event is not None else shown


def _event(event: Event) -> Json:
    return {
        "id": event.id,
        "region": event.region,
        "sequence": event.sequence,
        "type": event.type,
        "version": event.version,
        "at": moment_of(event.hlc).isoformat(),
        "payload": event.payload,
        "metadata": event.metadata,
        "observed": dict(event.observed.items()),
        "digest": event.digest.hex(),
    }


def _entry(event: Event) -> Json:
    entry = AuditEntry.of(event)
    return {
        "id": entry.event_id,
        "region": entry.region,
        "type": entry.type,
        "version": entry.version,
        "at": entry.at.isoformat(),
        "who": entry.who,
        "correlation": entry.correlation,
        "causation": entry.causation,
        "metadata": dict(entry.metadata),
        "digest": entry.digest,
    }
