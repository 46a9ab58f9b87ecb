"""Checkpoints: the position of a reader in a stream, kept in the control state."""

from __future__ import annotations

import math

from replicator.control.control_storage import ControlStorage, Value

WHOLE = "@"
"""Key of the checkpoint (low watermark) of a whole stream: no shard has this name."""


def scope_of(reader: str) -> str:
    """Return the scope of a reader's checkpoints in the control state. Leases are in them: replicator/control/leases.py."""
    return f"checkpoint#{reader}"


class Checkpoints:
    """Position of a reader in a DynamoDB stream, by shard."""

    def __init__(self, control: ControlStorage, reader: str) -> None:
        self._control = control
        self._scope = scope_of(reader)

    def load(self, stream_arn: str) -> dict[str, Value]:
        """Return shard -> {position, closed}. Checkpoints of another stream (of a recreated table) are ignored."""
        found = {shard: v for shard, v in self._control.get_all(self._scope) if v.get("stream") == stream_arn}
        found.pop(WHOLE, None)
        return found

    def save(self, stream_arn: str, shard: str, position: str | None, closed: bool) -> None:
        self._control.put(self._scope, {shard: {"stream": stream_arn, "position": position, "closed": closed}})

    def mark(self, stream_arn: str, seconds: float) -> None:
        """Record a low watermark: records in shards without a position here are not older than `seconds` since the epoch, by
        the service's clock. Earlier versions take it for a closed shard that no longer exists."""
        mark = {"stream": stream_arn, "position": None, "closed": True, "mark": int(seconds)}
        self._control.put(self._scope, {WHOLE: mark})

    def marked(self, stream_arn: str) -> float:
        """Return the low watermark of this stream; minus infinity if there is none."""
        value = dict(self._control.get_all(self._scope)).get(WHOLE, {})
        return float(value["mark"]) if value.get("stream") == stream_arn and "mark" in value else -math.inf
