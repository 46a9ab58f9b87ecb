"""Runs probes against an endpoint, concurrently, and removes what they made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chaos.conform import (
    access,
    capacity,
    item_values,
    keys,
    kinesis_streams,
    mappings,
    partiql,
    queues,
    reads,
    table_streams,
    tables,
    writes,
)
from chaos.conform.lab import Lab, observe
from chaos.conform.probe import Answer, Area, Probe, Verdict, by_name
from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable

_ALL = (
    partiql, writes, reads, item_values, capacity, table_streams, tables, mappings, queues, kinesis_streams, keys, access
)  # fmt: skip
AREAS: Mapping[str, Area] = {module.AREA.name.lower(): module.AREA for module in _ALL}
PROBES: Mapping[str, Probe] = by_name(AREAS)
"""All probes, by name."""
_AT_ONCE = 8

Progress = Callable[[str, int, int], None]
"""Callback for progress: the phase, how many probes are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """Answers of a run, in the order of the probes. `left` names what could not be removed."""

    endpoint: str
    region: str
    answers: Sequence[Answer]
    strict: bool = False
    turned: str = ""
    left: Sequence[str] = ()

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """Number of probes with each verdict; every verdict is there."""
        found = Counter(answer.judgement.verdict for answer in self.answers)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def blind(self) -> bool:
        """Whether the probe whose expectation is turned round was not found: its promise cannot be shown here."""
        return any(
            answer.probe.name == self.turned and answer.judgement.verdict is not Verdict.UNSAFE for answer in self.answers
        )

    @property
    def good(self) -> bool:
        """Whether the endpoint is good enough: nothing is unsafe and, if `strict`, everything can be shown. A run that is
        blind to the probe that is turned round is not good."""
        hidden = self.counts[Verdict.HIDDEN] + self.counts[Verdict.NOT_OFFERED]
        return not self.counts[Verdict.UNSAFE] and not self.blind and not (self.strict and hidden)

    def as_json(self) -> dict[str, Any]:
        """Return endpoint, region, strict, turned, good, counts by verdict, left, and the probes' answers."""
        return {
            "endpoint": self.endpoint,
            "region": self.region,
            "strict": self.strict,
            "turned": self.turned,
            "good": self.good,
            "counts": {str(verdict): count for verdict, count in self.counts.items()},
            "left": list(self.left),
            "probes": [answer.as_json() for answer in self.answers],
        }


def choose(only: Iterable[str]) -> list[Probe]:
    """Return the probes of these names, and of areas of these names; all without one. Raises InvalidConfig."""
    wanted = [name.lower() for name in only]
    for name in wanted:
        if name not in PROBES and name not in AREAS:
            raise InvalidConfig(f"there is no area or probe {name!r}; the areas are {', '.join(AREAS)}; --list shows all")
    return [probe for probe in PROBES.values() if not wanted or probe.name in wanted or probe.area.lower() in wanted]


def check_reach(lab: Lab) -> None:
    """Raise RegionUnavailable if the endpoint does not answer, RegionRefuses if it refuses everything."""
    where = lab.endpoint or f"DynamoDB of {lab.region}"
    try:
        lab.db.list_tables(Limit=1)
    except ClientError as error:
        raise RegionRefuses(
            f"{where} refuses ListTables ({error}). Correct the credentials, or the --endpoint", operation="ListTables"
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise RegionUnavailable(f"{where} does not answer ({error})") from None


def run_probes(
    lab: Lab, probes: Collection[Probe], progress: Progress, *, turned: str = "", strict: bool = False
) -> Conformance:
    """Ask every probe. Raises RegionUnavailable and RegionRefuses when nothing can be asked; whatever ends it, the tables
    are removed."""
    seen: dict[str, str] = {}
    left: list[str] = []
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="probe")
    try:
        check_reach(lab)
        waiting = {pool.submit(observe, probe.look, lab, probe.needs): probe for probe in _slow_first(probes)}
        progress("probes", 0, len(waiting))
        for future in as_completed(waiting):
            seen[waiting[future].name] = future.result()
            progress("probes", len(seen), len(waiting))
    finally:
        lab.stopped.set()
        pool.shutdown(cancel_futures=True)
        left += lab.close()
    answers = [Answer(probe, seen[probe.name], probe.judge(seen[probe.name], probe.name == turned)) for probe in probes]
    return Conformance(lab.endpoint or "AWS", lab.region, answers, strict, turned, left)


def _slow_first(probes: Iterable[Probe]) -> list[Probe]:
    """Return the probes that wait for events before those that do not."""
    return sorted(probes, key=lambda probe: probe.area not in _WAITING)


_WAITING = ("mappings", "streams", "queues", "Kinesis")
