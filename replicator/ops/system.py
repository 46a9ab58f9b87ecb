"""System: all regions as an operator's command sees them: their tables, and whether they answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog

from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import InvalidConfig, InvalidName, RegionRefuses, RegionUnavailable
from replicator.domain.names import check_region
from replicator.eventstore.storage import LaneStorage
from replicator.ops.audit.read_units import Meter
from replicator.ops.audit.summary_keeper import Keeper, KeeperOptions
from replicator.runtime.settings import Settings
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

_SILENT_SECONDS = 5.0


@dataclass(slots=True)
class Place:
    """One region. `probe` raises RegionUnavailable within a few seconds when it does not answer."""

    region: str
    storage: LaneStorage
    control: ControlStorage
    keeper: Keeper
    probe: Callable[[], object]

    def tables(self) -> dict[str, str]:
        """Return the identities of the region's tables, as a role is given to them."""
        return {"events": self.storage.identity(), "control": self.control.identity()}


@dataclass(frozen=True, slots=True)
class System:
    """All regions by name. `lease` is how long appends without a condition check may miss a fence, in seconds; `wall` is in
    milliseconds since the epoch."""

    places: Mapping[str, Place]
    lease: float = 2.0
    wall: Callable[[], int] = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _silent: dict[str, float] = field(default_factory=dict)

    @classmethod
    def connect(cls, settings: Settings, meter: Meter | None = None) -> System:
        """Connect the settings' region and its peers. None of them need answer. `meter` counts reads."""
        names = (settings.region, *settings.peers)
        return cls({region: _place(settings.at(region), meter) for region in names}, settings.fence_lease)

    def at(self, region: str) -> Place:
        """Return one region. Raises InvalidConfig for an unknown name."""
        try:
            check_region(region)
        except InvalidName as error:
            raise InvalidConfig(str(error)) from None
        if region not in self.places:
            raise InvalidConfig(
                f"{region} is not a region of this system as this command knows it ({', '.join(sorted(self.places))}); "
                "correct the name, or name it with --region or --peers"
            )
        return self.places[region]

    def answering(self, of: Collection[str] | None = None) -> dict[str, Place]:
        """Return the regions (of these, or of all) that answer now. One that did not is not probed again for a few seconds:
        every step of a runbook would wait for it."""
        now = self.monotonic()
        asked = {
            region: place
            for region, place in self.places.items()
            if (of is None or region in of) and now - self._silent.get(region, -math.inf) >= _SILENT_SECONDS
        }
        with ThreadPoolExecutor(max(len(asked), 1), thread_name_prefix="probe") as pool:
            answers = list(pool.map(_answers, asked.values()))
        for region, up in zip(asked, answers, strict=True):
            if not up:
                self._silent[region] = self.monotonic()
        return {region: place for (region, place), up in zip(asked.items(), answers, strict=True) if up}


def _answers(place: Place) -> bool:
    try:
        place.probe()
    except RegionUnavailable:
        return False
    return True


def _place(settings: Settings, meter: Meter | None = None) -> Place:
    storage, control = DynamoStorage(settings), DynamoControl(settings)
    if meter is not None:
        storage.wire.count(meter.hear)
        meter.attach(control.client)
    keeper = Keeper(settings.region, settings.regions, storage, control, KeeperOptions())
    return Place(settings.region, storage, control, keeper, partial(_probe, settings.hasty))


def _probe(hasty: Settings) -> None:
    client = clients.dynamodb(hasty, hasty.region)
    for table in (hasty.control_table, hasty.events_table):
        try:
            clients.call(hasty, hasty.region, partial(client.describe_table, TableName=table))
        except RegionRefuses as error:
            if error.code == clients.NO_SUCH_TABLE:
                why = f"{hasty.region} has no table {table}; run `terraform apply`, then try again"
                log.warning("system.region_unusable", region=hasty.region, error=why)
                raise RegionUnavailable(why) from None
            raise InvalidConfig(  # not silent: after a refusal nothing is known about the region
                f"{hasty.region} refused a request ({error.code}). Correct the credentials, the policies "
                "(operator_policy_arn or oncall_policy_arn of every region) or --prefix; or leave the region out of --peers"
            ) from None
        except RegionUnavailable as error:
            if "Credentials" in str(error):
                raise InvalidConfig(f"there are no credentials for {hasty.region}: {error}") from None
            raise
