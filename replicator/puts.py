"""Writing events as conditional puts of PynamoDB's: for streams of emulators, which leave out what PartiQL writes. On AWS a
transaction of puts costs two write units where an INSERT costs one (docs/decisions/0003)."""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import VerboseClientError
from pynamodb.transactions import TransactWrite

from replicator.domain.event import Event
from replicator.models import ControlItem, EventItem, bind, to_model
from replicator.settings import Settings
from replicator.storage import Guard, control_text


class Puts:
    """Writes to the events table of `region`."""

    def __init__(self, settings: Settings, region: str) -> None:
        self._model = bind(EventItem, settings.events_table, settings, region)
        self._connection = self._model._get_connection().connection
        self._control = bind(ControlItem, settings.control_table, settings, region)

    def put(self, events: Sequence[Event], guards: Sequence[Guard]) -> None:
        """Write all or none, once. Raises botocore's error; where the answer could not even be parsed, any."""
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
        except Exception as error:
            raise _cause(error) from error


def _cause(error: BaseException) -> BaseException:
    """botocore's own error behind one of PynamoDB's, which keeps its code and neither its status nor all reasons."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, BotoCoreError | ClientError) and not isinstance(each, VerboseClientError):
            return each
        each = getattr(each, "cause", None) or each.__cause__ or each.__context__
    return error
