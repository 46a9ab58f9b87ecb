"""Probes: a question about an endpoint, what AWS documents, and the verdict about what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from chaos.conform.lab import NOT_OFFERED, Lab

DEVELOPER_GUIDE = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/"
API = "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/"


class Verdict(StrEnum):
    """Verdict about one observation."""

    AS_AWS = "as AWS"
    HARMLESS = "differs harmlessly"
    HIDDEN = "cannot be shown here"
    NOT_OFFERED = "not offered"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Other:
    """Observations other than AWS's, by a pattern of fnmatch, with their verdict and the reason."""

    pattern: str
    verdict: Verdict
    why: str

    def matches(self, seen: str) -> bool:
        return seen == self.pattern or fnmatchcase(seen, self.pattern)


def harmless(pattern: str, why: str) -> Other:
    """Return observations that Meridian copes with."""
    return Other(pattern, Verdict.HARMLESS, why)


def hidden(pattern: str, why: str) -> Other:
    """Return observations with which the promise cannot be shown on this endpoint, and is not at risk there either."""
    return Other(pattern, Verdict.HIDDEN, why)


def unsafe(pattern: str, why: str) -> Other:
    """Return observations that break the promise, with how they do."""
    return Other(pattern, Verdict.UNSAFE, why)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdict about an observation, and the reason for it where it is not AWS's own."""

    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to an endpoint.

    `expects` is the observation that AWS documents on `page`; `promise` is Meridian's that rests on it. `others` are further
    observations with their verdicts, the first match counts; every other one is unsafe. `look` asks, and returns a short
    text that is the same each time: no identifiers, no times.
    """

    name: str
    area: str
    question: str
    expects: str
    page: str
    promise: str
    look: Callable[[Lab], str]
    others: tuple[Other, ...] = ()
    needs: tuple[str, ...] = ("dynamodb",)

    def judge(self, seen: str, turned: bool = False) -> Judgement:
        """Return the verdict about an observation. `turned`, the opposite is expected: all that is accepted is unsafe."""
        found = self._judge(seen)
        if turned and found.verdict in (Verdict.AS_AWS, Verdict.HARMLESS):
            return Judgement(Verdict.UNSAFE, f"the expectation is turned round; this is {found.verdict}")
        return found

    def _judge(self, seen: str) -> Judgement:
        if seen == self.expects:
            return Judgement(Verdict.AS_AWS)
        if seen.startswith(NOT_OFFERED):
            return Judgement(Verdict.NOT_OFFERED, f"{self.promise}: not shown by this endpoint")
        for other in self.others:
            if other.matches(seen):
                return Judgement(other.verdict, other.why)
        return Judgement(Verdict.UNSAFE, f"{self.promise}: this rests on what AWS documents")


@dataclass(slots=True)
class Area:
    """Probes of one subject. `needs` are the services that all of them need."""

    name: str
    needs: tuple[str, ...] = ("dynamodb",)
    probes: list[Probe] = field(default_factory=list)

    def ask(
        self, question: str, expects: str, page: str, promise: str, *others: Other
    ) -> Callable[[Callable[[Lab], str]], Callable[[Lab], str]]:
        """Return a decorator that adds the function as a probe, under its own name."""

        def add(look: Callable[[Lab], str]) -> Callable[[Lab], str]:
            name = look.__name__.strip("_").replace("_", "-")
            self.probes.append(Probe(name, self.name, question, expects, page, promise, look, others, self.needs))
            return look

        return add

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes)


@dataclass(frozen=True, slots=True)
class Answer:
    """A probe, what was seen, and the verdict."""

    probe: Probe
    seen: str
    judgement: Judgement

    def as_json(self) -> dict[str, Any]:
        """Return name, area, question, expected, page, promise, seen, verdict, why: all texts."""
        probe = self.probe
        return {
            "name": probe.name,
            "area": probe.area,
            "question": probe.question,
            "expected": probe.expects,
            "page": probe.page,
            "promise": probe.promise,
            "seen": self.seen,
            "verdict": str(self.judgement.verdict),
            "why": self.judgement.why,
        }


def by_name(areas: Mapping[str, Area]) -> dict[str, Probe]:
    """Return all probes by name. Raises ValueError if two have one name."""
    found: dict[str, Probe] = {}
    for area in areas.values():
        for probe in area:
            if probe.name in found:
                raise ValueError(f"two probes are named {probe.name}")
            found[probe.name] = probe
    return found
