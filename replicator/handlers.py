"""Lambda functions of the replicator. Thin: the same core as the worker's does the work.

A stream batch succeeds once every link has copied it or left pointers on its backlog, so a dead peer never delays the
stream; it fails only while the own region accepts neither, and Lambda then delivers it again.

Each function imports and creates only what it needs: otherwise all would start as slowly as the slowest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from replicator.connect import connect_heartbeat, connect_outbound, connect_publish_batches, connect_redrive
from replicator.replication.lambda_batches import Answer, Message
from replicator.runtime import logs
from replicator.runtime.cold_start import loaded_for, starting
from replicator.runtime.settings import read_settings
from replicator.runtime.time_left import time_left

if TYPE_CHECKING:
    from replicator.aws.redrive import Redrive
    from replicator.external.publish_batches import PublishBatches
    from replicator.replication.heartbeat import Heartbeat
    from replicator.replication.invocation import Outbound


def replicate(event: Message, context: Any) -> Answer:
    """Handle records of the own region's stream: copy every event of an own lane over every link."""
    return _outbound().replicate(event["Records"])


def catch_up(event: Message, context: Any) -> Answer:
    """Handle pointers from the peers' backlogs: read the lanes again and copy them."""
    return _outbound().catch_up(event["Records"], time_left(context))


def publish(event: Message, context: Any) -> Answer:
    """Handle records of the internal bus: publish the declared ones as external events."""
    return _published().publish(event["Records"], time_left(context))


def redrive(event: Message, context: Any) -> Answer:
    """Handle stream batches that an event source mapping gave up: put pointers to their events on the backlogs."""
    return _redrive().redrive(event["Records"], time_left(context))


def heartbeat(event: Message, context: Any) -> None:
    """Handle the schedule's event, once a minute: append this region's heartbeat, and report the age of each peer's."""
    _heart().beat()


@cache
def _heart() -> Heartbeat:
    with starting():
        logs.configure_logs()
        return connect_heartbeat(read_settings())


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
    "replicate": _outbound, "catch_up": _outbound, "publish": _published, "redrive": _redrive,
    "heartbeat": _heart,
}  # fmt: skip

if (_make := _PARTS.get(loaded_for(__name__))) is not None:
    _make()
