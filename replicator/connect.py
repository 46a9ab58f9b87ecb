"""Composition root: assembles the parts of one region on AWS from its settings.

Each function imports only what it needs: otherwise a Lambda that copies would start as slowly as one that publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import structlog

from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from replicator.aws.redrive import Redrive
    from replicator.claims.homed import HomedClaims
    from replicator.control.backlog import Backlog
    from replicator.control.control_storage import ControlStorage
    from replicator.control.leases import Leases
    from replicator.domain.clock import HybridLogicalClock
    from replicator.erasure.keys import KeyStorage
    from replicator.erasure.personal import PersonalData
    from replicator.eventstore.durability import Handover
    from replicator.eventstore.storage import LaneStorage
    from replicator.eventstore.store import EventStore
    from replicator.external.consumer import ExternalConsumer, Handler, NotOurs
    from replicator.external.marks import Marks, Missed
    from replicator.external.publish_batches import PublishBatches
    from replicator.external.publish_worker import PublishWorker
    from replicator.external.publisher import Publisher
    from replicator.fencing.adoption import Adopter
    from replicator.fencing.check_in import Heard
    from replicator.fencing.fence import Fence
    from replicator.fencing.roles import Role
    from replicator.replication.heartbeat import Heartbeat
    from replicator.replication.invocation import Outbound
    from replicator.replication.link import Link
    from replicator.replication.worker import Replicator
    from replicator.runtime.metrics import Emit

log = structlog.get_logger()

KEY_FILE = "file:"
"""Prefix of MERIDIAN_PERSONAL_KEY when it names a key file."""

# -- the event store ---------------------------------------------------------------------------------------------------


def connect_store(settings: Settings, clock: HybridLogicalClock | None = None) -> EventStore:
    """Return the event store of the settings' own region, on DynamoDB."""
    from replicator.aws.event_table import DynamoStorage
    from replicator.domain.token import TokenCodec
    from replicator.eventstore.appender import AppendPolicy
    from replicator.eventstore.durability import Durability
    from replicator.eventstore.store import EventStore

    patient = DynamoStorage(settings)
    hasty = replace(settings, attempts=1, connect_timeout=min(1.0, settings.connect_timeout))
    return EventStore(
        patient,
        settings.region,
        settings.regions,
        clock,
        peer=cache(lambda region: DynamoStorage(hasty, region)),
        tokens=TokenCodec(settings.prefix, settings.token_keys),
        appends=AppendPolicy(
            fence=connect_fence(settings, patient),
            durability=Durability(
                settings.region, settings.peers, partial(_connect_handover, hasty, patient), settings.copies
            ),
        ),
    )


def _connect_handover(hasty: Settings, home: LaneStorage) -> Handover:
    """Return the handover of a writer's events to its peers, which need not be up."""
    from replicator.aws.event_table import DynamoStorage
    from replicator.control.memory_control import MemoryControl
    from replicator.control.quarantine import Quarantine
    from replicator.replication.copier import Copier
    from replicator.replication.handover import PeerHandover, PeerHandovers, SharedIdentity
    from replicator.replication.link_state import LinkState

    shared = ThreadPoolExecutor(8, thread_name_prefix="handover")

    def connect(peer: str) -> PeerHandover:
        name = f"{hasty.region}>{peer}"
        storage = DynamoStorage(hasty, peer)
        identity = SharedIdentity(storage.identity)
        # What it refuses the replicator refuses, too, and keeps in the region's quarantine.
        quarantine, bound = Quarantine(MemoryControl(), name), log.bind(region=hasty.region, link=name)

        def copier() -> Copier:
            return Copier(home, storage, quarantine, shared, LinkState(), bound, shared=True, direct=True, identify=identity)

        return PeerHandover(peer, copier, identity, ThreadPoolExecutor(16, thread_name_prefix=f"handover-{peer}"))

    return PeerHandovers([connect(peer) for peer in hasty.peers])


def connect_homed_claims(settings: Settings) -> HomedClaims:
    """Return the claims of the settings' region, on DynamoDB. Its role needs permission to append, and to read control
    state, in every owner region."""
    from replicator.aws.control_table import DynamoControl
    from replicator.claims.homed import HomedClaims

    return HomedClaims(
        settings.region,
        cache(lambda region: DynamoControl(settings.at(region))),
        cache(lambda region: connect_store(settings.at(region))),
    )


# -- fencing -----------------------------------------------------------------------------------------------------------


def connect_fence(settings: Settings, storage: LaneStorage | None = None) -> Fence:
    """Return the fence of the settings' region. No peer is queried before the first append."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.event_table import DynamoStorage
    from replicator.aws.stream_check import require_inserts_shown
    from replicator.fencing.check_in import CheckIn
    from replicator.fencing.fence import Fence

    control, own = DynamoControl(settings), storage or DynamoStorage(settings)
    return Fence(
        settings.region,
        control,
        CheckIn(
            lambda: {"events": own.identity(), "control": control.identity()},
            lambda lanes: _ask_all(settings.hasty, lanes),
            lambda: require_inserts_shown(settings),
        ),
        settings.fence_checked,
        settings.fence_lease,
    )


def _ask_all(hasty: Settings, lanes: bool) -> tuple[Mapping[str, Heard], tuple[str, ...]]:
    with ThreadPoolExecutor(max(len(hasty.peers), 1), thread_name_prefix="check-in") as pool:
        answers = dict(zip(hasty.peers, pool.map(lambda peer: _ask(hasty, peer, lanes), hasty.peers), strict=True))
    heard = {peer: answer for peer, answer in answers.items() if answer is not None}
    return heard, tuple(peer for peer in hasty.peers if peer not in heard)


def _ask(hasty: Settings, peer: str, lanes: bool) -> Heard | None:
    from replicator.aws import clients
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.event_table import DynamoStorage
    from replicator.fencing.check_in import Heard, ask

    try:
        return ask(DynamoControl(hasty.at(peer)), DynamoStorage(hasty, peer), hasty.region, lanes)
    except RegionRefuses as error:
        if error.code == clients.NO_SUCH_TABLE:
            return Heard(None, False)  # it has no tables yet
        log.warning("fence.peer_refuses", region=hasty.region, peer=peer, error=str(error))
    except (RegionUnavailable, InvalidConfig):
        pass  # whether that matters depends on the other peers' answers
    return None


def connect_adopter(settings: Settings, storage: LaneStorage) -> Adopter:
    """Return the adopter, which learns from the peers whether the settings' region was fenced."""
    from replicator.aws.control_table import DynamoControl
    from replicator.fencing.adoption import Adopter

    peers = {peer: DynamoControl(settings.hasty.at(peer)) for peer in settings.peers}
    return Adopter(settings.region, DynamoControl(settings), peers, connect_fence(settings, storage).role)


# -- replication -------------------------------------------------------------------------------------------------------


def connect_leases(settings: Settings, control: ControlStorage, reader: str) -> Leases:
    """Return the leases of this process among the workers of a reader."""
    from replicator.control.leases import Leases
    from replicator.runtime.process_name import has_ended, process_name

    return Leases(control, reader, process_name(), settings.shard_lease, gone=has_ended)


def connect_link(
    settings: Settings, peer: str, home: LaneStorage, control: ControlStorage, backlog: Backlog,
    pool: ThreadPoolExecutor, emit: Emit, patience: float = 0.0,
) -> Link:  # fmt: skip
    """Return the link of the settings' region to a peer, which need not be up. `patience` as Copier's, in seconds; a worker
    has none."""
    from replicator.aws.event_table import DynamoStorage
    from replicator.control.quarantine import Quarantine
    from replicator.replication.copier import Copier
    from replicator.replication.link import Link
    from replicator.replication.link_state import LinkState
    from replicator.replication.peer_tables import PeerTables

    name = f"{settings.region}>{peer}"
    bound = log.bind(region=settings.region, link=name)
    target, quarantine = DynamoStorage(settings, peer), Quarantine(control, name)
    copier = Copier(home, target, quarantine, pool, LinkState(), bound, patience=patience, shared=not patience)
    return Link(settings.region, peer, copier, backlog, PeerTables(control), emit)


def connect_replicator(settings: Settings, emit: Emit | None = None) -> Replicator:
    """Return the replicator of the settings' region, driven by threads. Peers need not be up; the own region must be."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.dynamodb_streams import DynamoStreamReader
    from replicator.aws.event_table import DynamoStorage
    from replicator.control.backlog import TableBacklog
    from replicator.control.checkpoints import Checkpoints
    from replicator.replication.refusals import Refusals
    from replicator.replication.worker import READER, Job, LinkThread, Replicator
    from replicator.runtime.metrics import log_metrics

    report, control = emit or log_metrics, DynamoControl(settings)
    leases = connect_leases(settings, control, READER)
    reader = DynamoStreamReader.connect(settings, Checkpoints(control, READER), leases)
    home = DynamoStorage(settings)

    def link(peer: str) -> LinkThread:
        pool = ThreadPoolExecutor(4, thread_name_prefix=f"link-{peer}")
        name = f"{settings.region}>{peer}"
        backlog = TableBacklog(control, name, mine=leases.chore(name))
        return LinkThread(connect_link(settings, peer, home, control, backlog, pool, report))

    links = [link(peer) for peer in settings.peers]
    refusals = Refusals.connect(settings, control, report)
    jobs: dict[str, Job] = {"adopt": connect_adopter(settings, home).run}
    if settings.heartbeat:
        mine = leases.chore("heartbeat")
        jobs["heartbeat"] = replace(connect_heartbeat(settings, report), mine=mine).run
    return Replicator(settings.region, reader, home, links, refusals, settings.poll_interval, jobs)


def connect_heartbeat(settings: Settings, emit: Emit | None = None) -> Heartbeat:
    """Return the heartbeat of the settings' region, on DynamoDB. No peer need be up."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.event_table import DynamoStorage
    from replicator.replication.heartbeat import EVERY_SECONDS, Heartbeat
    from replicator.runtime import metrics

    storage, control = DynamoStorage(settings), DynamoControl(settings)
    report, every = emit or metrics.emit, settings.heartbeat or EVERY_SECONDS
    # By the table's stream alone, whatever the settings say: it is what a heartbeat tells of.
    append, ask = partial(connect_store(settings).append, copies=1), partial(_role_elsewhere, settings.hasty)
    return Heartbeat(settings.region, settings.peers, append, storage, control, report, every, ask=ask)


def _role_elsewhere(hasty: Settings, region: str) -> Role | None:
    """Return the latest role of a peer that it, or another peer, has recorded; None if none of them answers."""
    from replicator.aws.control_table import DynamoControl
    from replicator.domain.errors import MeridianError
    from replicator.fencing.roles import known_role, read_role

    def ask(peer: str) -> Role | None:
        control = DynamoControl(hasty.at(peer))
        try:
            return read_role(control) if peer == region else known_role(control, region)
        except MeridianError:
            return None

    with ThreadPoolExecutor(len(hasty.peers), thread_name_prefix="role") as pool:
        found = [role for role in pool.map(ask, hasty.peers) if role is not None]
    return max(found, key=lambda role: role.epoch, default=None)


def connect_outbound(settings: Settings, emit: Emit | None = None) -> Outbound:
    """Return the links of the settings' region to all its peers, driven by invocations. No peer need be up."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.event_table import DynamoStorage
    from replicator.aws.sqs import QueueBacklog
    from replicator.replication.invocation import GAP_SECONDS, Outbound
    from replicator.replication.lambda_batches import partial_batches
    from replicator.replication.refusals import Refusals
    from replicator.runtime.metrics import to_cloudwatch

    report, home, control = emit or to_cloudwatch(), DynamoStorage(settings), DynamoControl(settings)
    pool = ThreadPoolExecutor(8, thread_name_prefix="copier")
    links = [
        connect_link(settings, peer, home, control, QueueBacklog.connect(settings, peer), pool, report, GAP_SECONDS)
        for peer in settings.peers
    ]
    refusals = Refusals.connect(settings, control, report)
    adopter = cache(partial(connect_adopter, settings, home))
    return Outbound(settings.region, {each.name: each for each in links}, refusals, partial_batches(settings), adopter)


def connect_redrive(settings: Settings) -> Redrive:
    """Return the redrive, which recovers stream batches of the settings' region that an event source mapping gave up."""
    from replicator.aws import clients
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.event_table import DynamoStorage
    from replicator.aws.redrive import Redrive
    from replicator.aws.sqs import Queue, QueueBacklog
    from replicator.control.backlog import VIEWS

    backlogs = {target: QueueBacklog.connect(settings, target) for target in (*settings.peers, VIEWS)}
    home, streams = DynamoStorage(settings), clients.streams(settings, settings.region)
    again = Queue(settings, "failed-batches").send
    return Redrive(settings.region, settings.regions, home, DynamoControl(settings), streams, backlogs, again)


# -- external events ---------------------------------------------------------------------------------------------------


def connect_publisher(settings: Settings) -> Publisher:
    """Return the publisher of the settings' region, on its streams and tables. Raises InvalidConfig for a transformation
    that cannot be loaded."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.kinesis import KinesisDestination
    from replicator.external.publisher import Publisher
    from replicator.external.transformation import load_external

    return Publisher(
        load_external(settings.external),
        connect_store(settings),
        DynamoControl(settings),
        KinesisDestination(settings, settings.external_stream),
        lanes=settings.external_lanes,
        attempts=settings.attempts,
    )


def connect_publish_worker(settings: Settings) -> PublishWorker:
    """Return the publisher of the settings' region, driven by a process. Raises InvalidConfig when a stream or
    transformation is missing."""
    from replicator.aws.control_table import DynamoControl
    from replicator.aws.kinesis import KinesisReader, require_stream
    from replicator.control.checkpoints import Checkpoints
    from replicator.external.publish_worker import READER, PublishWorker

    require_stream(settings, settings.external_stream)
    publisher = connect_publisher(settings)
    reader = KinesisReader.connect(settings, settings.bus_stream, Checkpoints(DynamoControl(settings), READER))
    return PublishWorker(publisher, reader, settings.events_table, settings.poll_interval)


def connect_publish_batches(settings: Settings, emit: Emit | None = None) -> PublishBatches:
    """Return the publisher of the settings' region, driven by invocations."""
    from replicator.external.publish_batches import PublishBatches
    from replicator.replication.lambda_batches import partial_batches
    from replicator.runtime.metrics import to_cloudwatch

    report = emit or to_cloudwatch()
    return PublishBatches(connect_publisher(settings), settings.events_table, report, partial_batches(settings))


def connect_consumer(
    settings: Settings, name: str, handler: Handler, control: ControlStorage, *, marks: Marks | None = None,
    missed: Missed | None = None, not_ours: NotOurs | None = None,
) -> ExternalConsumer:  # fmt: skip
    """Return a consumer of `{prefix}-external` in the settings' region, called `name`.

    `control` holds its checkpoints and, unless `marks` are given, its marks: use a table of the consumer's own. To continue
    in another region, use marks that are available there. `missed` and `not_ours` are log_missed and log_not_ours unless
    given. Raises InvalidConfig when there is no such stream.
    """
    from replicator.aws.kinesis import KinesisReader
    from replicator.control.checkpoints import Checkpoints
    from replicator.external.consumer import ExternalConsumer, log_not_ours
    from replicator.external.marks import ControlMarks, Deduplicator, log_missed

    reader = KinesisReader.connect(settings, settings.external_stream, Checkpoints(control, f"consumer#{name}"))
    deduplicator = Deduplicator(marks or ControlMarks(control, name), missed=missed or log_missed, alone=True)
    return ExternalConsumer(
        reader, handler, deduplicator, not_ours=not_ours or log_not_ours, poll_interval=settings.poll_interval
    )


# -- personal data -----------------------------------------------------------------------------------------------------


def connect_keys(settings: Settings) -> dict[str, KeyStorage]:
    """Return the key storages on DynamoDB of the settings' region and its peers, by region."""
    from replicator.aws.key_table import DynamoKeys

    return {region: DynamoKeys(settings, region) for region in (settings.region, *settings.peers)}


def connect_personal_data(settings: Settings) -> PersonalData:
    """Return the personal data with keys on DynamoDB, wrapped by KMS or by a local key file, as the settings say. Raises
    InvalidConfig."""
    if not settings.personal_key:
        raise InvalidConfig(
            "no key for personal data given; set MERIDIAN_PERSONAL_KEY to a KMS key's id or alias, or to file:/path"
        )
    from replicator.erasure.envelope import KEY_BYTES, aes
    from replicator.erasure.personal import PersonalData
    from replicator.erasure.wrapping import LocalWrapping, Wrapping

    aes(bytes(KEY_BYTES))  # fails now, not at the first personal event, if the library is missing
    if settings.personal_key.startswith(KEY_FILE):
        wrapping: Wrapping = LocalWrapping(settings.personal_key.removeprefix(KEY_FILE))
    else:
        from replicator.aws.kms import KmsWrapping

        wrapping = KmsWrapping(settings)
    return PersonalData(settings.region, connect_keys(settings), wrapping)


def given_personal_data(settings: Settings) -> PersonalData | None:
    """Return `connect_personal_data` if MERIDIAN_PERSONAL_KEY is set, None otherwise."""
    return connect_personal_data(settings) if settings.personal_key else None
