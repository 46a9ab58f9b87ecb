"""Runbook engine: runs one step after the other, each recorded before and after, so that a killed run resumes where it was.

Every step can be repeated: a run that was killed within one does it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.fencing.roles import known_roles, read_role
from replicator.ops.runbooks.runs import Found, Header, headers, note_header, note_step, steps_of
from replicator.ops.runbooks.summary import Summary
from replicator.ops.system import System

Tell = Callable[[str], None]


class Stopped(MeridianError):
    """The runbook cannot proceed. Its state is recorded; apply the remedy in the message, then run it again."""


@dataclass(slots=True)
class Going:
    """Run in progress: the control state that records it, and the results of its earlier steps, by name."""

    run: str
    control: ControlStorage
    found: dict[str, Found]
    tell: Tell


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `text` is its line in the plan; `do` returns the result to record."""

    name: str
    text: str
    do: Callable[[Going], Found]


class Runbook(ABC):
    """Runbook over the regions of `system`."""

    kind: ClassVar[str]

    def __init__(self, system: System, args: Mapping[str, str]) -> None:
        self.system = system
        self.args = dict(args)

    @abstractmethod
    def steps(self) -> list[Step]:
        """Return all steps in their order."""

    @abstractmethod
    def check(self) -> None:
        """Raise InvalidConfig or Stopped, before anything is recorded, when the runbook cannot be run."""

    @abstractmethod
    def summary(self, going: Going) -> Summary:
        """Return the result of the run; `seconds` and `steps` are filled in."""

    @abstractmethod
    def coordinator(self) -> str:
        """Return the region that keeps the record of a new run."""

    def stale(self, found: Mapping[str, Found]) -> bool:
        """Return whether an open run's work no longer holds, by its steps' results: then it starts again from the
        beginning."""
        return False

    def redo(self, found: Mapping[str, Found]) -> set[str]:
        """Return the steps that this command requires in another way than an earlier run of it has done them."""
        return set()

    def plan(self) -> list[Step]:
        """Return the steps that would be done, in order. Changes nothing. Raises as `check`."""
        if self._open()[0] is None:
            self.check()
        return self.steps()

    def run(self, tell: Tell = lambda _: None) -> Summary:
        """Run it, or resume an interrupted run of the same. Raises Stopped, RegionUnavailable, InvalidConfig."""
        control, header = self._open()
        if control is None or header is None:
            control, header = self._standing()
        if control is not None and header is not None and header.end:
            tell(f"{header.text} was done as {header.run}, and nothing has changed since")
            self._undo(control, header, self.redo(self._found(control, header)) | {"steer"})
        elif control is None or header is None:
            self.check()
            control = self.system.at(self.coordinator()).control
            begun = self.system.wall()
            told = sha256(" ".join(self.args.values()).encode()).hexdigest()[:4]  # two may begin within a millisecond
            header = Header(f"{self.kind}-{begun}-{told}", self.kind, self.args, begun)
            note_header(control, None, header)
        else:
            tell(f"resuming {header.text}, begun as {header.run}")
            if self.stale(self._found(control, header)):
                tell("its completed steps are no longer valid: starting from the beginning")
                self._undo(control, header, {step.name for step in self.steps()})
            else:
                self._undo(control, header, self.redo(self._found(control, header)))
        times = self._do(control, header, tell)
        going = Going(header.run, control, self._found(control, header), tell)
        done = steps_of(control, header.run)
        ended = max((value["ended"] for value in done.values() if value["ended"]), default=header.begun)
        if not header.end:
            note_header(control, header, Header(header.run, header.kind, header.args, header.begun, ended, "done"))
        made = self.summary(going)
        steered = done.get("steer")
        rto = (steered["ended"] - header.begun) / 1000 if steered else None
        return Summary(header.run, self.kind, (ended - header.begun) / 1000, rto, made.rpo, tuple(times), made.notes)

    def _do(self, control: ControlStorage, header: Header, tell: Tell) -> list[tuple[str, int, int]]:
        times = []
        for number, step in enumerate(self.steps(), 1):
            held = steps_of(control, header.run).get(step.name)
            if held is None or held["ended"] is None:
                began = self.system.wall()
                note_step(control, header.run, number, step.name, {"began": began, "ended": None, "found": {}})
                tell(f"{step.name}: {step.text}")
                found = step.do(Going(header.run, control, self._found(control, header), tell))
                held = {"began": began, "ended": self.system.wall(), "found": found}
                note_step(control, header.run, number, step.name, held)
            times.append((step.name, int(held["began"]), int(held["ended"])))
        return times

    def _undo(self, control: ControlStorage, header: Header, names: Collection[str]) -> None:
        """Mark these steps as not done, the last one first: after a crash here, the first one still shows that work is
        left."""
        held = steps_of(control, header.run)
        for number, step in reversed(list(enumerate(self.steps(), 1))):
            if step.name in held and step.name in names:
                note_step(
                    control, header.run, number, step.name, {"began": held[step.name]["began"], "ended": None, "found": {}}
                )

    def _found(self, control: ControlStorage, header: Header) -> dict[str, Found]:
        return {name: value["found"] for name, value in steps_of(control, header.run).items()}

    def _standing(self) -> tuple[ControlStorage | None, Header | None]:
        """Return the finished run of this same runbook that last decided the region's role, if that still holds."""
        up = self.system.answering()
        subject = next(iter(self.args.values()))
        told = [role for place in up.values() if (role := known_roles(place.control).get(subject)) is not None]
        here = up.get(subject)
        own = read_role(here.control) if here is not None else None
        if here is not None and (own is None or not own.is_of(here.tables())):
            return None, None
        last = max([*told, *([own] if own else [])], key=lambda role: role.epoch, default=None)
        for place in up.values():
            for header in headers(place.control):
                same = (header.kind, dict(header.args), header.end) == (self.kind, self.args, "done")
                if same and last is not None and last.why == header.run:
                    return place.control, header
        return None, None

    def _open(self) -> tuple[ControlStorage | None, Header | None]:
        """Return the run of this same runbook that is still open, with its control state. Raises Stopped when another one is
        open."""
        same: tuple[ControlStorage | None, Header | None] = None, None
        for place in self.system.answering().values():
            try:
                found = [header for header in headers(place.control) if not header.end]
            except RegionUnavailable:
                continue
            for header in found:
                if (header.kind, dict(header.args)) == (self.kind, self.args):
                    same = place.control, header
                elif set(header.args.values()) & set(self.args.values()):
                    raise Stopped(
                        f"`{header.text}` was begun and has not ended; run that again to complete it, or abandon it with "
                        f"`replicator runs --abandon {header.run}`"
                    )
        return same
