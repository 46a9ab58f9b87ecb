"""Damage in a store, of every kind that it can have: one view fails and says so, the others go on, a comparison names it,
and it is folded anew once it is discarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from projectors import Engine, MemorySink, Projection, counter
from projectors.engine.digests import Fingerprint, differences
from projectors.model.view import ViewKey
from projectors.reads.rows import read_row
from projectors.sinks.stored import claimed, fingerprint
from replicator import EventStore, MemoryStorage, NewEvent
from replicator.domain.errors import DamagedEvent
from replicator.domain.vector import EMPTY, VersionVector
from tests.projectors.sinks.conftest import STORES
from tests.projectors.sinks.views import create, view


class Hits(Projection):
    name, stream_type = "hits", "page"
    count = counter(hit=lambda p: 1)


class Sites(Projection):
    name, stream_type = "sites", "page"
    rows: ClassVar[Any] = {"hit": lambda p: "example"}
    count = counter(hit=lambda p: 1)


WAYS = ["unreadable vector", "vector in another spelling", "altered value", "altered digest", "missing", "another type"]
STREAMS = ["page/1", "page/2", "page/3"]


def damage(kind: str, sink: Any, key: ViewKey, way: str) -> None:
    vector = sink.load([key])[key].vector
    changed: dict[str, Any] = {
        "unreadable vector": {"vector": "x"},
        "vector in another spelling": {"vector": str(vector).replace(":", ": ")},
        "altered value": {"value": '{"count":99}'},
        "altered digest": {"digest": bytes(range(32))},
        "missing": {"state": None},
        "another type": {"state": 7},
    }[way]
    ((name, new),) = changed.items()
    if kind.startswith("dynamodb"):
        place = {"pk": {"S": f"{key.projection}@1#" + (f"#{key.row}" if key.row else key.key)}}
        place["sk"] = {"S": key.key if key.row else "-"}
        update: dict[str, Any] = {"UpdateExpression": "SET #n = :n", "ExpressionAttributeNames": {"#n": name}}
        if new is None:
            update["UpdateExpression"] = "REMOVE #n"
        else:
            typed = {"B": new} if isinstance(new, bytes) else {"N": "7"} if new == 7 else {"S": new}
            update["ExpressionAttributeValues"] = {":n": typed}
        sink._client.update_item(TableName=sink._table, Key=place, **update)
    elif kind == "postgresql":  # where nothing can be missing, and types are the columns'
        new = "" if new is None else str(new) if new == 7 else new
        query = f'UPDATE "{sink._settings.prefix}_views" SET {name} = %s WHERE projection = %s AND key = %s AND row = %s'
        sink._run(lambda c: c.execute(query, (new, key.projection, key.key, key.row)))
    elif kind == "search":
        from base64 import b64encode

        named = {"state": "state_text", "value": "value_text"}.get(name, name)
        new = b64encode(new).decode() if isinstance(new, bytes) else new
        id = f"{key.projection}@1#{key.row}#{key.key}"
        sink._client.update(index=sink._alias, id=id, body={"doc": {named: new}})
    else:
        stored = sink._keys(key)[0]
        if new == 7:
            sink._client.set(stored, "a text, and no hash")
        elif new is None:
            sink._client.hdel(stored, name)
        else:
            sink._client.hset(stored, name, new)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("projection", [Hits, Sites])
def test_a_damaged_view_stands_alone_is_named_and_folded_anew(
    made: Callable[[str], Any], projection: type[Projection], kind: str, way: str
) -> None:
    sink = made(kind)
    store = EventStore(MemoryStorage(), "us-east-1", [])
    for stream in STREAMS:
        store.append(stream, NewEvent("hit", {}))
    events = [event for stream in STREAMS for event in store.read(stream)]
    assert Engine([projection], store, sink).apply(events) == []
    row = "example" if projection is Sites else ""
    keys = [ViewKey(projection.name, stream, 1, row) for stream in STREAMS]
    damage(kind, sink, keys[1], way)

    with pytest.raises(DamagedEvent, match=r"page/2.*rebuild it from the events"):
        sink.load([keys[1]])
    assert set(sink.load([keys[0], keys[2]])) == {keys[0], keys[2]}
    with pytest.raises(DamagedEvent, match="page/2"):
        list(sink.views(projection.name))
    if row:
        with pytest.raises(DamagedEvent, match="page/2"):
            read_row(projection, sink, row)

    for stream in STREAMS:
        store.append(stream, NewEvent("hit", {}))
    events = [event for stream in STREAMS for event in store.read(stream)]
    (failure,) = Engine([projection], store, sink).apply(events)
    assert "page#2" in failure.event_id
    assert "page/2" in failure.reason
    assert {key: each.value for key, each in sink.load([keys[0], keys[2]]).items()} == {
        keys[0]: {"count": 2},
        keys[2]: {"count": 2},
    }

    truth = MemorySink()
    Engine([projection], store, truth).apply(events)
    found = {
        each.key: each for each in differences(sink.summary(projection.name, thorough=True), truth.summary(projection.name))
    }
    assert keys[1] in found
    assert found[keys[1]].damaged
    assert {key.key for key in found} == {"page/2"}

    sink.discard([keys[1], projection.key("page/2")])
    Engine([projection], store, sink).apply(events)
    for thorough in (False, True):
        assert not list(differences(sink.summary(projection.name, thorough=thorough), truth.summary(projection.name)))


def test_no_damaged_view_has_the_fingerprint_of_a_sound_one() -> None:
    sound = view(1)
    fields = [str(sound.vector), sound.state_text, sound.value_text, sound.digest]
    assert fingerprint(sound.id, *fields) == claimed(fields[0], fields[3]) == Fingerprint(sound.vector, sound.digest)
    found = set()
    for n in range(4):
        for wrong in (None, 7, "x", b"x", [], "\ud800", "9" * 5000, '{"us-east-1":' * 2000):
            damaged = fingerprint(sound.id, *fields[:n], wrong, *fields[n + 1 :])
            assert damaged.vector == EMPTY
            assert damaged.digest != sound.digest
            found.add(damaged)
    assert len(found) == 4 * 8
    assert claimed("x", sound.digest).vector == claimed(fields[0], b"short").vector == EMPTY
    assert claimed(fields[0], bytes(32)) == Fingerprint(VersionVector(dict(sound.vector.items())), bytes(32))


@pytest.mark.parametrize("kind", STORES)
def test_a_view_under_another_s_key_is_damaged(made: Callable[[str], Any], kind: str) -> None:
    sink = made(kind)
    one, other = view(1), view(1, "plane/N2")
    sink.save([create(one), create(other)])
    if kind.startswith("dynamodb"):
        item = sink._client.get_item(TableName=sink._table, Key={"pk": {"S": "plane@1#plane/N1"}, "sk": {"S": "-"}})["Item"]
        sink._client.put_item(TableName=sink._table, Item={**item, "pk": {"S": "plane@1#plane/N2"}})
    elif kind == "postgresql":
        table = f'"{sink._settings.prefix}_views"'
        sink._run(lambda c: c.execute(f"DELETE FROM {table} WHERE key = 'plane/N2'"))
        sink._run(lambda c: c.execute(f"UPDATE {table} SET key = 'plane/N2' WHERE key = 'plane/N1'"))
    elif kind == "search":
        source = sink._client.get(index=sink._alias, id="plane@1##plane/N1")["_source"]
        sink._client.index(index=sink._alias, id="plane@1##plane/N2", body=source, params={"refresh": "true"})
    else:
        sink._client.hset(sink._keys(other.id)[0], mapping=sink._client.hgetall(sink._keys(one.id)[0]))
    with pytest.raises(DamagedEvent):
        sink.load([other.id])
