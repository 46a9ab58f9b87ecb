"""The fence of a region on DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from replicator import aws
from replicator.control import ControlStorage, DynamoControl
from replicator.dynamodb import DynamoStorage
from replicator.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.fencing.checkin import Heard
from replicator.fencing.fence import Fence
from replicator.fencing.roles import known_roles
from replicator.settings import Settings
from replicator.storage import LaneStorage
from replicator.stream_check import require_inserts_shown

log = structlog.get_logger()


def connect_fence(settings: Settings, storage: LaneStorage | None = None) -> Fence:
    """The fence of the settings' region. No peer is asked before the first append."""
    control, own = DynamoControl(settings), storage or DynamoStorage(settings)
    return Fence(
        settings.region,
        control,
        lambda: {"events": own.identity(), "control": control.identity()},
        lambda: _ask_all(settings.hasty),
        settings.fence_checked,
        settings.fence_lease,
        check=lambda: require_inserts_shown(settings),
    )


def _ask_all(hasty: Settings) -> tuple[Mapping[str, Heard], tuple[str, ...]]:
    with ThreadPoolExecutor(max(len(hasty.peers), 1), thread_name_prefix="check-in") as pool:
        answers = dict(zip(hasty.peers, pool.map(lambda peer: _ask(hasty, peer), hasty.peers), strict=True))
    heard = {peer: answer for peer, answer in answers.items() if answer is not None}
    return heard, tuple(peer for peer in hasty.peers if peer not in heard)


def _ask(hasty: Settings, peer: str) -> Heard | None:
    try:
        return ask(DynamoControl(hasty.at(peer)), DynamoStorage(hasty, peer), hasty.region)
    except RegionRefuses as error:
        if error.code == aws.NO_SUCH_TABLE:
            return Heard(None, False)  # it has no tables yet
        log.warning("fence.peer_refuses", region=hasty.region, peer=peer, error=str(error))
    except (RegionUnavailable, InvalidConfig):
        pass  # whether that matters is decided by what the others say
    return None


def ask(control: ControlStorage, storage: LaneStorage, region: str) -> Heard:
    """What a peer with these tables knows of `region`."""
    return Heard(known_roles(control).get(region), next(storage.index(region), None) is not None)
