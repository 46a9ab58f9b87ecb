"""Tables for a laptop or an emulator. On AWS, Terraform makes them."""

from __future__ import annotations

from replicator import aws
from replicator.models import ControlItem, EventItem, KeysItem, bind
from replicator.settings import Settings


def create_tables(settings: Settings) -> list[str]:
    """Create the events, control and keys tables of the settings' region where they are missing. Returns the new ones."""
    created = []
    with aws.config_errors(settings, settings.region):
        aws.dynamodb(settings, settings.region).list_tables(Limit=1)
        tables = (EventItem, settings.events_table), (ControlItem, settings.control_table), (KeysItem, settings.keys_table)
        for model, table in tables:
            bound = bind(model, table, settings, settings.region)
            if not bound.exists():
                bound.create_table(wait=True)
                created.append(table)
    return created
