"""Regions as tests need them: active before anything is written, in memory or on the emulator, and copied between."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from replicator import EventStore, HybridLogicalClock, MemoryStorage
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.connect import connect_store
from replicator.fencing.roles import ACTIVE, Role, change_role, read_role
from replicator.runtime.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"
BACKENDS = ["memory", pytest.param("emulator", marks=pytest.mark.emulator)]
CLEAN = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("MERIDIAN_", "AWS_"))},
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
"""The environment of this process, with keys for an emulator and no settings."""


def environment_of(settings: Settings, **more: str) -> dict[str, str]:
    """Environment variables by which a command finds the regions of these settings."""
    return {
        "MERIDIAN_REGION": settings.region,
        "MERIDIAN_PEERS": ",".join(settings.peers),
        "MERIDIAN_PREFIX": settings.prefix,
        "MERIDIAN_ENDPOINTS": ",".join(f"{region}={url}" for region, url in settings.endpoints.items()),
        **more,
    }


def activate(settings: Settings, *regions: str) -> None:
    """Say that these regions (by default the own one) are active, as their first append does where all peers answer."""
    for region in regions or (settings.region,):
        control, events = DynamoControl(settings.at(region)), DynamoStorage(settings.at(region))
        tables = {"events": events.identity(), "control": control.identity()}
        change_role(control, read_role(control), Role(1, ACTIVE, tables))


def stores_over(held: Mapping[str, MemoryStorage], wall: Callable[[], int] | None = None) -> dict[str, EventStore]:
    """A store for each region in memory, which pulls from the others what an operation waits for."""
    return {
        region: EventStore(storage, region, list(held), HybridLogicalClock(wall) if wall else None, peer=held.__getitem__)
        for region, storage in held.items()
    }


def stores_in_memory() -> dict[str, EventStore]:
    return stores_over({region: MemoryStorage() for region in (EAST, WEST)})


def stores_on(request: pytest.FixtureRequest, backend: str) -> dict[str, EventStore]:
    """Stores of two regions on one of BACKENDS. Nothing copies between them."""
    if backend == "memory":
        return stores_in_memory()
    settings: Settings = request.getfixturevalue("emptied_settings")
    return {region: connect_store(settings.at(region)) for region in (EAST, WEST)}


def copy(held: Mapping[str, Any]) -> None:
    """What the replicator does: every region's own lanes to all others."""
    for home, storage in held.items():
        for lane, _ in list(storage.lanes()):
            for there in held if lane.region == home else ():
                if there != home:
                    held[there].insert_each(list(storage.read(lane)))
