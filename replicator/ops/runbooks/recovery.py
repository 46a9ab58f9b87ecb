"""Recovery: the common part of bringing a region up, whether it is new (Bootstrap) or gets its writers back (Failback)."""

from __future__ import annotations

from collections.abc import Mapping

from replicator.claims.homes import KEY, SCOPE, Homes
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import ACTIVE, known_roles, read_role, tell_role
from replicator.ops.runbooks import bring_up, steps
from replicator.ops.runbooks.runbook import Going, Runbook, Stopped
from replicator.ops.runbooks.runs import Found
from replicator.ops.system import Place, System


class Recovery(Runbook):
    """Fence `region`, bring it up from the others, prove it, let it accept appends.

    Every other region must answer, or be `without`, since one that does not may be the one that has the latest events.
    `capacity` limits the writes to each region, in write units per second (0: no limit).
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
        self.force = force
        self.wait = wait

    def coordinator(self) -> str:
        """Return the region that keeps the record of a recovery: another one, unless there is none."""
        return min((other for other in self.system.answering() if other != self.region), default=self.region)

    def check(self) -> None:
        self._check_answering()
        self._insist_on_reason()

    def stale(self, found: Mapping[str, Found]) -> bool:
        """Return whether the region's tables or role differ from those that an open run has fenced: then nothing that it has
        done holds."""
        fenced = found.get("fence", {})
        if not fenced or self.region not in self.system.answering():
            return False
        place = self.system.at(self.region)
        own = read_role(place.control)
        return own is None or own.why != fenced["why"] or place.tables() != fenced["tables"]

    def _check_answering(self) -> None:
        """Raise unless the region, and every other one that is not left out, answers."""
        system, region, without = self.system, self.region, self.without
        system.at(region)
        for name in without:
            system.at(name)
        if region in without or len(system.places) < 2:
            raise InvalidConfig(f"{region} cannot be brought up without {', '.join(without) or 'any other'}; name its peers")
        up = system.answering()
        if there := sorted(set(without) & up.keys()):
            raise InvalidConfig(f"--without {', '.join(there)}: it answers, so it is not lost; remove it from --without")
        silent = system.places.keys() - up.keys() - set(without)
        if region in silent:
            raise RegionUnavailable(
                f"{region} does not answer; bring it back first (`terraform apply`), then run this again"
            )
        if silent:
            named = ", ".join(sorted(silent))
            raise RegionUnavailable(
                f"{named} does not answer, and may be the one that has the latest events of {region}'s lanes. Wait for it; "
                f"or, if it is lost for good, accept that with --without {','.join(sorted(silent))}"
            )

    def _insist_on_reason(self) -> None:
        """Raise Stopped for a region that is active with its own tables: bringing it up would only fence it for a while. A
        region that has written nothing but heartbeats is new, and has no writers."""
        system, region = self.system, self.region
        role = steps.role_as_it_is(system, region, system.places.keys() - system.answering().keys())
        own = read_role(system.at(region).control)
        if not self.force and own is not None and role.active and steps.has_written(system.at(region)):
            raise Stopped(
                f"{region} is active, and its tables are its own: there is nothing to bring up, and it would take no "
                "appends while it runs. `replicator verify` and `repair` compare and copy without that; --force runs it "
                "anyway"
            )

    def _places(self) -> dict[str, Place]:
        self._check_answering()
        return self.system.answering()

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _shut(self, going: Going, name: str) -> Found:
        """Give the region a role that accepts no appends, and wait until every writer has noticed."""
        tables = self.system.at(self.region).tables()
        found = steps.set_role(self.system, self.region, name, going.run)
        self.system.sleep(self.system.lease)  # writes without a condition check notice within that time
        return {**found, "tables": tables}

    def _control(self, going: Going) -> Found:
        """Give the region the others' knowledge of claims' homes and of roles: its own control state may be gone."""
        place = self.system.at(self.region)
        homes = steps.newest_homes(self.system)
        held = Homes.read(place.control)
        if homes is not None and (held is None or held.age < homes.age):
            place.control.swap(SCOPE, KEY, held.value if held else None, homes.value)
        for other, there in self.system.answering().items():
            if other != self.region:
                known = {**known_roles(there.control)}
                if (role := read_role(there.control)) is not None:
                    known[other] = role
                for named, role in known.items():
                    if named != self.region:
                        tell_role([place.control], named, role)
        return {"homes": homes is not None}

    def _copy(self, going: Going) -> Found:
        return bring_up.bring_up(self.system, self._places(), going.tell, self.capacity)

    def _prove(self, going: Going) -> Found:
        again, places = f"run `replicator {self.kind} {self.region}` again", self._places()
        comparison = bring_up.prove(self.system, places, self.region, self.wait, going.tell, again, self.capacity)
        return {"lanes": comparison.lanes, "events": comparison.events}

    def _unfence(self, going: Going) -> Found:
        """Let the region accept appends. Raises Stopped when its tables or its role are not the ones that were fenced."""
        place, tables = self.system.at(self.region), going.found["fence"]["tables"]
        own = read_role(place.control)
        if own is None or own.why != going.run or place.tables() != tables:
            raise Stopped(
                f"{self.region} has changed since it was fenced: its tables or its role are others. Run this again"
            )
        return steps.set_role(self.system, self.region, ACTIVE, going.run, tables=tables)

    def _notes(self, going: Going) -> list[str]:
        """Return notes on what was copied and proven."""
        found, proved = going.found, going.found["prove"]
        copied = ", ".join(f"{link} {count:,}" for link, count in found["copy"]["copied"].items() if count)
        return [
            f"copied: {copied or 'nothing, all events were there'}",
            f"proved: {proved['events']:,} events in {proved['lanes']:,} lanes have the same heads and digests",
        ]
