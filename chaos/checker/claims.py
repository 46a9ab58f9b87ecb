"""Claims: at most one owner at a time, told from the claims' events and from what the claimants were told."""

from __future__ import annotations

from itertools import pairwise
from math import inf

from chaos.checker.causes import by_lane
from chaos.checker.history import Call, Finals, History, Outcome
from chaos.checker.verdict import Verdict

_CLAIMED, _RELEASED = "meridian.claimed", "meridian.released"


def check_claims(verdict: Verdict, history: History, finals: Finals) -> None:
    """Judge claims under the home-region rule: every claim's events are in one lane, and tell who owned it when."""
    claims = {call.value["stream"] for call in history.calls if call.name in ("claim", "release")}
    for region, final in finals.items():
        walked: dict[str, str | None] = dict.fromkeys(claims)
        lanes = by_lane([kept for kept in final.events if kept.type in (_CLAIMED, _RELEASED)])
        homes: dict[str, str] = {}
        for lane, held in lanes.items():
            stream = held[0].stream
            if homes.setdefault(stream, lane) != lane:
                verdict.breach("claims", f"{region}: {stream} was claimed in {homes[stream]} and in {lane}")
            owner: str | None = None
            for kept in held:
                who = str(kept.payload["owner"])
                verdict.look("claims")
                if kept.type == _CLAIMED:
                    if owner not in (None, who):
                        verdict.breach("claims", f"{region}: {lane} {kept.sequence} gave it to {who} while {owner} had it")
                    owner = who
                elif owner == who:
                    owner = None
            walked[stream] = owner
        for stream, owner in walked.items():
            if stream in final.owners and final.owners[stream] != owner:
                verdict.breach(
                    "claims", f"{region}: {stream} is {owner}'s by its events, and a reader is told {final.owners[stream]}"
                )
    _told(verdict, history)


def _told(verdict: Verdict, history: History) -> None:
    """Two claimants cannot both be told that they have it, unless the one may have given it up before."""
    granted: dict[str, list[Call]] = {}
    released: dict[str, list[Call]] = {}
    for call in history.calls:
        if any(event.digest in history.gone for event in call.events):
            continue
        if call.name == "claim" and call.outcome is Outcome.OK:
            granted.setdefault(call.value["stream"], []).append(call)
        elif call.name == "release" and call.outcome is not Outcome.FAIL:
            released.setdefault(call.value["stream"], []).append(call)
    for stream, grants in granted.items():
        for one, other in pairwise(sorted(grants, key=lambda call: call.began)):
            verdict.look("claims")
            if one.value["owner"] == other.value["owner"] or (other.done or 0) < (one.done or 0):
                continue
            if not any(
                each.value["owner"] == one.value["owner"]
                and each.began < (other.done or 0)
                and (each.done or inf) > one.began
                for each in released.get(stream, ())
            ):
                verdict.breach(
                    "claims", f"{stream} was granted to {one.value['owner']} in call {one.number}, and to "
                    f"{other.value['owner']} in call {other.number}",
                )  # fmt: skip
