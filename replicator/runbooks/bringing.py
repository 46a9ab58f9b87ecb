"""Bringing regions up to what others hold, until heads and digests agree; and proving it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from replicator.audit.comparison import MISSING, Comparison, compare
from replicator.audit.mending import Mender
from replicator.claims.homes import KEY, SCOPE, Homes
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import ACTIVE, known_roles, read_role, tell_role
from replicator.runbooks import parts
from replicator.runbooks.runbook import Going, Runbook, Stopped, Tell
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


class BringUp(Runbook):
    """The runbooks that bring `region` up to what the others hold, its own lanes included, and prove it.

    For that every other region must answer, or be `without`: one that does not may be the one that has the latest events.
    `capacity` limits what is written to each region, in write units a second (0: no limit); `wait` is in seconds.
    """

    def __init__(
        self,
        system: System,
        region: str,
        *,
        capacity: float = 0.0,
        without: tuple[str, ...] = (),
        wait: float = 60.0,
        force: bool = False,
    ) -> None:
        super().__init__(system, {"region": region})
        self.region = region
        self.capacity = capacity
        self.without = without
        self.wait = wait
        self.force = force

    def coordinator(self) -> str:
        """Another region, unless there is none."""
        return min((other for other in self.system.answering() if other != self.region), default=self.region)

    def check(self) -> None:
        check_answering(self.system, self.region, self.without)
        role = parts.role_as_it_is(self.system, self.region, self.system.places.keys() - self.system.answering().keys())
        own = read_role(self.system.at(self.region).control)
        if not self.force and own is not None and role.active:
            raise Stopped(
                f"{self.region} is active, and its tables are its own: there is nothing to bring up, and it would take no "
                "appends meanwhile. `replicator verify` and `repair` compare and copy without that; --force does it all the "
                "same"
            )

    def stale(self, found: Mapping[str, Found]) -> bool:
        fenced = found.get("fence", {})
        if not fenced or self.region not in self.system.answering():
            return False
        place = self.system.at(self.region)
        own = read_role(place.control)
        return own is None or own.why != fenced["why"] or place.tables() != fenced["tables"]

    def _close(self, going: Going, role: str) -> Found:
        """Fence the region by this role."""
        tables = self.system.at(self.region).tables()
        found = parts.set_role(self.system, self.region, role, going.run)
        self.system.sleep(self.system.lease)  # what is not checked in its own transaction notices within that time
        return {**found, "tables": tables}

    def _control(self, going: Going) -> Found:
        """Give the region what the others know of claims' homes and of roles: its own control state may be gone."""
        place = self.system.at(self.region)
        homes = parts.newest_homes(self.system)
        held = Homes.read(place.control)
        if homes is not None and (held is None or held.age < homes.age):
            place.control.swap(SCOPE, KEY, held.value if held else None, homes.value)
        for other, there in self.system.answering().items():
            if other != self.region:
                known = {**known_roles(there.control)}
                if (role := read_role(there.control)) is not None:
                    known[other] = role
                for named, told in known.items():
                    if named != self.region:
                        tell_role([place.control], named, told)
        return {"homes": homes is not None}

    def _copy(self, going: Going) -> Found:
        return bring_up(self.system, self._places(), going.tell, self.capacity)

    def _prove(self, going: Going) -> Found:
        again = f"run `replicator {self.kind} {self.region}` again"
        comparison = prove(self.system, self._places(), self.region, self.wait, going.tell, again, self.capacity)
        return {"lanes": comparison.lanes, "events": comparison.events}

    def _unfence(self, going: Going) -> Found:
        """Let the region take appends, if it still has the tables that it was brought up with, and its role."""
        why, tables = going.run, going.found["fence"]["tables"]
        place = self.system.at(self.region)
        own = read_role(place.control)
        if own is None or own.why != why or place.tables() != tables:
            raise Stopped(
                f"{self.region} is not what it was when it was fenced: its tables or its role were changed. Run this again"
            )
        return parts.set_role(self.system, self.region, ACTIVE, why, tables=tables)

    def _places(self) -> dict[str, Place]:
        check_answering(self.system, self.region, self.without)
        return self.system.answering()

    def _notes(self, going: Going) -> list[str]:
        """What was copied and proven, for people."""
        copied = ", ".join(f"{link} {count:,}" for link, count in going.found["copy"]["copied"].items() if count)
        proved = going.found["prove"]
        return [
            f"copied: {copied or 'nothing, all was there'}",
            f"proved: {proved['events']:,} events in {proved['lanes']:,} lanes have the same heads and digests",
        ]
