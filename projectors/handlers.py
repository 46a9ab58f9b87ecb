"""Lambda functions of the projectors. Thin: the same engine as the worker's does the work."""

from __future__ import annotations

from functools import cache
from typing import Any

from projectors.connect import connect_inbound
from projectors.run.invocation import Inbound
from projectors.settings import read_projections
from replicator.replication.lambda_batches import Answer, Message
from replicator.runtime import logs
from replicator.runtime.cold_start import loaded_for, starting
from replicator.runtime.settings import read_settings
from replicator.runtime.time_left import time_left


def project(event: Message, context: Any) -> Answer:
    """Fold records of the own region's stream, own events and copies alike, into views."""
    return _inbound().project(event["Records"])


def catch_up(event: Message, context: Any) -> Answer:
    """Catch up with pointers from the views' backlog: read their lanes again and fold them."""
    return _inbound().catch_up(event["Records"], time_left(context))


@cache
def _inbound() -> Inbound:
    with starting():
        logs.configure_logs()
        return connect_inbound(read_settings(), read_projections())


if loaded_for(__name__):
    _inbound()
