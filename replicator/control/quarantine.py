"""Quarantine: refused events, recorded in the control state until the cause has been resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from replicator.control.control_storage import ControlStorage, Value, fitting
from replicator.domain.errors import InvalidName
from replicator.domain.names import DELIMITER, LaneId, parse_sequence_key

_MAX_REASON = 2_000
_MAX_ITEM = 5_000
PAGE = 200
"""Number of records that are looked at in one go."""


class Quarantine:
    """Refused events: forks, damaged events, records that change or remove one. One record per event."""

    def __init__(self, control: ControlStorage, link: str) -> None:
        self._control = control
        self._scope = f"quarantine#{link}"

    def add(self, event_id: str, reason: str, ours: bytes | None = None, theirs: bytes | None = None) -> Value:
        """Record a refused event with the digest that arrived (`theirs`) and the one that is held here (`ours`). Returns the
        record, which `release` takes."""
        key = fitting(event_id)
        value: Value = {
            "reason": reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…",
            "held": ours.hex() if ours else None,
            "refused": theirs.hex() if theirs else None,
            **({} if key == event_id or len(event_id) > _MAX_ITEM else {"item": event_id}),
        }
        self._control.put(self._scope, {key: value})
        return value

    def records(self) -> list[tuple[str, Value]]:
        """Return (event id, {reason, held, refused}) of everything that was refused and not released since."""
        return [(value.get("item", key), value) for key, value in self._control.get_all(self._scope)]

    def some(
        self, after: str, lanes: int, wanted: Callable[[str], bool] = lambda key: True
    ) -> tuple[dict[LaneId, dict[str, Value]], str]:
        """Return records of at most so many lanes, by lane, and the key of the last record that was looked at: a bounded
        number, in the order of their keys behind `after`, and from the beginning again at the end. Records without a lane,
        and those not `wanted`, are left out."""
        page = list(self._control.get_all(self._scope, PAGE, fitting(after) if after else ""))
        if not page and after:
            page, after = list(self._control.get_all(self._scope, PAGE)), ""
        found: dict[LaneId, dict[str, Value]] = {}
        for held, value in page:
            key = value.get("item", held)
            lane = lane_of(key) if wanted(key) else None
            if lane is not None:
                if lane not in found and len(found) == lanes:
                    break
                found.setdefault(lane, {})[key] = value
            after = key
        return found, after

    def held(self, event_id: str) -> Value | None:
        """Return the record of one event; None if there is none."""
        return self._control.get(self._scope, fitting(event_id))

    def count(self) -> int:
        """Count the refused events: one that several projections refused counts once."""
        return len({event_of(key) for key, _ in self.records()})

    def release(self, records: Mapping[str, Value]) -> None:
        """Remove these records, unless they were renewed meanwhile: their cause has been resolved."""
        self._control.delete(self._scope, {fitting(key): value for key, value in records.items()})


def by_lane(records: Mapping[str, Value]) -> dict[LaneId, dict[str, Value]]:
    """Return the records of events and heads by lane. Records without a lane are left out."""
    found: dict[LaneId, dict[str, Value]] = {}
    for key, value in records.items():
        if (lane := lane_of(key)) is not None:
            found.setdefault(lane, {})[key] = value
    return found


def event_of(key: str) -> str:
    """Return the event of a record, without the projection that refused it, or the key itself if it names no event."""
    head, delimiter, rest = key.partition(DELIMITER)
    return f"{head.rpartition(' ')[2]}{delimiter}{rest}" if delimiter else key


def lane_of(key: str) -> LaneId | None:
    """Return the lane of a record's event, None if there is none."""
    try:
        return LaneId.from_key(event_of(key).rpartition(DELIMITER)[0])
    except InvalidName:
        return None


def sequences_of(keys: Iterable[str]) -> set[int]:
    """Return the sequences of the records' events, for those that name one."""
    found: set[int] = set()
    for key in keys:
        with suppress(InvalidName):
            found.add(parse_sequence_key(key.rpartition(DELIMITER)[2]))
    return found


def projection_of(key: str) -> str:
    """Return the projection that refused a record's event; empty if none did."""
    head, delimiter, _ = key.partition(DELIMITER)
    return head.rpartition(" ")[0] if delimiter else ""


def select(records: Mapping[str, Value], what: str) -> dict[str, Value]:
    """Return the records that `what` names: a record as listed, an event, a lane, or a projection (`name`, or
    `name@version`)."""

    def names(key: str) -> set[str]:
        projection, lane = projection_of(key), lane_of(key)
        item = event_of(key).rpartition(" ")[0]  # of a record that changes an event: its lane
        return {key, event_of(key), lane.key if lane else item, projection, projection.partition("@")[0]} - {""}

    return {key: value for key, value in records.items() if what in names(key)}
