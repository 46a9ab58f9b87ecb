"""Partial batches: some entries never reach the service, and its answer names them as unprocessed, as it would itself."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from chaos.faults.messages import Message, answer

Ask = Callable[[Message], Awaitable[Message]]
_WHY = "a simulated fault withheld this entry"


@dataclass(frozen=True, slots=True)
class _Batch:
    """Format of one operation's entries, and of those that were not done."""

    entries: Callable[[Any], list[Any]]
    asking: Callable[[Any, Sequence[Any]], Any]
    answered: Callable[[Any, Sequence[Any], AbstractSet[int], Any], Any]
    """Callable that returns the answer to all, from the request, all entries, the withheld ones, and the answer to the
    others."""


async def unprocessed(request: Message, operation: str, share: float, chance: random.Random, ask: Ask) -> Message | None:
    """Return the answer to the request with `share` of its entries (one at least) not done. None: there is none to
    withhold."""
    batch, asked = _BATCHES.get(operation), request.json()
    if batch is None or not isinstance(asked, dict):
        return None
    try:
        entries = batch.entries(asked)
    except (KeyError, TypeError, AttributeError):
        return None  # the service will report the error
    if not entries:
        return None
    count = min(len(entries), max(1, round(len(entries) * share)))
    withheld = set(chance.sample(range(len(entries)), count))
    passed = [entry for i, entry in enumerate(entries) if i not in withheld]
    if not passed:
        kind = request.head.headers.get("content-type", "application/x-amz-json-1.0")
        empty = answer(200, "OK", {"content-type": kind, "x-amz-crc32": "0"}, b"")
        return empty.with_json(batch.answered(asked, entries, withheld, {}))
    got = await ask(request.with_json(batch.asking(asked, passed)))
    told = got.json()
    return got.with_json(batch.answered(asked, entries, withheld, told)) if got.status == 200 and told is not None else got


def _tables(pairs: Sequence[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for table, entry in pairs:
        found.setdefault(table, []).append(entry)
    return found


def _held(entries: Sequence[Any], withheld: AbstractSet[int]) -> list[Any]:
    return [entry for i, entry in enumerate(entries) if i in withheld]


def _write_answered(_: Any, entries: Sequence[Any], withheld: AbstractSet[int], told: Any) -> Any:
    found = {table: list(left) for table, left in told.get("UnprocessedItems", {}).items()}
    for table, left in _tables(_held(entries, withheld)).items():
        found.setdefault(table, []).extend(left)
    return {**told, "UnprocessedItems": found}


def _get_asking(asked: Any, passed: Sequence[Any]) -> Any:
    tables = asked["RequestItems"]
    return {**asked, "RequestItems": {name: {**tables[name], "Keys": keys} for name, keys in _tables(passed).items()}}


def _get_answered(asked: Any, entries: Sequence[Any], withheld: AbstractSet[int], told: Any) -> Any:
    found = {name: {**left, "Keys": list(left["Keys"])} for name, left in told.get("UnprocessedKeys", {}).items()}
    for name, keys in _tables(_held(entries, withheld)).items():
        left = found.setdefault(name, {**asked["RequestItems"][name], "Keys": []})
        left["Keys"] = [*left["Keys"], *keys]
    return {"Responses": {}, **told, "UnprocessedKeys": found}


def _in_turn(name: str, failed: Mapping[str, Any]) -> Callable[[Any, Sequence[Any], AbstractSet[int], Any], Any]:
    """Return a function for answers that have a result for each entry, in the order of the entries."""

    def answered(_: Any, entries: Sequence[Any], withheld: AbstractSet[int], told: Any) -> Any:
        results = iter(told.get(name, []))
        return {**told, name: [dict(failed) if i in withheld else next(results, dict(failed)) for i in range(len(entries))]}

    return answered


def _put_answered(asked: Any, entries: Sequence[Any], withheld: AbstractSet[int], told: Any) -> Any:
    failed = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": _WHY}
    found = _in_turn("Records", failed)(asked, entries, withheld, told)
    return {**found, "FailedRecordCount": told.get("FailedRecordCount", 0) + len(withheld)}


def _sqs_answered(_: Any, entries: Sequence[Any], withheld: AbstractSet[int], told: Any) -> Any:
    lost = [
        {"Id": entry["Id"], "SenderFault": False, "Code": "ServiceUnavailable", "Message": _WHY}
        for entry in _held(entries, withheld)
    ]
    return {"Successful": [], **told, "Failed": [*told.get("Failed", []), *lost]}


def _listed(name: str, answered: Callable[[Any, Sequence[Any], AbstractSet[int], Any], Any]) -> _Batch:
    return _Batch(lambda asked: list(asked[name]), lambda asked, passed: {**asked, name: list(passed)}, answered)


_BATCHES = {
    "BatchWriteItem": _Batch(
        lambda asked: [(table, entry) for table, entries in asked["RequestItems"].items() for entry in entries],
        lambda asked, passed: {**asked, "RequestItems": _tables(passed)},
        _write_answered,
    ),
    "BatchGetItem": _Batch(
        lambda asked: [(table, key) for table, wanted in asked["RequestItems"].items() for key in wanted["Keys"]],
        _get_asking,
        _get_answered,
    ),
    "BatchExecuteStatement": _listed(
        "Statements", _in_turn("Responses", {"Error": {"Code": "ThrottlingError", "Message": _WHY}})
    ),
    "PutRecords": _listed("Records", _put_answered),
    "SendMessageBatch": _listed("Entries", _sqs_answered),
    "DeleteMessageBatch": _listed("Entries", _sqs_answered),
}
