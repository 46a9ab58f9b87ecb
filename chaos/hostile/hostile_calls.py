"""Hostile calls of the event store: each is one call with one thing in it that it must refuse. Pure until it is called."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from chaos.hostile.kinds import HARMLESS, REFUSED, STORE, Hostile, Kind, kind, mark
from chaos.hostile.values import NAMES, PAYLOADS, REGIONS, SEQUENCES, TIMES
from chaos.workload.model import added
from replicator.domain.clock import Hlc
from replicator.domain.event import NewEvent, Observed
from replicator.domain.names import LaneId, StreamId, parse_sequence_key, sequence_key
from replicator.domain.token import ConsistencyToken, TokenCodec
from replicator.domain.vector import VersionVector
from replicator.eventstore.event_items import from_item
from replicator.eventstore.operations import AtToken, Operation
from replicator.eventstore.store import EventStore

Call = Callable[[EventStore], object]
Make = Callable[[Random, str], Call]

_NAMES = "names are validated"
_JSON = "payloads are I-JSON (RFC 7493)"
_TIME = "time is checked at the door"
_TOKEN = "tokens are opaque, versioned and sealed"
_TYPES = "an invalid call is refused with a reason"
_GOOD = NewEvent("added", {"id": "x", "n": 1})


def _in_stream(make: Callable[[Random, str], Any]) -> Make:
    def made(random: Random, mark: str) -> Call:
        name = make(random, mark)
        whole = f"thing/{name}" if isinstance(name, str) else name
        if random.random() < 0.3 and isinstance(name, str):
            return lambda store: store.append(StreamId(name, mark), _GOOD)
        return lambda store: store.append(whole, _GOOD)

    return made


def _in_type(make: Callable[[Random, str], Any]) -> Make:
    def made(random: Random, mark: str) -> Call:
        name = make(random, mark)
        return lambda store: store.append(f"thing/{mark}", NewEvent(name, {"id": mark, "n": 1}))

    return made


def _in_payload(make: Callable[[Random, str], Any]) -> Make:
    def made(random: Random, mark: str) -> Call:
        payload = make(random, mark)
        return lambda store: store.append(f"thing/{mark}", NewEvent("added", payload))

    return made


def _in_region(make: Callable[[Random, str], Any]) -> Make:
    def made(random: Random, mark: str) -> Call:
        region = make(random, mark) or "nowhere"
        return random.choice(
            [
                lambda store: list(store.read_lane(f"thing/{mark}", region)),
                lambda store: LaneId(region, StreamId("thing", mark)),
                lambda store: store.append(f"thing/{mark}", _GOOD, observed=Observed(VersionVector({region: 1}))),
                lambda store: LaneId.from_key(f"{region}#thing#{mark}"),
            ]
        )

    return made


def _version(random: Random, mark: str) -> Call:
    version: Any = random.choice([0, -1, 65_536, 10**400, True, 1.0, "1", None, float("nan")])
    return lambda store: store.append(f"thing/{mark}", NewEvent("added", {"id": mark, "n": 1}, version))


def _metadata(random: Random, mark: str) -> Call:
    metadata: Any = random.choice([{"n": 1}, {1: "x"}, {"a": None}, {"$nonce": "forged"}, {"a": "\ud800"}, [], "x", 7])
    return lambda store: store.append(f"thing/{mark}", NewEvent("added", {"id": mark, "n": 1}, 1, metadata))


def _sequence(random: Random, mark: str) -> Call:
    sequence: Any = random.choice(SEQUENCES)
    text: Any = random.choice(["0" * 16, "1", "１" * 16, "x" * 16, None, 1])
    vector: Any = {"us-east-1": sequence or -1}  # 0 is none yet
    return random.choice(
        [
            lambda store: sequence_key(sequence),
            lambda store: parse_sequence_key(text),
            lambda store: VersionVector(vector),
        ]
    )


def _ahead(random: Random, mark: str) -> Call:
    stamp = Hlc(random.randint(4 * 10**12, 10**13 - 1), 0)
    return lambda store: store.append(f"thing/{mark}", _GOOD, observed=Observed(hlc=stamp))


def _no_time(random: Random, mark: str) -> Call:
    ms: Any = random.choice([-1, 10**13, 10**400, 1.5, float("nan"), True, "1", None])
    text = random.choice(TIMES)
    return random.choice([lambda store: Hlc(ms, 0), lambda store: Hlc(0, ms), lambda store: Hlc.parse(text)])


def token_text(random: Random, name: str) -> str:
    """Return a text in place of a token: forged, damaged, of another system or version, or none at all. None ever
    decodes."""
    good = TokenCodec("meridian").encode(_token(name))
    place = random.randrange(8, len(good) - 1)
    return random.choice(
        [
            good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :],
            good[: len(good) // 2],
            good + "A",
            "Ag" + good[2:],
            TokenCodec("another").encode(_token(name)),
            TokenCodec("meridian", [random.randbytes(32)]).encode(_token(name)),
            random.choice(["not a token", "é" * 20, "\0", "A" * 9000, "====", " " + good]),
        ]
    )


def _token(name: str) -> ConsistencyToken:
    return ConsistencyToken({StreamId("thing", name): VersionVector({"us-east-1": 3})}, Hlc(1_763_914_981_000, 1))


def _in_token(random: Random, mark: str) -> Call:
    text = token_text(random, mark)
    stream = f"thing/{mark}"
    return random.choice(
        [
            lambda store: store.state(stream, text, 0.05),
            lambda store: store.save(Operation(stream, _GOOD, AtToken(text))),
            lambda store: store.save(Operation(stream, _GOOD, after=text)),
            lambda store: store.token(text),
        ]
    )


def _foreign_token(random: Random, mark: str) -> Call:
    vectors = {StreamId("thing", mark): VersionVector({random.choice(["ap-south-1", "sa-east-1"]): 1})}
    return lambda store: store.state(f"thing/{mark}", store.tokens.encode(ConsistencyToken(vectors)), 0.05)


def _no_events(random: Random, mark: str) -> Call:
    events: list[Any] = random.choice([[], [None], ["added"], [{"type": "added"}], [_GOOD, 7], [_GOOD] * 101])
    return lambda store: store.append(f"thing/{mark}", *events)


def _no_observed(random: Random, mark: str) -> Call:
    observed: Any = random.choice(["x", {"us-east-1": 1}, VersionVector({"us-east-1": 1}), 7, [1]])
    return lambda store: store.append(f"thing/{mark}", _GOOD, observed=observed)


def _too_much(random: Random, mark: str) -> Call:
    large = [NewEvent("added", {"id": mark, "n": "x" * 399_000}) for _ in range(12)]
    return lambda store: store.append(f"thing/{mark}", *large)


def _no_item(random: Random, mark: str) -> Call:
    item: Any = random.choice([None, {}, [], "x", {"pk": 1}, {"pk": {"S": 1}, "sk": None}, {"digest": {"B": 10**12}}])
    return lambda store: from_item(item)


def _homoglyph(random: Random, mark: str) -> Call:
    name = f"thing/{mark}" + random.choice("аеорсух")  # Cyrillic: another name, with other bytes
    return lambda store: store.append(name, added(mark, 1))


def _forged_cause(random: Random, mark: str) -> Call:
    metadata = {"causation": f"us-east-1#thing#{mark}#0000000000000009", "correlation": "x" * random.choice([1, 2000])}
    return lambda store: store.append(f"thing/{mark}", NewEvent("added", {"id": mark, "n": 1}, 1, metadata))


CALLS: tuple[tuple[Kind, Make], ...] = (
    *((kind(f"stream {name}", STORE, REFUSED, _NAMES), _in_stream(make)) for name, make in NAMES.items()),
    *((kind(f"event type {name}", STORE, REFUSED, _NAMES), _in_type(make)) for name, make in NAMES.items()),
    *((kind(name, STORE, REFUSED, _NAMES), _in_region(make)) for name, make in REGIONS.items()),
    *((kind(name, STORE, REFUSED, _JSON), _in_payload(make)) for name, make in PAYLOADS.items()),
    (kind("invalid version", STORE, REFUSED, _TYPES), _version),
    (kind("invalid metadata", STORE, REFUSED, _JSON), _metadata),
    (kind("invalid sequence", STORE, REFUSED, _NAMES), _sequence),
    (kind("observed far ahead", STORE, REFUSED, _TIME), _ahead),
    (kind("invalid time", STORE, REFUSED, _TIME), _no_time),
    (kind("token stale or forged", STORE, REFUSED, _TOKEN), _in_token),
    (kind("token of an unknown region", STORE, REFUSED, _TOKEN), _foreign_token),
    (kind("invalid events", STORE, REFUSED, _TYPES), _no_events),
    (kind("invalid observed vector", STORE, REFUSED, _TYPES), _no_observed),
    (kind("more than a transaction takes", STORE, REFUSED, "4 MB together"), _too_much),
    (kind("invalid item", STORE, REFUSED, "3: a damaged event is never applied"), _no_item),
    (kind("name with a homoglyph", STORE, HARMLESS, "names are bytes: a look-alike is another name"), _homoglyph),
    (kind("cause that is forged", STORE, HARMLESS, "metadata decides nothing"), _forged_cause),
)


def hostile_call(random: Random, number: int, region: str, choice: int) -> Hostile:
    """Return a hostile call of the event store."""
    which, make = CALLS[choice % len(CALLS)]
    name = mark(number)
    return Hostile(number, which, region, name, make(random, name))
