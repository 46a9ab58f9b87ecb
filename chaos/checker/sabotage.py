"""Sabotage: break each promise on purpose, in the tables themselves, to show that the checker sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chaos.checker.final_reads import Tables, content_digest
from replicator.domain.errors import MeridianError
from replicator.runtime.settings import Settings

Item = dict[str, Any]


def break_promise(promise: str, tables: Sequence[Tables], settings: Settings) -> None:
    """Break one of PROMISES in a world that has converged and whose workers have stopped."""
    PROMISES[promise](tables, settings)


def _copy(tables: Sequence[Tables], settings: Settings) -> tuple[Tables, Item, Item]:
    """Return a peer's tables, and the last two events there of a lane of another region that has at least two. Raises
    MeridianError when there is none."""
    for peer in tables:
        for page in peer.client.get_paginator("scan").paginate(TableName=settings.events_table):
            for item in page["Items"]:
                if item["pk"]["S"].startswith(f"{peer.region}#") or int(item["sk"]["S"]) < 2:
                    continue
                lane: Any = peer.client.query(
                    TableName=settings.events_table,
                    KeyConditionExpression="pk = :lane",
                    ExpressionAttributeValues={":lane": item["pk"]},
                )["Items"]
                return peer, lane[-2], lane[-1]
    raise MeridianError("no region holds two events of any other region's lane; increase --events")


def _put(tables: Tables, settings: Settings, item: Item) -> None:
    tables.client.put_item(TableName=settings.events_table, Item=item)


def _delete(tables: Tables, settings: Settings, item: Item) -> None:
    tables.client.delete_item(TableName=settings.events_table, Key={"pk": item["pk"], "sk": item["sk"]})


def _lose(tables: Sequence[Tables], settings: Settings) -> None:
    """Delete the last event of a lane at a peer, as if the copy had dropped it."""
    peer, _, last = _copy(tables, settings)
    _delete(peer, settings, last)


def _gap(tables: Sequence[Tables], settings: Settings) -> None:
    """Delete an event in the middle of a lane at a peer, as if the copy had dropped it."""
    peer, before, _ = _copy(tables, settings)
    _delete(peer, settings, before)


def _next(last: Item, payload: str) -> Item:
    item = {**last, "sk": {"S": f"{int(last['sk']['S']) + 1:016d}"}, "prev": last["digest"], "payload": {"S": payload}}
    return {**item, "digest": {"B": content_digest(item)}}


def _duplicate(tables: Sequence[Tables], settings: Settings) -> None:
    """Append the same report a second time, well-formed, in every region."""
    _, _, last = _copy(tables, settings)
    for each in tables:
        _put(each, settings, _next(last, last["payload"]["S"]))


def _invent(tables: Sequence[Tables], settings: Settings) -> None:
    """Put a well-formed event that no writer appended."""
    peer, _, last = _copy(tables, settings)
    _put(peer, settings, _next(last, '{"flight":"XX1","row":-1}'))


def _overwrite(tables: Sequence[Tables], settings: Settings) -> None:
    """Alter one payload in place at a peer."""
    peer, _, last = _copy(tables, settings)
    _put(peer, settings, {**last, "payload": {"S": last["payload"]["S"].replace('"row":', '"row": ')}})


def _fork(tables: Sequence[Tables], settings: Settings) -> None:
    """Put a different event, with a fitting digest of its own, under a known id at a peer."""
    peer, before, _ = _copy(tables, settings)
    other = {**before, "metadata": {"S": '{"by":"someone else"}'}}
    _put(peer, settings, {**other, "digest": {"B": content_digest(other)}})


def _view(tables: Sequence[Tables], settings: Settings) -> None:
    """Alter one region's view of an aircraft."""
    _alter_view(tables[1:2], settings)


def _truth(tables: Sequence[Tables], settings: Settings) -> None:
    """Alter a view in all regions alike, so that they agree on a wrong one."""
    _alter_view(tables, settings)


def _alter_view(tables: Sequence[Tables], settings: Settings) -> None:
    key = sorted(tables[0].views())[0]
    for each in tables:
        each.client.update_item(
            TableName=settings.views_table,
            Key={"pk": {"S": key}, "sk": {"S": "-"}},
            UpdateExpression="SET #v = :wrong",
            ExpressionAttributeNames={"#v": "value"},
            ExpressionAttributeValues={":wrong": {"S": '{"flights":-1}'}},
        )


PROMISES: dict[str, Callable[[Sequence[Tables], Settings], None]] = {
    "lost": _lose,
    "gaps": _gap,
    "duplicated": _duplicate,
    "from_nowhere": _invent,
    "overwritten": _overwrite,
    "forked": _fork,
    "views_identical": _view,
    "truth_matches": _truth,
}
"""Sabotage of each promise, by the name of its field in the drill's JSON."""
