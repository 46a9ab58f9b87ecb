"""Checkpoints: how far a reader of a stream has come. Kept in the control state."""

from __future__ import annotations

import math

from replicator.control.control_storage import ControlStorage, Value

_WHOLE = "@"
"""Where a checkpoint is of the whole stream: no shard has this name."""


class Checkpoints:
    """How far a reader of a DynamoDB stream has come, by shard."""

    def __init__(self, control: ControlStorage, reader: str) -> None:
        self._control = control
        self._scope = f"checkpoint#{reader}"

    def load(self, stream_arn: str) -> dict[str, Value]:
        """shard -> {position, closed}. Checkpoints of another stream (a table made anew) do not count."""
        found = {shard: v for shard, v in self._control.get_all(self._scope) if v.get("stream") == stream_arn}
        found.pop(_WHOLE, None)
        return found

    def save(self, stream_arn: str, shard: str, position: str | None, closed: bool) -> None:
        self._control.put(self._scope, {shard: {"stream": stream_arn, "position": position, "closed": closed}})

    def mark(self, stream_arn: str, seconds: float) -> None:
        """Note that what waits in shards without a position here is not older than that, in seconds since the epoch by the
        service's clock. Earlier versions take it for a closed shard that is no more."""
        mark = {"stream": stream_arn, "position": None, "closed": True, "mark": int(seconds)}
        self._control.put(self._scope, {_WHOLE: mark})

    def marked(self, stream_arn: str) -> float:
        """What was noted last of this stream; minus infinity where nothing was."""
        value = dict(self._control.get_all(self._scope)).get(_WHOLE, {})
        return float(value["mark"]) if value.get("stream") == stream_arn and "mark" in value else -math.inf
