"""A scenario file: YAML in the words of a Chaos Toolkit experiment, and a few of our own where it has none.

    title: A region freezes under load
    description: …
    tags: [process]
    configuration: {regions: 3, sessions: 2, seconds: 20, load: {things: 60, claims: 0}}
    steady-state-hypothesis:
      title: Writers in every region are acknowledged, and every region gets everything
      probes: [{type: probe, name: acknowledged}, {type: probe, name: arrives}]
    method:
      - {type: action, name: freeze, arguments: {region: first}, at: 5, for: 8}
    expect: {converge-within: 60, gone: 0, untested: [claims]}

Regions are named first, second, third … in an order that the seed chooses. `at` and `for` are seconds of the timeline, which
begins when the steady state is met; what has no `for` is done once. When the timeline is over everything is undone, as a
rollback would. What is not understood is refused.

With `load: {flights: 10000}` the clients report real flights, and steps may go by what becomes of these instead of by
seconds: a step begins `when` something has come about, after the steps before it, and lasts `until` something has. That is
one of chaos/scenarios/desks.py's conditions; the files of chaos/drills/files use them. `kills` is how many workers are
killed on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from chaos.checker.verdict import PROMISES
from chaos.scenarios.action import Action
from chaos.scenarios.actions import ACTIONS, make
from chaos.scenarios.desks import CONDITIONS, FlightLoad
from chaos.scenarios.scenario import ORDINALS, AnyLoad, Scenario, Step
from chaos.scenarios.visitors import Load
from replicator.domain.errors import InvalidConfig
from replicator.runtime.distribution import needed

PROBES = ("acknowledged", "arrives")
FILES = Path(__file__).parent / "files"


def load_scenario(file: Path) -> Scenario:
    """Read a scenario. Raises InvalidConfig that names what is wrong, and where."""
    with needed("scenario files need PyYAML", "chaos"):
        import yaml
    try:
        return _Reader(file.stem).scenario(yaml.safe_load(file.read_text()))
    except RecursionError:
        raise InvalidConfig(f"scenario {file} is nested too deeply; use at most 8 levels") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"scenario {file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InvalidConfig(f"scenario {file} is not YAML: {' '.join(str(error).split())}") from None


def find_scenarios() -> dict[str, Path]:
    """Return the scenarios that come with Meridian, by name."""
    return {file.stem: file for file in sorted(FILES.glob("*.yaml"))}


def find_scenario(name: str) -> Scenario:
    """Read one of Meridian's scenarios by its name, or a file by its path."""
    known = find_scenarios()
    if name in known:
        return load_scenario(known[name])
    if name.endswith((".yaml", ".yml")):
        return load_scenario(Path(name))
    raise InvalidConfig(f"there is no scenario {name!r}; `chaos list` lists them, or give the path of a .yaml file")


def _overlap(one: Step, other: Step) -> bool:
    """Return whether both last at some common time."""
    return one.at < other.ends and other.at < one.ends


class _Reader:
    """Reader that checks every part, and names the part that is wrong."""

    def __init__(self, name: str) -> None:
        self._name = name

    def scenario(self, told: Any) -> Scenario:
        top = self._keys(told, "the file", {"version", "title", "description", "tags", "configuration",
                                            "steady-state-hypothesis", "method", "expect", "rollbacks"})  # fmt: skip
        set_up = self._keys(
            top.get("configuration", {}), "configuration", {"regions", "sessions", "seconds", "load", "kills"}
        )
        load = self._load(set_up.get("load", {}))
        regions = self._number(set_up.get("regions", 3), "configuration.regions", 2, len(ORDINALS), whole=True)
        expect = self._keys(top.get("expect", {}), "expect", {"converge-within", "gone", "untested"})
        untested = tuple(self._texts(expect.get("untested", []), "expect.untested"))
        for promise in untested:
            self._choose(promise, "expect.untested", PROMISES)
        hypothesis = self._keys(top.get("steady-state-hypothesis", {}), "steady-state-hypothesis", {"title", "probes"})
        made = [
            self._step(each, f"method[{n}]", int(regions), load)
            for n, each in enumerate(self._list(top.get("method"), "method"))
        ]
        self._check_together(made)
        return Scenario(
            self._name,
            self._text(top.get("title"), "title"),
            self._text(top.get("description"), "description"),
            tuple(self._texts(top.get("tags", []), "tags")),
            int(regions),
            int(self._number(set_up.get("sessions", 2), "configuration.sessions", 1, 20, whole=True)),
            self._number(set_up.get("seconds", 20), "configuration.seconds", 1, 86_400),
            load,
            tuple(
                self._probe(each, f"steady-state-hypothesis.probes[{n}]")
                for n, each in enumerate(self._list(hypothesis.get("probes", []), "steady-state-hypothesis.probes"))
            ),
            tuple(step for step, _ in made),
            self._number(expect.get("converge-within", 120), "expect.converge-within", 1, 86_400),
            untested,
            int(self._number(expect.get("gone", 0), "expect.gone", 0, 10**9, whole=True)),
            int(self._number(set_up.get("kills", 0), "configuration.kills", 0, 10_000, whole=True)),
        )

    def _check_together(self, made: list[tuple[Step, Action]]) -> None:
        """Check steps against each other: each may be sound by itself and make no sense with others."""
        backed_up: set[str] = set()
        for number, (step, action) in sorted(enumerate(made), key=lambda each: each[1][0].at):
            where = f"method[{number}] ({step.name} at {step.at:g} s)"
            if step.name == "backup":
                backed_up.add(action.region)
            if step.name == "restore" and action.region not in backed_up:
                raise self._wrong(where, "has nothing to restore from", f"add an earlier step `backup` of {action.region}")
            for other, (before, held) in enumerate(made[:number]):
                both = ", ".join(sorted(held.holds & action.holds)) if _overlap(before, step) else ""
                if both:
                    raise self._wrong(
                        where,
                        f"overlaps method[{other}] ({before.name} at {before.at:g} s): both act on {both}",
                        "the end of one would undo the other; let one end before the other begins",
                    )

    def _step(self, told: Any, where: str, regions: int, load: AnyLoad) -> tuple[Step, Action]:
        waits = ("when", "until") if isinstance(load, FlightLoad) else ()
        step = self._keys(told, where, {"type", "name", "arguments", "at", "for", *waits})
        self._choose(step.get("type", "action"), f"{where}.type", ("action",))
        name = self._choose(step.get("name"), f"{where}.name", ACTIONS)
        action = ACTIONS[name]
        arguments = self._keys(step.get("arguments", {}), f"{where}.arguments", set(action.takes))
        for key in action.required:
            if key not in arguments:
                raise self._wrong(f"{where}.arguments", f"lacks {key!r}", f"{name} takes {', '.join(action.takes)}")
        for key in ("region", "to", "from"):
            if key in arguments:
                self._choose(arguments[key], f"{where}.arguments.{key}", ORDINALS[:regions])
        at = self._number(step.get("at", 0), f"{where}.at", 0, 86_400)
        lasts = None if "for" not in step else self._number(step["for"], f"{where}.for", 0.1, 86_400)
        when, until = (self._choose(step[key], f"{where}.{key}", CONDITIONS) if key in step else None
                       for key in ("when", "until"))  # fmt: skip
        if action.lasting and lasts is None and until is None:
            raise self._wrong(where, "lacks 'for'", f"give the seconds that {name} lasts")
        for key, found in (("for", lasts), ("until", until)):
            if found is not None and not action.lasting:
                raise self._wrong(f"{where}.{key}", f"is {found}", f"{name} happens once; leave it out")
        try:
            made = make(name, arguments)
        except (TypeError, InvalidConfig) as error:
            raise self._wrong(
                f"{where}.arguments", f"are invalid: {error}", f"{name} takes {', '.join(action.takes)}"
            ) from None
        for region in made.acts_on:
            self._choose(region, f"{where}.arguments", ORDINALS[:regions])
        return Step(name, arguments, at, lasts, when, until), made

    def _probe(self, told: Any, where: str) -> str:
        probe = self._keys(told, where, {"type", "name"})
        self._choose(probe.get("type", "probe"), f"{where}.type", ("probe",))
        return self._choose(probe.get("name"), f"{where}.name", PROBES)

    def _load(self, told: Any) -> AnyLoad:
        where = "configuration.load"
        if isinstance(told, Mapping) and "flights" in told:
            return self._flights(told, where)
        names = {each.name for each in fields(Load)}
        load = self._keys(told, where, names)
        whole = {"things": 100_000, "seats": 100_000, "largest": 90}
        read = {
            key: self._number(value, f"{where}.{key}", 1 if key in whole else 0, whole.get(key, 60), whole=key in whole)
            for key, value in load.items()
        }
        return Load(**{key: int(value) if key in whole else value for key, value in read.items()})  # type: ignore[arg-type]

    def _flights(self, told: Any, where: str) -> FlightLoad:
        load = self._keys(told, where, {each.name for each in fields(FlightLoad)})
        everything = load["flights"] == "all"
        count = None if everything else int(self._number(load["flights"], f"{where}.flights", 1, 600_000, whole=True))
        stay = load.get("stay", False)
        if not isinstance(stay, bool):
            raise self._wrong(f"{where}.stay", f"is {stay!r}", "give true or false")
        return FlightLoad(count, self._number(load.get("outage", 0), f"{where}.outage", 0, 3_600), stay)

    def _keys(self, told: Any, where: str, known: set[str]) -> Mapping[str, Any]:
        if not isinstance(told, Mapping):
            raise self._wrong(where, f"is {told!r}", "give keys and values")
        for key in told:
            if key not in known:
                raise self._wrong(where, f"has the key {key!r}", f"choose from {', '.join(sorted(known)) or 'no keys'}")
        return told

    def _list(self, told: Any, where: str) -> list[Any]:
        if not isinstance(told, list):
            raise self._wrong(where, f"is {told!r}", "give a list")
        return told

    def _text(self, told: Any, where: str) -> str:
        if not isinstance(told, str) or not told.strip():
            raise self._wrong(where, f"is {told!r}", "give a text")
        return " ".join(told.split())

    def _texts(self, told: Any, where: str) -> list[str]:
        return [self._text(each, where) for each in self._list(told, where)]

    def _choose(self, told: Any, where: str, known: Any) -> str:
        if told not in list(known):
            raise self._wrong(where, f"is {told!r}", f"choose from {', '.join(known)}")
        return str(told)

    def _number(self, told: Any, where: str, least: float, most: float, *, whole: bool = False) -> float:
        if type(told) not in ((int,) if whole else (int, float)) or not least <= told <= most:
            raise self._wrong(where, f"is {told!r}", f"give a {'whole ' if whole else ''}number from {least:g} to {most:g}")
        return float(told)

    def _wrong(self, where: str, what: str, remedy: str) -> InvalidConfig:
        return InvalidConfig(f"scenario {self._name}: {where} {what}; {remedy}")
