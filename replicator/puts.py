"""Writing events as conditional puts of PynamoDB's: for streams of emulators, which leave out what PartiQL writes. On AWS a
transaction of puts costs two write units where an INSERT costs one (docs/decisions/0003)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError
from pynamodb.exceptions import PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from replicator import aws
from replicator.domain.event import Event
from replicator.models import ControlItem, EventItem, bind, to_model
from replicator.retries import Transient
from replicator.settings import Settings
from replicator.storage import Guard, control_text


class Puts:
    """Writes to the events table of `region`."""

    def __init__(self, settings: Settings, region: str) -> None:
        self._model = bind(EventItem, settings.events_table, settings, region)
        self._connection = self._model._get_connection().connection
        self._control = bind(ControlItem, settings.control_table, settings, region)

    def put(self, events: Sequence[Event], guards: Sequence[Guard]) -> bool:
        """Write all or none, once. False when a condition failed: a place is taken, or a guard does not hold. Raises
        Transient."""
        absent = self._model.pk.does_not_exist()
        try:
            if len(events) == 1 and not guards:
                to_model(self._model, events[0]).save(condition=absent)
            else:
                with TransactWrite(connection=self._connection) as transaction:
                    for event in events:
                        transaction.save(to_model(self._model, event), condition=absent)
                    for guard in guards:
                        same = self._control.value == control_text(guard.value)
                        transaction.condition_check(self._control, guard.scope, guard.key, condition=same)
        except PynamoDBException as error:
            reasons = {r.code for r in error.cancellation_reasons if r} if isinstance(error, TransactWriteError) else set()
            code = aws.error_code(error.cause)  # PynamoDB's own cause_response_code fails on time-outs
            if code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
                return False
            if reasons & aws.THROTTLES:
                raise Transient(", ".join(sorted(reasons)), sent=False) from error
            raise _sorted(error) from error
        return True


def _sorted(error: PynamoDBException) -> BaseException:
    cause: Any = error.cause
    answered = getattr(cause, "__cause__", None)  # PynamoDB's own errors keep the code, and not the status
    if isinstance(answered, ClientError):
        cause = answered
    return aws.sort_error(cause or error) or error
