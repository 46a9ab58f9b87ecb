"""Bring-up: copies to regions what others hold until heads and digests agree, and proves it."""

from __future__ import annotations

from collections.abc import Mapping

from replicator.ops.audit.anti_entropy import Mender
from replicator.ops.audit.comparison import MISSING, Comparison, compare
from replicator.ops.runbooks import steps
from replicator.ops.runbooks.runbook import Stopped, Tell
from replicator.ops.runbooks.runs import Found
from replicator.ops.system import Place, System

_ROUNDS = 20
_ENOUGH = 3
"""Number of rounds after which the rest is what is written meanwhile; the links and the proof handle that."""
_FEW = 100
_PROOFS = 3
_PROOF_SECONDS = 10.0
_TOLD_LANES = 1000


def bring_up(system: System, places: Mapping[str, Place], tell: Tell, capacity: float = 0.0, of: str | None = None) -> Found:
    """Copy what each of these regions lacks from any that has it, until no more is missing than is written meanwhile.
    Returns {rounds, copied, refused}. Forked lanes stay as they are.

    After a crash at any point, it resumes with what is still missing.
    """
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done - told >= _TOLD_LANES or done == total:
            told = done
            tell(f"{done:,} of {total:,} lanes brought up")

    mender = Mender(places, system.sleep, system.monotonic, capacity, progress)
    copied: dict[str, int] = {}
    for number in range(1, _ROUNDS + 1):
        told = 0
        mended = mender.mend(of)
        for link, events in mended.copied.items():
            copied[link] = copied.get(link, 0) + events
        if not mended.left and (mended.events <= _FEW or number >= _ENOUGH):
            return {"rounds": number, "copied": copied, "refused": mended.refused}
    raise Stopped(f"regions still differ after {_ROUNDS} rounds of copying: {mended.left} are throttled; run again")


def prove(
    system: System,
    places: Mapping[str, Place],
    about: str,
    wait: float,
    tell: Tell,
    again: str,
    capacity: float = 0.0,
) -> Comparison:
    """Compare these regions and raise Stopped unless every lane of the region `about`, and in it, agrees."""
    for _ in range(_PROOFS):
        comparison = compare(
            places, system.sleep, min(wait, _PROOF_SECONDS), tell=tell, only=lambda finding: steps.concerns(finding, {about})
        )
        if not comparison.of(MISSING):
            break
        # No link has copied these meanwhile: links may still be down, so copy them here.
        Mender(places, system.sleep, system.monotonic, capacity).mend()
    steps.insist(system, comparison, about, again)
    tell(f"proved: {comparison.events:,} events in {comparison.lanes:,} lanes have the same heads and digests")
    return comparison
