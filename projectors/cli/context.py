"""Context of operators' commands: a region, and the versions in a sink."""

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
    """Events of a region."""

    settings: Settings
    store: EventStore
    personal: PersonalData | None

    @classmethod
    def connect(cls, settings: Settings) -> Here:
        clients.require_table(settings, settings.region, settings.events_table)
        return cls(settings, connect_store(settings), given_personal_data(settings))


def versions_in(sink: str, settings: Settings) -> Versions:
    """Return the versions in the sink at this address."""
    clients.require_table(settings, settings.region, settings.control_table)
    return Versions(DynamoControl(settings), sink_id(sink))


def seen_by_readers(name: str, sink: str, settings: Settings, projections: Sequence[str] | None) -> int:
    """Return the version that readers see if they load these projections, or those in the settings."""
    return versions_in(sink, settings).seen(name, given_projections(projections))
