"""Tables for a laptop or an emulator. On AWS, Terraform makes them."""

from __future__ import annotations

from replicator import aws
from replicator.models import ControlItem, EventItem, bind
from replicator.settings import Settings


def create_tables(settings: Settings) -> list[str]:
    """Create the events and control tables of the settings' region where they are missing. Returns what was created."""
    created = []
    with aws.config_errors(settings, settings.region):
        aws.dynamodb(settings, settings.region).list_tables(Limit=1)
        for model, table in ((EventItem, settings.events_table), (ControlItem, settings.control_table)):
            bound = bind(model, table, settings, settings.region)
            if not bound.exists():
                bound.create_table(wait=True)
                created.append(table)
    return created
