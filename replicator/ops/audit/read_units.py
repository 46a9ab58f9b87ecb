"""Meter of reads, in DynamoDB's read units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

_READS = ("Query", "Scan", "GetItem", "BatchGetItem")
_UNIT_BYTES = 4096


class Meter:
    """Counts read units and requests of the clients it is attached to. Safe to share between threads.

    Units are those reported by the service, or those computed from the size of what was read, whichever is more:
    emulators report less than AWS. An item that is not there costs as much as a small one.
    """

    def __init__(self) -> None:
        self.units = 0.0
        self.requests = 0
        self._lock = Lock()

    def attach(self, client: Any) -> None:
        """Count the reads of this botocore client from now on."""
        for name in _READS:
            client.meta.events.register(f"provide-client-params.dynamodb.{name}", _ask)
            client.meta.events.register(f"after-call.dynamodb.{name}", self._add)

    def hear(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Count a read that was made beneath botocore."""
        self._count(answer, _consistent(request), _keys(request.get("RequestItems")))

    def _add(self, parsed: Any, context: Any, **_: Any) -> None:
        self._count(parsed, bool(context.get("meridian_consistent")), context.get("meridian_keys", 0))

    def _count(self, parsed: Mapping[str, Any], consistent: bool, keys: int) -> None:
        found = parsed.get("ConsumedCapacity") or []
        said = sum(float(each.get("CapacityUnits", 0)) for each in (found if isinstance(found, list) else [found]))
        with self._lock:
            self.requests += 1
            self.units += max(said, _units(parsed, consistent, keys))


def _ask(params: Any, context: Any, **_: Any) -> Any:
    context["meridian_consistent"] = _consistent(params)
    context["meridian_keys"] = _keys(params.get("RequestItems"))
    return {**params, "ReturnConsumedCapacity": "TOTAL"}


def _consistent(request: Mapping[str, Any]) -> bool:
    tables = request.get("RequestItems", {}).values()
    return bool(request.get("ConsistentRead")) or any(each.get("ConsistentRead") for each in tables)


def _keys(requested: Mapping[str, Any] | None) -> int:
    return sum(len(each["Keys"]) for each in (requested or {}).values())


def _units(parsed: Mapping[str, Any], consistent: bool, keys: int) -> float:
    """Compute units by what was returned: a query or scan is rounded up as a whole, other reads per item, to 4 KB; half of
    that for eventually consistent reads. `keys` are those that a batch asked for."""
    if "Responses" in parsed:
        found = [_rounded([item]) for items in parsed["Responses"].values() for item in items]
        units = sum(found) + max(keys - _keys(parsed.get("UnprocessedKeys")) - len(found), 0)
    elif "Items" in parsed:
        units = _rounded(parsed["Items"])
    else:
        units = _rounded([parsed["Item"]]) if parsed.get("Item") else 1
    return units if consistent else units / 2


def _rounded(items: Iterable[Mapping[str, Any]]) -> int:
    size = sum(len(name) + _size(value) for item in items for name, value in item.items())
    return max(math.ceil(size / _UNIT_BYTES), 1)


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "B" and isinstance(content, str):
        return len(content) // 4 * 3  # base64
    if isinstance(content, str):
        return len(content.encode())
    return len(content) if isinstance(content, bytes) else len(str(content))
