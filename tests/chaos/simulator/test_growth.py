"""How things grow: every event is written, copied once to each peer, and its lag is what its way takes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from chaos.simulator import growth
from chaos.simulator.environment import Options
from chaos.simulator.growth import Point


def alone(regions: int, streams: int, least: int, seconds: float = 60.0) -> Point:
    """A point in a process of its own, as `grow` has it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(small, regions, streams, least, seconds).result()


def small(regions: int, streams: int, least: int, seconds: float) -> Point:
    growth.LEAST_EVENTS, growth.CPU_SECONDS = least, seconds
    return growth.point(regions, streams)


def test_every_event_is_copied_once_to_each_peer_and_takes_at_least_its_way() -> None:
    point = alone(3, 500, 4_000)
    assert (point.events, point.wanted, point.copies) == (4_000, 4_000, 2.0)
    assert point.cpu > 0
    assert point.lag50 is not None
    assert point.lag99 is not None
    assert growth.REQUEST_SECONDS / 2 < point.lag50 <= point.lag99 < 5.0


def test_a_point_that_takes_too_long_says_how_far_it_came() -> None:
    point = alone(2, 4_000, 100, seconds=0.0)
    assert 0 < point.events < point.wanted == 4_000
    assert point.lag50 is None
    rows = growth.table([point]).columns[2].cells
    assert list(rows) == [f"{point.events} of 4,000: CPU limit"]


@pytest.mark.parametrize("size", [*growth.SIZES, growth.LARGEST])
def test_every_size_is_of_a_world_that_can_be(size: tuple[int, int]) -> None:
    regions, streams = size
    assert len(Options(regions, streams).names) == regions
