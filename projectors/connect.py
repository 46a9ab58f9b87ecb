"""Composition root of the projectors: puts the parts of one region together on AWS as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from projectors.model.projection import Projection
from projectors.settings import read_sinks, sink_id
from projectors.sinks.address import DYNAMODB
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.connect import connect_leases, connect_store, given_personal_data
from replicator.runtime.metrics import Emit, log_metrics, to_cloudwatch
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from projectors.api.service import Service
    from projectors.engine.engine import Engine
    from projectors.run.invocation import Inbound
    from projectors.run.projector import Projector
    from projectors.run.view_quarantine import Send
    from projectors.run.worker import ProjectorWorker
    from replicator.control.backlog import Backlog
    from replicator.control.control_storage import ControlStorage


def connect_projector(
    settings: Settings, projections: Sequence[type[Projection]], sinks: Sequence[str], control: ControlStorage,
    backlog: Callable[[str], Backlog], emit: Emit, letters: Send | None = None, pause: float | None = None,
) -> Projector:  # fmt: skip
    """Return the projector of the settings' region. `backlog` makes a link's backlog, `pause` is the first sink's."""
    from projectors.engine.engine import Engine
    from projectors.run.feed import PAUSE_SECONDS, Feed
    from projectors.run.projector import Projector
    from projectors.run.view_quarantine import Poison
    from projectors.sinks.opening import open_sink
    from replicator.aws.event_table import DynamoStorage
    from replicator.claims.settler import Settler
    from replicator.control.backlog import VIEWS
    from replicator.control.quarantine import Quarantine
    from replicator.eventstore.store import EventStore
    from replicator.replication.refusals import Refusals

    store = EventStore(DynamoStorage(settings), settings.region, settings.regions)
    personal = given_personal_data(settings)
    link = f"{settings.region}>{VIEWS}"

    def engine(address: str, watch: bool = False) -> Engine:
        # What conflict rules discard is the same in every sink: the first sink's count is enough.
        return Engine(projections, store, open_sink(address, settings), personal, watch=watch)

    first, *others = sinks
    feeds = [Feed(engine(first, watch=True), backlog(link), pause=PAUSE_SECONDS if pause is None else pause)]
    feeds += [Feed(partial(engine, each), backlog(f"{link}>{sink_id(each)}"), sink_id(each)) for each in others]
    poison = Poison(Quarantine(control, link), link, letters)
    refusals = Refusals.connect(settings, control, emit)
    return Projector(store, feeds, poison, refusals, Settler.connect(settings, store))


def connect_projector_worker(
    settings: Settings, projections: Sequence[type[Projection]], sinks: Sequence[str] = (DYNAMODB,),
    emit: Emit = log_metrics,
) -> ProjectorWorker:  # fmt: skip
    """Return the projector of the settings' region, driven by a process."""
    from projectors.run.worker import READER, ProjectorWorker
    from replicator.aws.dynamodb_streams import DynamoStreamReader
    from replicator.control.backlog import TableBacklog
    from replicator.control.checkpoints import Checkpoints

    control = DynamoControl(settings)
    if settings.personal_key:
        clients.require_table(settings, settings.region, settings.keys_table)
    leases = connect_leases(settings, control, READER)
    reader = DynamoStreamReader.connect(settings, Checkpoints(control, READER), leases)

    def backlog(link: str) -> TableBacklog:
        return TableBacklog(control, link, mine=leases.chore(link))

    projector = connect_projector(settings, projections, sinks, control, backlog, emit)
    return ProjectorWorker(reader, projector, settings.poll_interval)


def connect_inbound(settings: Settings, projections: Sequence[type[Projection]], emit: Emit | None = None) -> Inbound:
    """Return the projector of the settings' region, driven by invocations. Views are kept in DynamoDB first, and in every
    other sink that is named."""
    from projectors.run.invocation import Inbound
    from replicator.aws.sqs import Queue, QueueBacklog, dead_letters
    from replicator.control.backlog import VIEWS
    from replicator.replication.lambda_batches import partial_batches

    queue, letters = Queue(settings, f"backlog-{VIEWS}"), dead_letters(settings)
    sinks = [DYNAMODB, *(each for each in read_sinks() if each != DYNAMODB)]
    projector = connect_projector(
        settings, projections, sinks, DynamoControl(settings), lambda link: QueueBacklog(link, queue),
        emit or to_cloudwatch(), letters.send, pause=0.0,
    )  # fmt: skip
    return Inbound(projector, partial_batches(settings))


def require_tables(settings: Settings) -> None:
    """Raise InvalidConfig or RegionUnavailable unless the tables of the settings' region can be reached."""
    for table in (settings.events_table, settings.views_table, settings.control_table):
        clients.require_table(settings, settings.region, table)


def connect_service(settings: Settings, projections: Sequence[type[Projection]]) -> Service:
    """Return the service behind the HTTP API for the settings' region, on DynamoDB."""
    from projectors.api.service import Service
    from projectors.sinks.dynamodb import DynamoSink
    from projectors.versions.versions import Versions

    store, personal = connect_store(settings), given_personal_data(settings)
    reveal = personal.reveal if personal is not None else None
    versions = Versions(DynamoControl(settings))
    return Service(
        store, projections, DynamoSink(settings), reveal=reveal, versions=versions, check=partial(require_tables, settings)
    )
