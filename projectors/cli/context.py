"""A region, and the versions in a sink, as the commands of whoever runs Meridian see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from projectors.settings import given_projections, sink_id
from projectors.versions.versions import Versions
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.connect import connect_store, given_personal_data
from replicator.erasure import PersonalData
from replicator.eventstore.store import EventStore
from replicator.runtime.settings import Settings


@dataclass(frozen=True)
class Here:
    """A region's events."""

    settings: Settings
    store: EventStore
    personal: PersonalData | None

    @classmethod
    def connect(cls, settings: Settings) -> Here:
        clients.require_table(settings, settings.region, settings.events_table)
        return cls(settings, connect_store(settings), given_personal_data(settings))


def versions_in(sink: str, settings: Settings) -> Versions:
    """Those in the sink at this address."""
    clients.require_table(settings, settings.region, settings.control_table)
    return Versions(DynamoControl(settings), sink_id(sink))


def seen_by_readers(name: str, sink: str, settings: Settings, projections: Sequence[str] | None) -> int:
    """The version that readers see, as those have it who load these projections, or the ones in the settings."""
    return versions_in(sink, settings).seen(name, given_projections(projections))
