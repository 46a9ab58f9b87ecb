"""What the replicator of a region does about changes in its table, without a worker that would copy as well."""

from __future__ import annotations

from replicator.aws.control_table import DynamoControl
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.control.checkpoints import Checkpoints
from replicator.control.suspects import Suspects
from replicator.domain.names import LaneId
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import read_records
from replicator.runtime.settings import Settings
from tests.processes import wait_until


def notice(settings: Settings, *lanes: LaneId) -> None:
    """Read the region's stream from its beginning until these lanes are noted as suspect."""
    control = DynamoControl(settings)
    reader = DynamoStreamReader.connect(settings, Checkpoints(control, "noticing"))
    refusals = Refusals(settings.region, control, (), lambda *_: None)

    def noticed() -> bool:
        for batch in reader.poll():
            refusals.refuse(read_records(batch.records, settings.region)[1])
        return Suspects(control).notes().keys() >= set(lanes)

    wait_until(noticed, "changes that are noted")
