"""Bringing regions up to what others hold, until heads and digests agree; and proving it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from replicator.audit.comparison import MISSING, Comparison, compare
from replicator.audit.mending import Mender
from replicator.claims.homes import KEY, SCOPE, Homes
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import ACTIVE, known_roles, read_role, tell_role
from replicator.runbooks import parts
from replicator.runbooks.runbook import Stopped, Tell
from replicator.runbooks.runs import Found
from replicator.system import Place, System

_ROUNDS = 20
_ENOUGH = 3
"""After so many rounds what is left is what is written meanwhile, which the links and the proof look after."""
_FEW = 100
_PROOFS = 3
_PROOF_SECONDS = 10.0
_TOLD_LANES = 1000


def check_answering(system: System, region: str, without: Collection[str]) -> None:
    """Raise unless `region`, and every other one that is not left out, answers: the one that does not may be the one that
    has the latest events of its lanes."""
    system.at(region)
    for name in without:
        system.at(name)
    if region in without or len(system.places) < 2:
        raise InvalidConfig(f"{region} cannot be brought up without {', '.join(without) or 'any other'}; name its peers")
    up = system.answering()
    if there := sorted(set(without) & up.keys()):
        raise InvalidConfig(f"--without {', '.join(there)}: it answers, so it is not gone; leave it in")
    silent = system.places.keys() - up.keys() - set(without)
    if region in silent:
        raise RegionUnavailable(f"{region} does not answer; bring it back first (`terraform apply`), then run this again")
    if silent:
        named = ", ".join(sorted(silent))
        raise RegionUnavailable(
            f"{named} does not answer, and may be the one that has the latest events of {region}'s lanes. Wait for it; or, "
            f"if it is gone for good, accept that with --without {','.join(sorted(silent))}"
        )


def bring_up(system: System, places: Mapping[str, Place], tell: Tell, capacity: float = 0.0, of: str | None = None) -> Found:
    """Copy what each of these regions lacks from whichever has it, until no more is missing than is written meanwhile.
    Returns {rounds, copied, refused}. What is forked stays as it is.

    Killed at any point, it goes on with what is still missing.
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
    raise Stopped(f"regions still do not agree after {_ROUNDS} rounds of copying: {mended.left} are throttled; run again")


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
            places, system.sleep, min(wait, _PROOF_SECONDS), tell=tell, only=lambda finding: parts.concerns(finding, {about})
        )
        if not comparison.of(MISSING):
            break
        # Nobody has copied these meanwhile: links may be down still, so we do.
        Mender(places, system.sleep, system.monotonic, capacity).mend()
    parts.insist(system, comparison, about, again)
    tell(f"proved: {comparison.events:,} events in {comparison.lanes:,} lanes have the same heads and digests")
    return comparison


def hand_over_control(system: System, region: str) -> Found:
    """Give an emptied region what the others know of claims' homes and of roles: its own control state may be gone."""
    place = system.at(region)
    homes = parts.newest_homes(system)
    held = Homes.read(place.control)
    if homes is not None and (held is None or held.age < homes.age):
        place.control.swap(SCOPE, KEY, held.value if held else None, homes.value)
    for other, there in system.answering().items():
        if other != region:
            known = {**known_roles(there.control)}
            if (role := read_role(there.control)) is not None:
                known[other] = role
            for named, role in known.items():
                if named != region:
                    tell_role([place.control], named, role)
    return {"homes": homes is not None}


def replaced(system: System, region: str, found: Mapping[str, Found]) -> bool:
    """Whether a region's tables, or its role, are others than those that an open run has fenced: then nothing that it has
    done holds."""
    fenced = found.get("fence", {})
    if not fenced or region not in system.answering():
        return False
    place = system.at(region)
    own = read_role(place.control)
    return own is None or own.why != fenced["why"] or place.tables() != fenced["tables"]


def unfence(system: System, region: str, why: str, tables: Mapping[str, str]) -> Found:
    """Let a region take appends that was brought up and proven with these tables. Raises Stopped when it has others now, or
    somebody else has changed its role since."""
    place = system.at(region)
    own = read_role(place.control)
    if own is None or own.why != why or place.tables() != tables:
        raise Stopped(f"{region} is not what it was when it was fenced: its tables or its role were changed. Run this again")
    return parts.set_role(system, region, ACTIVE, why, tables=tables)


def coordinator(system: System, region: str) -> str:
    """Who keeps the record of a region's coming back: another one, unless there is none."""
    return min((other for other in system.answering() if other != region), default=region)


def insist_on_reason(system: System, region: str, force: bool) -> None:
    """Raise Stopped for a region that is active with its own tables: to bring it up would only fence it for a while."""
    role = parts.role_as_it_is(system, region, system.places.keys() - system.answering().keys())
    own = read_role(system.at(region).control)
    if not force and own is not None and role.active:
        raise Stopped(
            f"{region} is active, and its tables are its own: there is nothing to bring up, and it would take no appends "
            "meanwhile. `replicator verify` and `repair` compare and copy without that; --force does it all the same"
        )
