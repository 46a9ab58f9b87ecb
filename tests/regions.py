"""Regions as tests need them before anything is written."""

from __future__ import annotations

from replicator.control import DynamoControl
from replicator.dynamodb import DynamoStorage
from replicator.fencing.roles import ACTIVE, Role, change_role, read_role
from replicator.settings import Settings


def activate(settings: Settings, *regions: str) -> None:
    """Say that these regions (by default the own one) are active, as their first append does where all peers answer."""
    for region in regions or (settings.region,):
        control, events = DynamoControl(settings.at(region)), DynamoStorage(settings.at(region))
        tables = {"events": events.identity(), "control": control.identity()}
        change_role(control, read_role(control), Role(1, ACTIVE, tables))
