"""Histories of three regions in memory, every way to deliver them, and a sink that loses its process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, Sink
from projectors.engine.sink import Change
from projectors.model.view import ViewKey
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, Observed, RegionUnavailable

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")


def store_of(
    storage: MemoryStorage, region: str = "us-east-1", wall: Callable[[], int] = lambda: 1_763_914_981_123
) -> EventStore:
    return EventStore(storage, region, REGIONS, HybridLogicalClock(wall))


@st.composite
def histories(
    draw: st.DrawFn, streams: Sequence[str], kinds: Sequence[str], payloads: Mapping[str, st.SearchStrategy[Any]]
) -> list[Event]:
    """Events of three regions, written at their own stores; now and then a region receives a prefix of another's."""
    storages = {region: MemoryStorage() for region in REGIONS}
    stores = {region: store_of(storage, region) for region, storage in storages.items()}
    history: list[Event] = []
    for _ in range(draw(st.integers(1, 14))):
        region, stream, other = (
            draw(st.sampled_from(REGIONS)),
            draw(st.sampled_from(streams)),
            draw(st.sampled_from(REGIONS)),
        )
        lane = [e for e in history if e.region == other and str(e.stream) == stream]
        storages[region].insert_each(lane[: draw(st.integers(0, len(lane)))])
        new = NewEvent(draw(st.sampled_from(kinds)), draw(payloads[stream]))
        history += stores[region].append(stream, new, observed=Observed.of(stores[region].read(stream)))
    return history


def engine_over(events: Iterable[Event], sink: Sink, projections: Sequence[type[Projection]]) -> Engine:
    storage = MemoryStorage()
    storage.insert_each(list(events))
    return Engine(projections, store_of(storage), sink)


def digests(sink: Sink, projections: Sequence[type[Projection]], version: int = 1) -> dict[ViewKey, bytes]:
    return {view.id: view.digest for each in projections for view in sink.views(each.name, version)}


def deliveries(data: st.DataObject, history: Sequence[Event]) -> list[list[Event]]:
    """Every event at least once, in any order, split into batches anywhere."""
    order = data.draw(st.permutations([*history, *data.draw(st.lists(st.sampled_from(history), max_size=6))]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=6)) | {0, len(order)})
    return [order[a:b] for a, b in pairwise(cuts)]


class CrashingSink(MemorySink):
    """Loses the process around a save: `plan` says for each save whether before it, after it, or not at all."""

    def __init__(self, plan: Iterable[str]) -> None:
        super().__init__()
        self._plan = iter(plan)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        crash = next(self._plan, "no")
        if crash == "before":
            raise RegionUnavailable("crashed before the save")
        saved = super().save(changes)
        if crash == "after":
            raise RegionUnavailable("crashed after the save, nobody was told")
        return saved
