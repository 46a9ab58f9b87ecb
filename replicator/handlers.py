"""The replicator's Lambda functions. Thin: the same core as the worker's does the work.

A stream batch succeeds once every link has copied it or left pointers on its backlog, so a dead peer never holds up the
stream; it fails only while the own region takes neither, and then Lambda gives it again.

Each function imports and makes what it alone needs: all would start as slowly as the slowest otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from replicator.connect import connect_outbound, connect_publish_batches, connect_redrive
from replicator.replication.lambda_batches import Answer, Message, time_left
from replicator.runtime import logs
from replicator.runtime.cold_start import loaded_for, starting
from replicator.runtime.settings import read_settings

if TYPE_CHECKING:
    from replicator.aws.redrive import Redrive
    from replicator.external.publish_batches import PublishBatches
    from replicator.replication.invocation import Outbound


def replicate(event: Message, context: Any) -> Answer:
    """Records of the own region's stream: every event of an own lane goes over every link."""
    return _outbound().replicate(event["Records"])


def catch_up(event: Message, context: Any) -> Answer:
    """Pointers from the peers' backlogs: the lanes are read again and brought over."""
    return _outbound().catch_up(event["Records"], time_left(context))


def publish(event: Message, context: Any) -> Answer:
    """Records of the internal bus: what is declared of them is published as external events."""
    return _published().publish(event["Records"], time_left(context))


def redrive(event: Message, context: Any) -> Answer:
    """Stream batches that a mapping gave up: what was in them becomes pointers on the backlogs."""
    return _redrive().redrive(event["Records"])


@cache
def _outbound() -> Outbound:
    with starting():
        logs.configure_logs()
        return connect_outbound(read_settings())


@cache
def _published() -> PublishBatches:
    with starting():
        logs.configure_logs()
        return connect_publish_batches(read_settings())


@cache
def _redrive() -> Redrive:
    with starting():
        logs.configure_logs()
        return connect_redrive(read_settings())


_PARTS: dict[str, Callable[[], object]] = {
    "replicate": _outbound, "catch_up": _outbound, "publish": _published, "redrive": _redrive
}  # fmt: skip

if (_make := _PARTS.get(loaded_for(__name__))) is not None:
    _make()
