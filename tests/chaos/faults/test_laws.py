"""Laws of pages and shards: order is kept, nothing is lost or made up, and each record is in one shard."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chaos.faults.records import duplicated, partition_key, reordered
from chaos.faults.shards import Iterator, Topology, number

ROOT = "shardId-00000000000000000000-00000000"
KEY = partition_key("pk")
PAGES = st.lists(st.integers(0, 5), max_size=40)
SHARES = st.floats(0, 1, exclude_min=True)


def _page(keys: list[int]) -> list[dict[str, Any]]:
    return [
        {"dynamodb": {"SequenceNumber": f"{at:030d}", "Keys": {"pk": {"S": f"k{key}"}, "sk": {"S": str(at)}}}}
        for at, key in enumerate(keys, 1)
    ]


def _numbers(records: Any) -> list[int]:
    return [number(record["dynamodb"]["SequenceNumber"]) for record in records]


@given(PAGES, SHARES, st.integers())
def test_duplicates_stand_behind_what_they_repeat(keys: list[int], share: float, seed: int) -> None:
    page = _page(keys)
    found = _numbers(duplicated(page, share, random.Random(seed)))
    assert found == sorted(found)
    assert sorted(set(found)) == _numbers(page)
    assert len(found) == len(page) + (max(1, round(len(page) * share)) if page else 0)


@given(PAGES, SHARES, st.integers(), st.booleans())
def test_a_reordered_page_holds_the_same_records_and_keeps_the_order_of_each_key(
    keys: list[int], share: float, seed: int, harsh: bool
) -> None:
    page = _page(keys)
    found = reordered(page, share, random.Random(seed), KEY, harsh)
    if found is None:
        return
    assert sorted(_numbers(found)) == _numbers(page)
    assert found != page
    for key in {KEY(record) for record in page} if not harsh else ():
        of_key = _numbers(record for record in found if KEY(record) == key)
        assert of_key == sorted(of_key)


@given(PAGES, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=6))
def test_however_a_shard_is_split_each_record_is_in_one_shard_and_behind_its_keys_others(
    keys: list[int], splits: list[tuple[int, int]]
) -> None:
    page, topology = _page(keys), Topology(hash_name="pk")
    topology.split(topology.shard(ROOT), f"{0:030d}" if not keys else f"{splits[0][0] if splits else 0:030d}")
    for at, which in splits:
        open_ = [shard for shard in topology.shards.values() if shard.high is None]
        shard = open_[which % len(open_)]
        topology.split(shard, f"{max(at, number(shard.low)):030d}")
    found: dict[str, list[int]] = {}

    def read(name: str) -> None:
        """Parents first, as readers do."""
        for record in page:
            if topology.shard(name).holds(record, KEY):
                found.setdefault(str(KEY(record)), []).append(number(record["dynamodb"]["SequenceNumber"]))
        for shard in topology.shards.values():
            if shard.parent == name:
                read(shard.name)

    read(ROOT)
    assert sorted(each for numbers in found.values() for each in numbers) == _numbers(page)
    assert all(numbers == sorted(numbers) for numbers in found.values())
    described = topology.described([{"ShardId": ROOT, "SequenceNumberRange": {}}])
    assert [shard["ShardId"] for shard in described] == list(topology.shards)


@given(st.text(), st.text(), st.none() | st.text(), st.text())
def test_an_iterator_is_what_it_was_when_it_comes_back(stream: str, shard: str, position: str | None, inner: str) -> None:
    made = Iterator(stream, shard, position, inner)
    assert Iterator.parse(str(made)) == made


@given(st.text() | st.none() | st.integers())
def test_what_is_no_iterator_of_the_proxys_is_none(text: object) -> None:
    assert Iterator.parse(text) is None
    assert Iterator.parse(f"meridian:{text}") is None
