"""Places that were given again after a region lost its data: who had seen what was there before had not seen what is."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.checker.causes import Change, Knowledge
from chaos.checker.claim_values import explain
from chaos.checker.history import Call, Kept, Outcome

LOST, OTHER = "ap-southeast-2", "eu-west-1"
STREAM = "thing/0"
EARLY, LATE = "0000000000001-00000", "0000000000002-00000"


def kept(region: str, sequence: int, hlc: str, type: str, **said: Any) -> Kept:
    payload = {"id": f"{region}.{sequence}", **said}
    return Kept(f"{region}#thing#0", sequence, hlc, type, payload, {}, "", "", "")


def knowledge(*events: Kept, seen: dict[str, int], gone_from: int | None) -> Knowledge:
    """All events, of which those of OTHER were written by somebody who had seen this."""
    known = Knowledge()
    for event in events:
        known.events[event.place] = event
        context = {STREAM: seen if event.region == OTHER else {}}
        call = Call(0, "a session", event.region, "write", None, context, Outcome.OK)
        known.changes[str(event.payload["id"])] = Change(call, STREAM, event.type, event.payload)
    if gone_from is not None:
        known.gone_from[f"{LOST}#thing#0"] = gone_from
    return known


def wrong(known: Knowledge, members: list[str], called: str | None = None) -> list[str]:
    vector = {LOST: 1, OTHER: 1}
    return [promise for promise, _ in explain(known, STREAM, vector, {"count": 0, "members": members, "called": called})]


@pytest.mark.parametrize(
    ("seen", "gone_from", "with_it", "without_it"),
    [
        pytest.param(1, None, ["sets"], [], id="nothing is gone: it was removed"),
        pytest.param(1, 2, ["sets"], [], id="what is gone came after it: it was removed"),
        pytest.param(0, 1, [], ["sets"], id="nothing of that lane had been seen: it was not"),
        pytest.param(1, 1, [], [], id="it or what was there before, nobody can tell"),
    ],
)
def test_members(seen: int, gone_from: int | None, with_it: list[str], without_it: list[str]) -> None:
    joined = kept(LOST, 1, EARLY, "joined", who="m")
    left = kept(OTHER, 1, LATE, "left", who="m")
    known = knowledge(joined, left, seen={LOST: seen}, gone_from=gone_from)
    assert wrong(known, ["m"]) == with_it
    assert wrong(known, []) == without_it


@pytest.mark.parametrize(
    ("seen", "gone_from", "legal"), [(1, None, {"new"}), (1, 2, {"new"}), (0, 1, {"old", "new"}), (1, 1, {"old", "new"})]
)
def test_names(seen: int, gone_from: int | None, legal: set[str]) -> None:
    old, new = kept(LOST, 1, EARLY, "named", to="old"), kept(OTHER, 1, LATE, "named", to="new")
    known = knowledge(old, new, seen={LOST: seen}, gone_from=gone_from)
    assert {name for name in ("old", "new", None) if not wrong(known, [], name)} == legal
