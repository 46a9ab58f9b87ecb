"""External event: the format for outside consumers. The envelope is CloudEvents 1.0 in JSON's structured mode
(https://github.com/cloudevents/spec, spec.md and json-format.md) and is stable: tests/replicator/external pins its bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from replicator.domain.canonical import decode_json, encode_json
from replicator.domain.clock import Hlc, time_of
from replicator.domain.errors import InvalidEvent, InvalidName, shown
from replicator.domain.names import LaneId, StreamId, parse_sequence_key, sequence_key

CONTENT_TYPE = "application/json"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_TEXTS = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "region", "sequence")


@dataclass(frozen=True, slots=True)
class ExternalEvent:
    """External event in its CloudEvents envelope.

    `lane` and `sequence` are those of the internal event it was made from; `previous` is the sequence of the external
    event before it in its lane (0: none), so that a consumer detects missed ones. `version` is the external schema's.
    `time` is RFC 3339 in UTC with milliseconds, `data_text` a JSON object.
    """

    source: str
    type: str
    version: int
    lane: LaneId
    sequence: int
    previous: int
    time: str
    data_text: str

    @property
    def id(self) -> str:
        """Event id, such as `us-east-1#user#homer#0000000000000007`: unique permanently, and the same in every region."""
        return f"{self.lane.key}#{sequence_key(self.sequence)}"

    @property
    def region(self) -> str:
        """Region that wrote the internal event, wherever this one was published."""
        return self.lane.region

    @property
    def subject(self) -> str:
        """Stream of the event, as `type/id`."""
        return str(self.lane.stream)

    @property
    def data(self) -> dict[str, Any]:
        """Data, parsed anew at each access: the caller owns the result."""
        return decode_json(self.data_text, "data")

    def encode(self) -> bytes:
        """Encode the event: attributes in code point order, then `data`; JSON without white space, in UTF-8.

        Sequences are strings of sixteen digits, since an Integer of CloudEvents has only 31 bits.
        """
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": CONTENT_TYPE,
            "region": self.region,
            "sequence": sequence_key(self.sequence),
            "schemaversion": self.version,
        }
        if self.previous:
            attributes["previous"] = sequence_key(self.previous)
        return f'{encode_json(attributes, "envelope")[:-1]},"data":{self.data_text}}}'.encode()

    @classmethod
    def parse(cls, text: bytes | str) -> ExternalEvent:
        """Invert `encode`; unknown attributes are ignored. Raises InvalidEvent for anything else."""
        try:
            envelope = decode_json(text.decode() if isinstance(text, bytes) else text, "external event")
        except UnicodeDecodeError as error:
            raise InvalidEvent(f"external event is not UTF-8: {error.reason} at byte {error.start}") from None
        for name in _TEXTS:
            if not isinstance(envelope.get(name), str) or not envelope[name]:
                raise InvalidEvent(f"external event has no {name}, or it is not a text")
        if envelope["specversion"] != "1.0" or envelope["datacontenttype"] != CONTENT_TYPE:
            raise InvalidEvent(
                f"external event of specversion {shown(envelope['specversion'])} and "
                f"{shown(envelope['datacontenttype'])}; this library reads CloudEvents 1.0 with {CONTENT_TYPE}"
            )
        return cls._of(envelope)

    @classmethod
    def _of(cls, envelope: dict[str, Any]) -> ExternalEvent:
        version, previous = envelope.get("schemaversion"), envelope.get("previous")
        if type(version) is not int or not 1 <= version <= 65_535:
            raise InvalidEvent(f"external event {shown(envelope['id'])} has no schemaversion from 1 to 65535")
        if not _TIME.fullmatch(envelope["time"]):
            raise InvalidEvent(
                f"external event {shown(envelope['id'])} has the time {shown(envelope['time'])}, not RFC 3339 in UTC"
            )
        try:
            event = cls(
                envelope["source"],
                envelope["type"],
                version,
                LaneId(envelope["region"], StreamId.parse(envelope["subject"])),
                parse_sequence_key(envelope["sequence"]),
                0 if previous is None else parse_sequence_key(previous),
                envelope["time"],
                encode_json(envelope.get("data"), "data"),
            )
        except InvalidName as error:
            raise InvalidEvent(f"external event {shown(envelope['id'])}: {error}") from None
        if event.id != envelope["id"] or event.previous >= event.sequence:
            raise InvalidEvent(
                f"external event {shown(envelope['id'])} does not match its region, subject, sequence and previous: "
                f"{event.id}"
            )
        return event


def rfc3339(hlc: Hlc) -> str:
    """Format the wall time of an HLC, such as `2025-11-23T16:36:21.123Z`."""
    return time_of(hlc.ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
