"""Verdicts on hostile inputs: the criteria of a clear refusal, and the conditions on tables in the end. Uses only what was
sent and what is stored."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from traceback import extract_tb
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from chaos.checker.final_reads import StoredView, content_digest
from chaos.hostile.kinds import HARMLESS, QUARANTINED, REFUSED, STREAM, Became, Hostile
from chaos.hostile.stored import FORK, position_of
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.eventstore.store_errors import AppendContention, OutcomeUnknown

WRONG = "wrong"
_MARK = re.compile(r"h[0-9]{6}")
_POSITION = re.compile(r"record (9[0-9]{11})")
_MAX_SAID = 2_000
_OURS = {"replicator", "projectors"}
_NOT_THE_INPUT = (RegionUnavailable, OutcomeUnknown, AppendContention)
_BAD_REQUEST = (400, 405, 408, 411, 413, 414, 415, 417, 422, 431)
"""Statuses that blame the request; those for a missing resource or too many requests do not."""


def by_error(error: BaseException) -> tuple[str, str]:
    """Classify an error of the store: refused when it is one of Meridian's that blames the input, or a ValueError or
    TypeError that Meridian's own code raises on purpose, with a readable text. Any other is a leak: an error of Python in
    code that did not check its input, or a region that could not be reached."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, MeridianError):
        meant = not isinstance(error, _NOT_THE_INPUT)
    else:
        meant = type(error) in (ValueError, TypeError) and _on_purpose(error)
    clear = meant and 10 <= len(str(error)) <= _MAX_SAID
    return (REFUSED if clear else WRONG), said


def _on_purpose(error: BaseException) -> bool:
    """Return whether the line that raised it is a `raise` in Meridian's packages."""
    frames = extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return last is not None and (last.line or "").startswith("raise") and bool(_OURS & set(PurePath(last.filename).parts))


def by_table(error: BaseException) -> tuple[str, str]:
    """Classify an error of DynamoDB when an item is put: its own validation is a refusal like any other."""
    said = f"{type(error).__name__}: {error}"
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    refused = isinstance(error, ParamValidationError) or code in ("ValidationException", "SerializationException")
    return (REFUSED if refused else WRONG), said


def by_answer(status: int, headers: Mapping[str, str], body: bytes, framed: bool, nowhere: bool = False) -> tuple[str, str]:
    """Classify an answer of the API: refused when it is a 4xx with a problem that gives the reason (RFC 9457). A request
    that was no HTTP never reaches the API, and a bare 4xx of the server is its refusal. Where the path leads `nowhere`, 404
    is."""
    said = f"{status} {body[:300].decode(errors='replace')}"
    if 200 <= status < 300:
        return HARMLESS, said
    if status not in _BAD_REQUEST and not (nowhere and status == 404):
        return WRONG, said
    if not framed:
        return REFUSED, said
    try:
        problem = json.loads(body)
        clear = headers.get("content-type") == "application/problem+json" and problem["status"] == status
        clear = clear and bool(problem["type"]) and 1 <= len(problem["detail"]) <= _MAX_SAID
    except (ValueError, KeyError, TypeError):
        clear = False
    return (REFUSED if clear else WRONG), said


@dataclass(frozen=True, slots=True)
class Region:
    """Tables of a region in the end: event items, views by key, and lines of its quarantine."""

    name: str
    events: Sequence[Mapping[str, Any]]
    views: Mapping[str, StoredView]
    refused: Sequence[str]


def region_in(hostile: Hostile) -> str:
    """Return the region in the key of an item or of a record; empty for other inputs, or without such a key."""
    found: Any = hostile.sent
    if isinstance(found, Mapping) and "dynamodb" in found:
        found = _part(_part(found, "dynamodb"), "Keys")
    text = _part(_part(found, "pk"), "S")
    return text.partition("#")[0] if isinstance(text, str) else ""


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


@dataclass(slots=True)
class Found:
    """Final content of the regions, by marks."""

    regions: Sequence[Region]
    quarantined: dict[str, str] = field(default_factory=dict)
    """Quarantine lines, by mark, or by the position of a record without a key."""
    held: dict[tuple[str, str], list[Mapping[str, Any]]] = field(default_factory=dict)
    """Event items whose partition key names a mark, by region and mark."""
    viewed: dict[str, set[str]] = field(default_factory=dict)
    """Regions that have a view whose key names a mark, by mark."""
    strangers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Quarantine lines of unknown regions, by region and unknown region. All events of an unknown region wait."""

    def __post_init__(self) -> None:
        for region in self.regions:
            for line in region.refused:
                key, _, reason = line.partition(": ")
                if " region " in key:
                    self.strangers[region.name, key.rpartition(" ")[2]] = line
                for name in [*_MARK.findall(key), *_POSITION.findall(key)]:
                    if '"reason":"' in reason:
                        self.quarantined.setdefault(name, line)
            for item in region.events:
                for name in _MARK.findall(item["pk"]["S"]):
                    self.held.setdefault((region.name, name), []).append(item)
            for key in region.views:
                for name in _MARK.findall(key):
                    self.viewed.setdefault(name, set()).add(region.name)

    def became(self, hostile: Hostile, how: str, said: str) -> Became:
        """Judge one input, given the answer of its door."""
        if how == WRONG:
            return Became(hostile, WRONG, said)
        line = (
            self.quarantined.get(hostile.mark)
            or self.quarantined.get(position_of(hostile.number), "")
            or self.strangers.get((hostile.region, region_in(hostile)), "")
        )
        others = [region.name for region in self.regions if region.name != hostile.region]
        if hostile.kind is FORK:
            return self._fork(hostile, line, others)
        copies = [name for name in others if (name, hostile.mark) in self.held]
        if how == HARMLESS:
            return self._harmless(hostile, said, line, others)
        if how == REFUSED:
            there = [*copies, *([hostile.region] if (hostile.region, hostile.mark) in self.held else [])]
            if there or hostile.mark in self.viewed:
                return Became(hostile, WRONG, f"refused ({said}), but found in {', '.join(there) or 'a view'}")
            return Became(hostile, REFUSED, said)
        if not line:
            return Became(
                hostile, WRONG, f"not listed in a quarantine; copied to {copies}, views {self.viewed.get(hostile.mark)}"
            )
        if hostile.kind.travels:
            wrong = "not copied unchanged" if self._changed(hostile, others) else ""
        else:
            wrong = f"copied to {', '.join(copies)}" if copies else ""
        if hostile.mark in self.viewed:
            wrong = wrong or f"in a view of {', '.join(sorted(self.viewed[hostile.mark]))}"
        return Became(hostile, WRONG if wrong else QUARANTINED, f"{wrong}: {line}" if wrong else line)

    def _fork(self, hostile: Hostile, line: str, others: Collection[str]) -> Became:
        digest = hostile.sent["digest"]["B"]
        spread = [
            name for name in others for item in self.held.get((name, hostile.mark), ()) if item["digest"]["B"] == digest
        ]
        wrong = f"copied to {spread}" if spread else "" if line else "not listed in a quarantine"
        return Became(hostile, WRONG if wrong else QUARANTINED, wrong or line)

    def _harmless(self, hostile: Hostile, said: str, line: str, others: Collection[str]) -> Became:
        if line and HARMLESS in hostile.kind.expected:
            return Became(hostile, WRONG, f"declared harmless, but quarantined: {line}")
        if HARMLESS in hostile.kind.expected and self._changed(hostile, others):
            return Became(hostile, WRONG, f"declared harmless, but not unchanged in every region: {said}")
        return Became(hostile, HARMLESS, said)

    def _changed(self, hostile: Hostile, others: Iterable[str]) -> bool:
        own = [bytes(item["digest"]["B"]) for item in self.held.get((hostile.region, hostile.mark), ())]
        copies = [[bytes(i["digest"]["B"]) for i in self.held.get((name, hostile.mark), ())] for name in others]
        sent = [hostile.sent["digest"]["B"]] if hostile.kind.door == STREAM else own
        return not own or own != sent or any(copy != own for copy in copies)


def regions_wrong(regions: Sequence[Region], good: Mapping[tuple[str, int], bytes]) -> list[str]:
    """Return the failures of the regions that no single input explains: acknowledged good events that are missing or
    changed, and views that differ."""
    wrong: list[str] = []
    for region in regions:
        held = {(item["pk"]["S"], item["sk"]["S"]): item for item in region.events}
        for (lane, sequence), digest in good.items():
            item = held.get((lane, f"{sequence:016d}"))
            if item is None:
                wrong.append(f"good event {lane} {sequence} is not in {region.name}")
            elif bytes(item["digest"]["B"]) != digest or content_digest(item) != digest:
                wrong.append(f"good event {lane} {sequence} differs in {region.name}")
    first, *rest = regions
    for region in rest:
        keys = sorted(first.views.keys() | region.views.keys())
        differing = [key for key in keys if first.views.get(key) != region.views.get(key)]
        wrong += [f"view {key[:80]} differs between {first.name} and {region.name}" for key in differing]
    return wrong


def tally(became: Iterable[Became]) -> dict[tuple[str, str], Counter[str]]:
    """Return counts of outcomes by (door, kind), in order of doors and kinds."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for each in became:
        counts = found.setdefault((each.hostile.kind.door, each.hostile.kind.name), Counter())
        counts["sent"] += 1
        counts[each.how] += 1
        counts["not as it should be"] += not each.right
    return dict(sorted(found.items()))
