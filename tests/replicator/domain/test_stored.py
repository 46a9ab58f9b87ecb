"""The quick way to a stored event accepts nothing that the careful way refuses, and makes the same event."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.domain import canonical
from replicator.domain.canonical import netstrings
from replicator.domain.clock import MAX_COUNTER, Hlc
from replicator.domain.errors import DamagedEvent
from replicator.domain.event import ENCODING, GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.stored import recall
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.event_items import _looked_at, from_item, to_item
from tests.replicator.test_records import payloads

EAST = "us-east-1"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
names = texts.map(lambda text: f"n{text.encode().hex()}é"[-20:])


@pytest.fixture(params=[True, False], ids=["orjson", "json"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the quicker parser, and as it is without the extra."""
    if not request.param:
        monkeypatch.setattr(canonical, "orjson", None)


def quick(item: dict[str, Any]) -> Event | None:
    texts = [next(iter(item[name].values())) for name in ("pk", "sk", "hlc", "type", "version", "payload", "metadata")]
    return recall(*texts, item["observed"]["S"], item["prev"]["B"], item["digest"]["B"])


def sealed(item: dict[str, Any]) -> dict[str, Any]:
    """The item with the digest that its texts have, as somebody would forge it."""
    region, kind, name = [*item["pk"]["S"].split("#"), "", ""][:3]
    sequence = item["sk"]["S"].lstrip("0")
    fields = [region, kind, name, sequence, *(item[n]["S"] for n in ("hlc", "type"))]
    fields += [item["version"]["N"], *(item[n]["S"] for n in ("payload", "metadata", "observed"))]
    joined = netstrings(ENCODING, item["prev"]["B"], *[field.encode("utf-8", "surrogatepass") for field in fields])
    return {**item, "digest": {"B": sha256(joined).digest()}}


@settings(max_examples=150, deadline=None)
@given(
    payloads, names, names, st.integers(1, 10**16 - 1), st.integers(1, 65_535), st.dictionaries(texts, texts, max_size=2),
    st.dictionaries(st.sampled_from(["us-east-1", "eu-west-1", "ap-south-1"]), st.integers(1, 10**16 - 1)),
    st.integers(0, 10**13 - 1), st.integers(0, MAX_COUNTER), st.sampled_from(["", "n-1", "é"]),
)  # fmt: skip
def test_what_was_sealed_comes_back(
    payload: Any, stream: str, kind: str, sequence: int, version: int, metadata: Any, seen: Any, ms: int, counter: int,
    nonce: str,
) -> None:  # fmt: skip
    lane = LaneId(EAST, StreamId("user", stream))
    new = NewEvent(kind, payload, version, metadata)
    event = seal(lane, sequence, Hlc(ms, counter), new, VersionVector(seen), b"x" * 32, nonce)
    found = quick(to_item(event))
    assert found == event
    for name in Event.__slots__:
        assert type(getattr(found, name)) is type(getattr(event, name))
    assert list(found.observed.items()) == list(event.observed.items())
    assert found == _looked_at(to_item(event))


EVENT = seal(
    LaneId(EAST, StreamId("user", "homer")), 7, Hlc(1_763_914_981_000, 3), NewEvent("x", {"n": 1}), EMPTY, b"y" * 32
)
ODD: list[tuple[str, dict[str, Any]]] = [
    ("pk", {"S": key})
    for key in ("", "us-east-1#user", "us-east-1#user#a#b", "US-EAST-1#user#homer", "us-east-1#us/er#homer", "us-east-1##x",
                "us-east-1#user# x", "us-east-1#user#é", "us-east-1#user#e\u0301", "us-east-1#user#\u200b")
] + [
    ("sk", {"S": key})
    for key in ("", "7", "0000000000000000", "000000000000007", "00000000000000007", "-000000000000007", "٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٧",
                "000000000000000x", " 000000000000007", "+000000000000007", "0000000000000_07")
] + [
    ("hlc", {"S": hlc})
    for hlc in ("", "1763914981000-65535", "1763914981000-65536", "1763914981000-99999", "1763914981000_00003",
                "176391498100-000003", "+763914981000-00003", "1763914981000-0_003", "٠763914981000-00003",
                "0000000000000-00000")
] + [
    ("type", {"S": kind}) for kind in ("", "a#b", " a", "é", "e\u0301", "a\n", "x" * 128, "x" * 129, "a\u200b")
] + [
    ("version", {"N": number}) for number in ("", "0", "01", "+1", "1_0", "1.0", "65535", "65536", "٣", "1e1", " 1")
] + [
    ("payload", {"S": text})
    for text in ("", "{}", "[]", "1", '{"a":1,"a":1}', '{"b":1,"a":2}', ' {"a":1}', '{"a": 1}', '{"a":NaN}', '{"a":1e400}',
                 '{"a":9007199254740991}', '{"a":9007199254740992}', '{"a":1e5}', '{"a":1e+16}', '{"a":1e16}', '{"a":-0}',
                 '{"a":"\\ud800"}', '{"a":"\\u00e9"}', '{"a":"é"}', '{"a":"\ud800"}', '{"a":"\\u0001"}', '{"a":"\x7f"}',
                 '{"a":"' + "[" * 40 + '"}', '{"a":' * 32 + "1" + "}" * 32, '{"a":' * 33 + "1" + "}" * 33, '{"a":1.0}',
                 '{"a":"' + "x" * 60_000 + '"}', '{"a":"' + "x" * 410_000 + '"}', '{"a":1}x', "\ufeff{}", '{"a":0.1e1}')
] + [
    ("metadata", {"S": text})
    for text in ("", "{}", '{"$nonce":"a"}', '{"$nonce":"é"}', '{"$nonce":"a"}\n', '{"who":"é"}', '{"who":1}', "[]",
                 '{"$nonce":"a","who":"b"}', '{"$nonce":""}', '{"who":"a","who":"b"}')
] + [
    ("observed", {"S": text})
    for text in ("", "{}", '{"us-east-1":6}', '{"us-east-1":0}', '{"us-east-1":06}', '{"us-east-1": 6}', '{"nowhere":1}',
                 '{"us-east-1":6,"eu-west-1":3}', '{"eu-west-1":3,"us-east-1":6}', '{"us-east-1":1,"us-east-1":2}',
                 '{"us-east-1":99999999999999999}', '{"us-east-1":9999999999999999}', '{"us-east-1":6.0}',
                 '{"us-east-1":-1}',
                 '{"us-east-1":6}\n', "[]", '{"us-east-1":true}', '{"eu-west-1":0,"us-east-1":6}')
] + [
    ("prev", {"B": b""}), ("prev", {"B": b"y" * 31}), ("prev", {"B": GENESIS}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ODD, ids=[f"{name} {n}" for n, (name, _) in enumerate(ODD)])
@pytest.mark.parametrize("forged", [False, True], ids=["altered", "sealed anew"])
def test_whatever_stands_there_the_careful_way_has_the_last_word(name: str, value: Any, forged: bool) -> None:
    item = {**to_item(EVENT), name: value}
    if forged:
        item = sealed(item)
    try:
        careful: Event | None = _looked_at(item)
    except DamagedEvent:
        careful = None
    try:
        found = quick(item)
    except Exception:  # whatever it is, `from_item` asks the careful way then
        found = None
    assert found is None or found == careful
    if careful is None:
        with pytest.raises(DamagedEvent):
            from_item(item)
    else:
        assert from_item(item) == careful
        assert to_item(from_item(item))["payload"] == item["payload"]


def test_what_is_usual_takes_the_quick_way() -> None:
    for metadata in ("{}", '{"$nonce":"a-_9"}', '{"who":"é"}'):
        for observed in ("{}", '{"us-east-1":6}', '{"eu-west-1":3,"us-east-1":6}'):
            item = sealed({**to_item(EVENT), "metadata": {"S": metadata}, "observed": {"S": observed}})
            assert quick(item) is not None


@pytest.mark.parametrize("name", ["pk", "sk", "hlc", "type", "version", "payload", "metadata", "observed", "prev", "digest"])
@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": 1}, b"x", True], ids=str)
def test_what_is_no_text_is_no_event(name: str, value: Any) -> None:
    item = {**to_item(EVENT), name: {next(iter(to_item(EVENT)[name])): value}}
    if name == "version" and value is True:  # Python's 1, and so the same event
        assert from_item(item) == EVENT
    else:
        with pytest.raises(DamagedEvent):
            from_item(item)
