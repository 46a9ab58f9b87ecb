"""Probes that no endpoint answers within minutes: limits by the second, a day's retention, orders within a mapping."""

from __future__ import annotations

from chaos.conform.lab import Lab, NotOffered
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, Probe
from chaos.conform.promises import ALONE, BACKLOG, COST, PREFIX

AREA = Area("models", ())

_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/"
_ITERATOR = f"{API}API_streams_GetShardIterator.html"
_TRIMMED = "TrimmedDataAccessException"
_BURST = f"{DEVELOPER_GUIDE}burst-adaptive-capacity.html"
_STREAMS = f"{DEVELOPER_GUIDE}Streams.html"
_PARAMETERS = f"{_LAMBDA}services-ddb-params.html"
_PARTITIONS = f"{DEVELOPER_GUIDE}bp-partition-key-design.html"
_THROTTLING = f"{DEVELOPER_GUIDE}gsi-throttling.html"
_CONFLICT = f"{DEVELOPER_GUIDE}transaction-apis.html#transaction-conflict-handling"


def _unasked(lab: Lab) -> str:
    raise NotOffered("models alone are asked this")


def _ask(name: str, question: str, expects: str, page: str, promise: str) -> None:
    AREA.probes.append(Probe(name, AREA.name, question, expects, page, promise, _unasked, (), ()))


_ask("iterator-expires", "What answers an iterator after 16 minutes?", "ExpiredIteratorException", _ITERATOR, BACKLOG)
_ask(
    "iterator-trimmed",
    "What answers AFTER_SEQUENCE_NUMBER of a record of yesterday?",
    "TrimmedDataAccessException",
    _ITERATOR,
    BACKLOG,
)
_ask("stream-trimmed", "Which records are left after 25 hours?", "those of the last 24 hours", _STREAMS, BACKLOG)
_ask("shard-closed", "Does the iterator of a closed shard end?", "it ends", _STREAMS, PREFIX)
_ask("shard-child", "Does a child name its parent?", "its parent", _STREAMS, PREFIX)
_ask(
    "factor-order",
    "Which order does a parallelization factor of 2 keep?",
    "of each item, not of each partition",
    _PARAMETERS,
    PREFIX,
)
_ask("one-batch-a-shard", "How many batches of a shard are at work with a factor of 1?", "1", _PARAMETERS, PREFIX)
_ask("partition-writes", "How many units of writes a second has a partition, without a burst?", "1000", _PARTITIONS, COST)
_ask(
    "partition-burst",
    "For how many seconds is what is unused kept?",
    "300",
    f"{DEVELOPER_GUIDE}burst-adaptive-capacity.html",
    COST,
)
_ask("index-throttles", "Is a write throttled that an index cannot take?", "throttled", _THROTTLING, ALONE)
_ask("transaction-conflict", "What becomes of a write to an item of an ongoing transaction?", "refused", _CONFLICT, ALONE)
