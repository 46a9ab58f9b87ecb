"""Table creation for a laptop or an emulator. On AWS, Terraform creates the tables."""

from __future__ import annotations

from typing import Any

from pynamodb.exceptions import PynamoDBException

from replicator.aws import clients
from replicator.domain.errors import InvalidConfig
from replicator.eventstore.models import ControlItem, EventItem, KeysItem, bind
from replicator.runtime.settings import Settings


def check_endpoint(settings: Settings) -> None:
    """Raise InvalidConfig when the endpoint of the settings' region does not answer."""
    with clients.config_errors(settings, settings.region):
        clients.dynamodb(settings, settings.region).list_tables(Limit=1)


def create_tables(settings: Settings) -> list[str]:
    """Create the events, control and keys tables of the settings' region if they are missing. Returns the new ones."""
    created = []
    check_endpoint(settings)
    with clients.config_errors(settings, settings.region):
        tables = (EventItem, settings.events_table), (ControlItem, settings.control_table), (KeysItem, settings.keys_table)
        for model, table in tables:
            if create_missing(bind(model, table, settings, settings.region), settings):
                created.append(table)
    return created


def create_missing(bound: Any, settings: Settings) -> bool:
    """Create the table of a bound model. Returns True when it was missing. Raises InvalidConfig when it cannot be
    created."""
    with clients.config_errors(settings, settings.region):
        clients.share_session(bound._get_connection().connection)
        try:
            if bound.exists():
                return False
            bound.create_table(wait=True)
        except PynamoDBException as error:
            raise InvalidConfig(f"table {bound.Meta.table_name} cannot be created in {settings.region}: {error}") from None
    return True
