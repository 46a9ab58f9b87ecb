"""Fast path from stored texts to an event, for those without anything unusual. Pure.

It checks everything that `Event` does, but on the texts themselves, where `Event` builds objects and encodes them again.
tests/replicator/domain/test_stored.py holds the two together.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

from replicator.domain.canonical import decode_json, netstrings
from replicator.domain.clock import MAX_COUNTER, Hlc
from replicator.domain.event import ENCODING, ONLY_NONCE, SURELY_FITS, Event, assemble
from replicator.domain.names import MAX_EVENT_TYPE_BYTES, SEQUENCE_DIGITS, LaneId, check_region, check_segment
from replicator.domain.vector import EMPTY, VersionVector

_ONE_REGION = re.compile(r'\{"([a-z0-9-]+)":([1-9][0-9]{0,15})\}').fullmatch
_BEFORE_PREV = netstrings(ENCODING) + b"32:"
_new = object.__new__
_set_ms, _set_counter = (Hlc.__dict__[name].__set__ for name in ("ms", "counter"))


@lru_cache(maxsize=4096)
def lane_of(key: str) -> tuple[LaneId, str]:
    """Return the lane of a partition key, and its netstrings. Cached: every event of a lane has the same key. Raises
    InvalidName."""
    lane = LaneId.from_key(key)
    return lane, _netstrings(lane.region, lane.stream.type, lane.stream.id)


@lru_cache(maxsize=1024)
def _type(text: str) -> str:
    return _netstrings(check_segment("event type", text, MAX_EVENT_TYPE_BYTES))


@lru_cache(maxsize=1024)
def _version(text: str) -> int:
    """Return the version, or 0 if the text is not a canonical version number."""
    version = int(text) if text.isascii() and text.isdigit() else 0
    return version if version <= 65_535 and text == str(version) else 0


def _netstrings(*texts: str) -> str:
    return netstrings(*[text.encode() for text in texts]).decode()


def recall(
    key: str, sort_key: str, hlc: str, type: str, version: str, payload: str, metadata: str, observed: str, prev: bytes,
    digest: bytes,
) -> Event | None:  # fmt: skip
    """Return the event of these attributes, by their names; None if any of them is unusual, which `Event` must judge
    (the slow path).

    Raises what constructing its parts raises, and TypeError when an attribute is not a text.
    """
    if not (
        sort_key.__class__ is hlc.__class__ is type.__class__ is version.__class__ is payload.__class__
        is metadata.__class__ is observed.__class__ is str
    ):  # fmt: skip
        raise TypeError("an attribute is not a text")
    if len(payload) + len(metadata) > SURELY_FITS or len(prev) != 32 or len(version) > 5 or len(type) > MAX_EVENT_TYPE_BYTES:
        return None
    lane, lane_text = lane_of(key)
    if not (len(sort_key) == SEQUENCE_DIGITS and sort_key.isascii() and sort_key.isdigit() and (sequence := int(sort_key))):
        return None
    ms, counter = hlc[:13], hlc[14:]
    if not (len(hlc) == 19 and hlc[13] == "-" and hlc.isascii() and ms.isdigit() and counter.isdigit()):
        return None
    if (count := int(counter)) > MAX_COUNTER or not (number := _version(version)):
        return None
    digits = str(sequence)
    joined = (
        f",{lane_text}{len(digits)}:{digits},19:{hlc},{_type(type)}{len(version)}:{version},"
        f"{len(payload) if payload.isascii() else len(payload.encode())}:{payload},"
        f"{len(metadata) if metadata.isascii() else len(metadata.encode())}:{metadata},{len(observed)}:{observed},"
    )
    if sha256(_BEFORE_PREV + prev + joined.encode()).digest() != digest:
        return None
    if (alone := _ONE_REGION(observed)) is not None:
        vector = VersionVector.of(check_region(alone[1]), int(alone[2]))
    elif observed == "{}":
        vector = EMPTY
    else:
        vector = VersionVector.parse(observed)
        if str(vector) != observed:
            return None
    decode_json(payload)
    if not ONLY_NONCE.fullmatch(metadata):
        decode_json(metadata, "metadata")
    stamp = _new(Hlc)
    _set_ms(stamp, int(ms))
    _set_counter(stamp, count)
    return assemble(lane, sequence, stamp, type, number, payload, metadata, vector, prev, digest)
