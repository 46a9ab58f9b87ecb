"""Hostile items and stream records: a valid event's item, wrong in one way and sometimes in a second one. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from chaos.checker.final_reads import content_digest
from chaos.hostile.kinds import HARMLESS, LAMBDA, QUARANTINED, REFUSED, STREAM, Hostile, Kind, kind, mark
from chaos.hostile.values import NAMES, REGIONS, TIMES, json_texts
from chaos.workload.model import added
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item

Item = dict[str, Any]
Change = Callable[[Random, str, Item], Item]

_DAMAGED = "3: a damaged or forged event is never applied"
_NAMES = "names are validated"
_GAP = "2: every lane is a gap-free prefix, and its hash chain proves it"
_STANDS = "9: one poison event stops its own lane in that view, and nothing else"


def valid_item(region: str, mark: str, ms: int) -> Item:
    """Return the first event of a thing of this mark, as its region would write it at `ms`."""
    lane = LaneId(region, StreamId("thing", mark))
    return to_item(seal(lane, 1, Hlc(ms, 0), added(mark, 1), EMPTY, GENESIS, mark))


def resealed(item: Item) -> Item:
    """Return the item with the digest of its content: a forger knows how digests are made."""
    return {**item, "digest": {"B": content_digest(item)}}


def _set(**changed: Any) -> Change:
    return lambda r, m, item: {**item, **changed}


def _without(*names: str) -> Change:
    def change(random: Random, mark: str, item: Item) -> Item:
        gone = random.choice(names)
        return {name: value for name, value in item.items() if name != gone}

    return change


def _key(make: Callable[[Random, str], Any]) -> Change:
    def change(random: Random, mark: str, item: Item) -> Item:
        region = item["pk"]["S"].partition("#")[0]
        return {**item, "pk": {"S": f"{region}#thing#{make(random, mark)}"}}

    return change


def _region(make: Callable[[Random, str], Any]) -> Change:
    return lambda r, m, item: {**item, "pk": {"S": f"{make(r, m)}#thing#{m}"}}


def _text(name: str) -> Change:
    return lambda r, m, item: resealed({**item, "payload": {"S": json_texts(m)[name]}})


def _flip(random: Random, mark: str, item: Item) -> Item:
    name = random.choice(["digest", "prev"])
    raw = bytearray(item[name]["B"])
    raw[random.randrange(32)] ^= 1 << random.randrange(8)
    return {**item, name: {"B": bytes(raw)}}


def _nested(random: Random, mark: str, item: Item) -> Item:
    value: Any = {"S": mark}
    for _ in range(30):  # DynamoDB takes 32 levels
        value = {"M": {"a": value}}
    return {**item, random.choice(["payload", "metadata", "observed", "hlc"]): value}


def _wrong_type(random: Random, mark: str, item: Item) -> Item:
    name = random.choice(["hlc", "type", "payload", "metadata", "observed", "version", "prev", "digest"])
    other: list[Any] = [{"N": "1"}, {"BOOL": True}, {"NULL": True}, {"L": []}, {"SS": ["a"]}, {"S": "1"}, {"B": b"x"}]
    return {**item, name: random.choice([each for each in other if each.keys() != item[name].keys()])}


def _payload(value: str) -> Change:
    return lambda r, m, item: resealed({**item, "payload": {"S": f'{{"id":"{m}","n":{value}}}'}})


def _time(random: Random, mark: str, item: Item) -> Item:
    return {**item, "hlc": {"S": random.choice(TIMES)}}


def _future(random: Random, mark: str, item: Item) -> Item:
    return resealed({**item, "hlc": {"S": f"{random.randint(4_000_000_000_000, 9_999_999_999_999):013d}-00000"}})


def _sequence_key(random: Random, mark: str, item: Item) -> Item:
    keys = ["0" * 16, "1", "-000000000000001", "9" * 17, "１" * 16, "0000000000000001 ", "x" * 1000, "NaN"]
    return {**item, "sk": {"S": random.choice(keys)}}


def _gap(random: Random, mark: str, item: Item) -> Item:
    changed = {**item, "sk": {"S": f"{random.choice([2, 3, 100, 10**16 - 1]):016d}"}, "prev": {"B": random.randbytes(32)}}
    return resealed({name: value for name, value in changed.items() if name != "begins"})


_FLAWED: dict[str, tuple[Change, str]] = {
    "digest or prev flipped": (_flip, _DAMAGED),
    "payload altered": (_set(payload={"S": '{"id":"x","n":1000000}'}), _DAMAGED),
    "time altered": (_set(hlc={"S": "1763914981123-00042"}), _DAMAGED),
    "digest of another length": (
        lambda r, m, item: {**item, "digest": {"B": r.randbytes(r.choice([1, 16, 31, 33, 64]))}},
        _DAMAGED,
    ),
    "prev of another length": (
        lambda r, m, item: resealed({**item, "prev": {"B": r.randbytes(r.choice([1, 31, 33]))}}),
        _DAMAGED,
    ),
    "digest as text": (lambda r, m, item: {**item, "digest": {"S": item["digest"]["B"].hex()}}, _DAMAGED),
    "attribute of another type": (_wrong_type, _DAMAGED),
    "attribute missing": (_without("hlc", "type", "version", "payload", "metadata", "observed", "prev", "digest"), _DAMAGED),
    "attribute nested 30 deep": (_nested, _DAMAGED),
    "past before the first event": (lambda r, m, item: resealed({**item, "prev": {"B": r.randbytes(32)}}), _GAP),
    "sequence after a gap": (_gap, _GAP),
    "invalid sequence key": (_sequence_key, _NAMES),
    "invalid clock": (_time, "time is checked at the door"),
    "invalid version": (
        lambda r, m, item: {**item, "version": {"N": r.choice(["0", "-1", "65536", "1.5", "1E+30"])}},
        _DAMAGED,
    ),
    "invalid observed vector": (
        lambda r, m, item: {
            **item,
            "observed": {"S": r.choice(["", "[]", '{"eu-west-1":-1}', '{"x":1}', '{"eu-west-1":true}', "x" * 9000])},
        },
        _DAMAGED,
    ),
    "observed forged": (_set(observed={"S": '{"eu-west-1":999999}'}), _DAMAGED),
    "type empty": (_set(type={"S": ""}), _NAMES),
    "type with the delimiter": (_set(type={"S": "x#y"}), _NAMES),
    "key of another lane": (_key(lambda r, m: f"{m}/other"), "key and content must agree"),
    "key with too many segments": (_key(lambda r, m: f"{m}#more#parts"), _NAMES),
    "key of 2,000 bytes": (_key(lambda r, m: m + "x" * 1900), _NAMES),
    "clock of 300,000 letters": (_set(hlc={"S": "\x01" * 300_000}), "an error is abbreviated"),
    "region unknown": (
        lambda r, m, item: resealed({**item, "pk": {"S": f"{r.choice(['ap-south-1', 'sa-east-1'])}#thing#{m}"}}),
        "an unknown region writes nothing",
    ),
    "encrypted garbage in place of text": (lambda r, m, item: {**item, "payload": {"S": r.randbytes(60).hex()}}, _DAMAGED),
}
_NAMED = ("name not NFC", "name with NUL", "name with a control", "name with an invisible", "name with outer space")
CHANGES: dict[str, tuple[Change, str, str, bool]] = {
    **{name: (change, promise, QUARANTINED, False) for name, (change, promise) in _FLAWED.items()},
    **{name: (_key(NAMES[name]), _NAMES, QUARANTINED, False) for name in _NAMED},
    **{name: (_region(make), _NAMES, QUARANTINED, False) for name, make in REGIONS.items()},
    **{name: (_text(name), _DAMAGED, QUARANTINED, False) for name in json_texts("")},
    "number is a text": (_payload('"x"'), _STANDS, QUARANTINED, True),
    "number is true": (_payload("true"), _STANDS, QUARANTINED, True),
    "number is null": (_payload("null"), "a counter that is given nothing counts nothing", HARMLESS, False),
    "number is an object": (_payload('{"a":1}'), _STANDS, QUARANTINED, True),
    "number is missing": (lambda r, m, i: resealed({**i, "payload": {"S": f'{{"id":"{m}"}}'}}), _STANDS, QUARANTINED, True),
    "encrypted garbage": (_payload('{"$personal":"garbage"}'), _STANDS, QUARANTINED, True),
    "clock far ahead": (_future, "not compared with projectors' clocks: it is a fact, everywhere the same", HARMLESS, False),
    "clock at 0": (
        lambda r, m, item: resealed({**item, "hlc": {"S": "0000000000000-00000"}}),
        "time is order, not truth",
        HARMLESS,
        False,
    ),
    "version unknown": (
        lambda r, m, item: resealed({**item, "version": {"N": str(r.randint(2, 65535))}}),
        "old code continues reading",
        HARMLESS,
        False,
    ),
    "type unknown": (lambda r, m, item: resealed({**item, "type": {"S": "unheard"}}), "passed over", HARMLESS, False),
    "attribute more": (_set(extra={"S": "x"}), "only an event's own attributes are read", HARMLESS, False),
    "metadata forged": (
        lambda r, m, item: resealed({**item, "metadata": {"S": '{"who":"root"}'}}),
        "metadata decides nothing",
        HARMLESS,
        False,
    ),
}

# Items that DynamoDB or a client refuses itself never reach the stream.
ITEMS: tuple[tuple[Kind, Change], ...] = tuple(
    (kind(name, STREAM, {how, REFUSED} if how == QUARANTINED else how, promise, travels), change)
    for name, (change, promise, how, travels) in CHANGES.items()
)


def _lambda(change: Change) -> Callable[[Random, str, Mapping[str, Any]], Mapping[str, Any]]:
    def made(random: Random, mark: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        return record_of(change(random, mark, dict(record["item"])), str(record["number"]))

    return made


def _body(**changed: Any) -> Callable[[Random, str, Mapping[str, Any]], Mapping[str, Any]]:
    def made(random: Random, mark: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        whole = record_of(record["item"], str(record["number"]))
        return {**whole, "dynamodb": {**whole["dynamodb"], **changed}}

    return made


def _name(*names: Any) -> Callable[[Random, str, Mapping[str, Any]], Mapping[str, Any]]:
    return lambda r, m, record: {**record_of(record["item"], str(record["number"])), "eventName": r.choice(names)}


def _image(value: Any) -> Callable[[Random, str, Mapping[str, Any]], Mapping[str, Any]]:
    def made(random: Random, mark: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
        whole = record_of(record["item"], str(record["number"]))
        name = random.choice(["prev", "digest", "payload", "version", "hlc"])
        image = {**whole["dynamodb"]["NewImage"], name: value}
        return {**whole, "dynamodb": {**whole["dynamodb"], "NewImage": image}}

    return made


RECORDS = (
    *(
        (kind(name, LAMBDA, QUARANTINED, promise), _lambda(change))
        for name, (change, promise, how, travels) in CHANGES.items()
        if how == QUARANTINED and not travels and promise != _GAP
    ),
    (
        kind("change of an event", LAMBDA, QUARANTINED, "17: MODIFY and REMOVE never change an event"),
        _name("MODIFY", "REMOVE"),
    ),
    (kind("invalid event name", LAMBDA, QUARANTINED, "17"), _name("insert", None, 7, ["INSERT"], {"a": 1})),
    (kind("image missing", LAMBDA, QUARANTINED, _DAMAGED), _body(NewImage=None)),
    (kind("image not an item", LAMBDA, QUARANTINED, _DAMAGED), _body(NewImage=["x"])),
    (kind("image a text", LAMBDA, QUARANTINED, _DAMAGED), _body(NewImage="x")),
    (kind("binary that is a number", LAMBDA, QUARANTINED, _DAMAGED), _image({"B": 10**12})),
    (kind("binary that is not base64", LAMBDA, QUARANTINED, _DAMAGED), _image({"B": "@@@"})),
    (kind("attribute not a map", LAMBDA, QUARANTINED, _DAMAGED), _image("x")),
    (kind("attribute null", LAMBDA, QUARANTINED, _DAMAGED), _image(None)),
    (kind("surrogate in the image", LAMBDA, QUARANTINED, _DAMAGED), _image({"S": "\ud800"})),
    (kind("keys not a map", LAMBDA, QUARANTINED, _DAMAGED), _body(Keys=["x"])),
    (kind("keys missing", LAMBDA, QUARANTINED, _DAMAGED), _body(Keys=None)),
    (kind("keys of another type", LAMBDA, QUARANTINED, _DAMAGED), _body(Keys={"pk": {"N": "1"}, "sk": {"N": "1"}})),
)


def record_of(item: Mapping[str, Any], number: str) -> dict[str, Any]:
    """Return the stream record of an item, as Lambda's JSON has it: binary attributes are base64 text."""
    image = {
        name: {"B": b64encode(value["B"]).decode()}
        if isinstance(value, dict) and isinstance(value.get("B"), bytes)
        else value
        for name, value in item.items()
    }
    keys = {name: image[name] for name in ("pk", "sk") if name in image}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": number}}


def position_of(number: int) -> str:
    """Return the sequence number, within its shard, of the record at this place of the run."""
    return f"{900_000_000_000 + number}"


def hostile_item(random: Random, number: int, region: str, other: str, ms: int, choice: int) -> Hostile:
    """Return an item to be put into `region`'s events table behind the library's back; at times it is of `other`'s lane."""
    which, change = ITEMS[choice % len(ITEMS)]
    name = mark(number)
    # A gap in another region's lane is waited for: nothing of it is folded or copied, and nothing is listed before an audit.
    flawed = which.expected != {HARMLESS} and not which.travels and which.name != "sequence after a gap"
    item = change(random, name, valid_item(other if flawed and random.random() < 0.3 else region, name, ms))
    if flawed and random.random() < 0.1:
        item = {**item, "extra": {"S": "a second thing that is wrong"}}
    return Hostile(number, which, region, name, item)


FORK = kind("fork: another event under a known id", STREAM, QUARANTINED, "3: a fork is never applied or overwritten")


def fork(number: int, region: str, home: str, ms: int) -> Hostile:
    """Return a well sealed event of `home`'s lane that `home` never wrote, put into `region`; `home` writes another one
    there."""
    name = mark(number)
    lane = LaneId(home, StreamId("seat", name))
    item = to_item(seal(lane, 1, Hlc(ms, 0), added(name, 666), EMPTY, GENESIS, name))
    return Hostile(number, FORK, region, name, item)


def hostile_record(random: Random, number: int, region: str, ms: int, choice: int) -> Hostile:
    """Return a record to be handed to the Lambda functions."""
    which, change = RECORDS[choice % len(RECORDS)]
    name = mark(number)
    record = change(random, name, {"item": valid_item(region, name, ms), "number": position_of(number)})
    return Hostile(number, which, region, name, record)
