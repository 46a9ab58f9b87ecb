"""Campaign: many scenarios one after another, once each or with further seeds for a given time. Each result is written to a
file as soon as it is known, and an interrupted campaign resumes from that file."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.report.files import replace_text
from chaos.scenarios.places import NotRun
from chaos.scenarios.result import Result
from chaos.scenarios.scenario import Scenario
from replicator.domain.errors import InvalidConfig, MeridianError, place

Run = Callable[[Scenario, int], Result | NotRun]
Found = dict[str, Any]
"""Result of a scenario, as JSON: Result.as_json, NotRun.as_json, or {scenario, title, seed, kept: false, error}."""


def read_found(file: Path) -> list[Found]:
    """Read the results that `chaos run --json` wrote. Raises InvalidConfig when the file holds something else."""
    try:
        told = json.loads(file.read_text(), parse_constant=_refuse)
        if isinstance(told, list) and all(_is_found(each) for each in told):
            return told
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"{file} cannot be read: {error}; name a file that `chaos run --json` wrote") from None
    raise InvalidConfig(f"{file} does not hold results of scenarios; name a file that `chaos run --json` wrote")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _is_found(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("scenario"), str)
        and isinstance(each.get("title"), str)
        and type(each.get("seed")) is int
        and "kept" in each
        and (each["kept"] is None or type(each["kept"]) is bool)
        and type(each.get("seconds", 0)) in (int, float)
        and type(each.get("acknowledged_events", 0)) is int
    )


@dataclass
class Campaign:
    """Campaign over scenarios. `seconds`: go on with further seeds until they have passed (0: every scenario once). `file`:
    None keeps nothing."""

    scenarios: Sequence[Scenario]
    seed: int
    seconds: float = 0.0
    file: Path | None = None
    given: Sequence[str] = ()
    """The name that each scenario was given by: its name, or its file's path (empty: its name)."""
    endpoints: Sequence[str] = ()
    """Endpoints as they were given, to distinguish this campaign from one elsewhere."""
    found: list[Found] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def resume(self) -> int:
        """Load the results in the file. Returns how many there are. Raises InvalidConfig when it holds something else."""
        if self.file is not None and self.file.exists():
            self.found = read_found(self.file)
        return len(self.found)

    def run(self, run: Run) -> Iterator[tuple[Scenario, int, Result | NotRun | MeridianError]]:
        """Yield the result of each scenario, when it is over. One that failed to run, for whatever reason, is broken, and
        the next one begins; InvalidConfig ends the campaign."""
        began = self.clock()
        done = {(each.get("given", each["scenario"]), each["seed"], tuple(each.get("asked", ()))) for each in self.found}
        lasted = sum(float(each.get("seconds", 0.0)) for each in self.found)
        seed = self.seed
        while True:
            for given, scenario in self._order(seed):
                if self.seconds and lasted + self.clock() - began >= self.seconds:
                    return
                if (given, seed, tuple(self.endpoints)) not in done:
                    yield scenario, seed, self._one(run, given, scenario, seed)
            seed += 1
            if not self.seconds or not any(each["kept"] is not None for each in self.found):
                return

    def _order(self, seed: int) -> Sequence[tuple[str, Scenario]]:
        """Return the scenarios as they were named; shuffled by the seed where time may run out before each had its turn."""
        order = list(zip(self.given or [each.name for each in self.scenarios], self.scenarios, strict=True))
        if self.seconds:
            random.Random(f"{seed}/order").shuffle(order)
        return order

    def _one(self, run: Run, given: str, scenario: Scenario, seed: int) -> Result | NotRun | MeridianError:
        began = self.clock()
        found: Result | NotRun | MeridianError
        try:
            found = run(scenario, seed)
            told = found.as_json()
        except InvalidConfig:
            raise
        except Exception as error:
            found = error if isinstance(error, MeridianError) else MeridianError(f"{place(error)}: {error}")
            told = {"scenario": scenario.name, "title": scenario.title, "seed": seed, "kept": False, "error": str(found)}
        asked = {"given": given, "asked": list(self.endpoints), "seconds": round(self.clock() - began, 1)}
        self.found.append({**told, **asked})
        self._keep()
        return found

    def _keep(self) -> None:
        if self.file is not None:
            replace_text(self.file, json.dumps(self.found, indent=1) + "\n")

    @property
    def kept(self) -> bool:
        """Whether something was run, and every promise was kept in all runs."""
        done = [each["kept"] for each in self.found if each["kept"] is not None]
        return bool(done) and all(done)

    def summary(self) -> str:
        """Return a summary in one line."""
        kept, broken, not_run = (sum(each["kept"] is state for each in self.found) for state in (True, False, None))
        events = sum(each.get("acknowledged_events", 0) for each in self.found)
        seconds = sum(each.get("seconds", 0) for each in self.found)
        return (
            f"{kept} of {len(self.found)} kept, {broken} not, {not_run} not run; {events:,} events acknowledged in "
            f"{seconds / 60:.1f} min"
        )
