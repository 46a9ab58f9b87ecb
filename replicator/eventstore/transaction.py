"""Execution of operations: judge every precondition on the current streams, write if all accept, start again if a stream has
moved meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence

from replicator.control.control_storage import Guard
from replicator.domain.errors import InvalidOperation
from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.eventstore.appender import Appender, Write
from replicator.eventstore.operations import Accept, GaveUp, Operation, Reject, Rejected, Result, Saved
from replicator.eventstore.store_errors import AppendContention, RegionBehind
from replicator.eventstore.stream_reader import StreamReader
from replicator.eventstore.stream_state import StreamState


class _Declined(Exception):
    """Internal: a precondition rejected."""

    def __init__(self, result: Rejected) -> None:
        self.result = result


class Saving:
    """One call of EventStore.save."""

    def __init__(self, streams: StreamReader, appender: Appender, operations: Sequence[Operation], timeout: float) -> None:
        if not operations:
            raise InvalidOperation("nothing to save; give at least one operation")
        names = [operation.stream for operation in operations]
        for stream in names:
            if names.count(stream) > 1:
                raise InvalidOperation(f"two operations on stream {stream} in one save; put their events into one")
        self._reader = streams
        self._appender = appender
        self._operations = tuple(operations)
        self._timeout = timeout
        self._seen: dict[StreamId, Observed] = {}

    def run(self, guards: Sequence[Guard], *, handed_over: bool = False) -> Result:
        # Events from other regions are fetched before any lane is held.
        self._after = {each.stream: self._token_of(each) for each in self._operations}
        end = time.monotonic() + self._timeout
        self._pulled = {
            each.stream: self._reader.pull(each.stream, self._after[each.stream], max(end - time.monotonic(), 0))
            for each in self._operations
            if each.precondition.reads or self._after[each.stream].vector(each.stream)
        }
        try:
            events = self._appender.append(self._after.keys(), self._prepare, guards, handed_over=handed_over)
        except _Declined as declined:
            return declined.result
        except AppendContention as error:
            return GaveUp(self._appender.attempts, str(error))
        return Saved(self._token(events), events)

    def _prepare(self) -> list[Write]:
        writes: list[Write] = []
        reasons: list[str] = []
        for operation in self._operations:
            write, refused = self._judge(operation)
            writes.append(write)
            reasons += refused
        if reasons:
            raise _Declined(Rejected(tuple(reasons), self._token(())))
        return writes

    def _judge(self, operation: Operation) -> tuple[Write, tuple[str, ...]]:
        stream, after = operation.stream, self._after[operation.stream]
        if stream not in self._pulled:
            self._seen[stream] = after.observed(stream)
            return Write(stream, operation.events, self._seen[stream]), ()
        state = self._state(stream)
        if not operation.precondition.reads:  # what the token names is here: no claim of a writer is recorded unchecked
            self._seen[stream] = after.observed(stream)
            return Write(stream, operation.events, self._seen[stream], state.head), ()
        self._seen[stream] = state.observed
        verdict = operation.precondition.judge(state)
        if isinstance(verdict, Reject):
            return Write(stream, ()), verdict.reasons
        assert isinstance(verdict, Accept)
        return Write(stream, (*operation.events, *verdict.events), state.observed, state.head), ()

    def _state(self, stream: StreamId) -> StreamState:
        state = self._reader.cut(stream, self._pulled[stream], self._after[stream])
        region = self._reader.lanes.region
        if state.vector.get(region) != state.head.sequence:
            raise RegionBehind(
                f"{region} has event {state.head.sequence} of its own lane of {stream}, others have "
                f"{state.vector.get(region)}: it was restored from a backup. Nothing was written, it would be a "
                "fork; write in another region, and bring this one up from its peers first"
            )
        return state

    def _token_of(self, operation: Operation) -> ConsistencyToken:
        """Return a token of all that the operation's writer declares as seen."""
        token = ConsistencyToken()
        for given in (operation.after, *operation.precondition.tokens()):
            if given is not None:
                token = token.join(self._reader.tokens.read(given))
        return token

    def _token(self, events: Sequence[Event]) -> ConsistencyToken:
        token = ConsistencyToken.of(events)
        for stream, observed in self._seen.items():
            token = token.join(ConsistencyToken.seen(stream, observed))
        return token
