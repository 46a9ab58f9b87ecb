"""Run records of runbooks in a region's control table: the run itself, and each step before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replicator.control.control_storage import ControlStorage, Value

RUNS_SCOPE = "runs"
Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """Record of a run: `args` are its arguments; times are in milliseconds since the epoch. `end` is empty while it is open,
    then "done" or "abandoned"."""

    run: str
    kind: str
    args: Mapping[str, str]
    begun: int
    ended: int | None = None
    end: str = ""

    @property
    def value(self) -> Value:
        return {"kind": self.kind, "args": dict(self.args), "begun": self.begun, "ended": self.ended, "end": self.end}

    @classmethod
    def parse(cls, run: str, value: Mapping[str, Any]) -> Header:
        return cls(run, value["kind"], value["args"], int(value["begun"]), value["ended"], value["end"])

    @property
    def text(self) -> str:
        """Command line of the run."""
        return " ".join([self.kind, *self.args.values()])


def headers(control: ControlStorage) -> list[Header]:
    """Return every run recorded in a region, in the order of their beginning."""
    found = [Header.parse(run, value) for run, value in control.get_all(RUNS_SCOPE)]
    return sorted(found, key=lambda header: (header.begun, header.run))


def steps_of(control: ControlStorage, run: str) -> dict[str, Value]:
    """Return a run's started steps, by name: {began, ended, found}."""
    return {key.partition("-")[2]: value for key, value in control.get_all(f"run#{run}")}


def note_step(control: ControlStorage, run: str, number: int, name: str, value: Value) -> None:
    """Record the state of a step."""
    control.put(f"run#{run}", {f"{number:02d}-{name}": value})


def note_header(control: ControlStorage, before: Header | None, after: Header) -> bool:
    """Record a run, if its record is still `before`."""
    return control.swap(RUNS_SCOPE, after.run, before.value if before else None, after.value)
