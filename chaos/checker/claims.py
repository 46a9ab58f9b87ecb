"""Checks of claims: at most one owner at a time, by the claims' events and by the answers that the claimants got."""

from __future__ import annotations

from itertools import combinations
from math import inf

from chaos.checker.calls import CLAIMS, OPTIMISTIC
from chaos.checker.causes import by_lane
from chaos.checker.history import Call, Finals, History, Outcome
from chaos.checker.verdict import Verdict

_CLAIMED, _RELEASED = CLAIMS["claim"], CLAIMS["release"]
_HOMED = CLAIMS.keys() - {OPTIMISTIC}


def check_claims(verdict: Verdict, history: History, finals: Finals) -> None:
    """Judge claims under the home-region rule: the events of each claim are in one lane, and show who owned it when."""
    claims = {call.value["stream"] for call in history.calls if call.name in _HOMED}
    others = {call.value["stream"] for call in history.calls if call.name == OPTIMISTIC}
    for region, final in finals.items():
        walked: dict[str, str | None] = dict.fromkeys(claims)
        lanes = by_lane(kept for kept in final.events if kept.type in (_CLAIMED, _RELEASED) and kept.stream not in others)
        homes: dict[str, str] = {}
        for lane, held in lanes.items():
            stream = held[0].stream
            if homes.setdefault(stream, lane) != lane:
                verdict.breach("claims", f"{region}: {stream} was claimed in {homes[stream]} and in {lane}")
            owner: str | None = None
            for kept in held:
                who = str(kept.fields.get("owner"))
                verdict.look("claims")
                if kept.type == _CLAIMED:
                    if owner not in (None, who):
                        verdict.breach(
                            "claims", f"{region}: {lane} {kept.sequence} granted it to {who} while {owner} owned it"
                        )
                    owner = who
                elif owner == who:
                    owner = None
                else:
                    verdict.breach("claims", f"{region}: {lane} {kept.sequence} is released by {who}, which did not own it")
            walked[stream] = owner
        for stream, owner in walked.items():
            if stream in final.owners and final.owners[stream] != owner:
                verdict.breach(
                    "claims", f"{region}: {stream} belongs to {owner} by its events, but a reader got {final.owners[stream]}"
                )
    _told(verdict, history)


def _told(verdict: Verdict, history: History) -> None:
    """Judge the answers to claimants. Two of them may both be granted a claim only if one may have released it in between. A
    claimant is granted it without an event only if it owned it before."""
    granted: dict[str, list[Call]] = {}
    released: dict[str, list[Call]] = {}
    asked: dict[str, list[Call]] = {}
    for call in history.calls:
        if call.name not in _HOMED:
            continue
        stream = call.value["stream"]
        if call.name == "claim":
            asked.setdefault(stream, []).append(call)
        if call.outcome is Outcome.OK and len(call.events) != 1 and (call.events or call.name == "release"):
            verdict.breach(
                "claims", f"call {call.number}, a {call.name} of {stream}, was acknowledged with {len(call.events)} events"
            )
        if call.outcome is Outcome.FAIL or any(event.digest in history.gone for event in call.events):
            continue
        if call.name == "release":
            released.setdefault(stream, []).append(call)
        elif call.outcome is Outcome.OK:
            granted.setdefault(stream, []).append(call)
    for stream, grants in granted.items():
        verdict.look("claims", len(grants))
        for grant in grants:
            if not grant.events and not _had(grant, asked[stream], released.get(stream, []), history):
                verdict.breach(
                    "claims", f"{stream} was granted to {grant.value['owner']} in call {grant.number} without an event, but "
                    "it did not own it"
                )  # fmt: skip
        for one, other in combinations(grants, 2):
            if one.value["owner"] == other.value["owner"]:
                continue
            gave_up = released.get(stream, [])
            if not _between(one, gave_up, other) and not _between(other, gave_up, one):
                verdict.breach(
                    "claims", f"{stream} was granted to {one.value['owner']} in call {one.number}, and to "
                    f"{other.value['owner']} in call {other.number}",
                )  # fmt: skip


def _between(one: Call, released: list[Call], other: Call) -> bool:
    """Return whether the owner of `one` may have released it after that grant and before the grant `other`."""
    return one.began < _end(other) and any(
        each.value["owner"] == one.value["owner"] and each.began < _end(other) and _end(each) > one.began
        for each in released
    )


def _had(grant: Call, asked: list[Call], released: list[Call], history: History) -> bool:
    """Return whether the owner of a grant without an event may have owned it already: by another claim of its own that has
    an event and that it had not certainly released."""
    owner = grant.value["owner"]
    own = [each for each in released if each.value["owner"] == owner and each.outcome is Outcome.OK]
    for claim in asked:
        if claim.value["owner"] != owner or claim.began > _end(grant):
            continue
        if not claim.events and not _may_have_been(claim, history):
            continue
        if not any(_end(claim) < each.began and _end(each) < grant.began for each in own):
            return True
    return False


def _may_have_been(claim: Call, history: History) -> bool:
    """Return whether a claim that turned out not to be written may have been stored before its region lost its data."""
    return any(event.lane.partition("#")[0] in history.lost_regions for event in claim.denied)


def _end(call: Call) -> float:
    return inf if call.done is None or call.outcome is Outcome.UNKNOWN else call.done
