"""Fault rules: the format of LocalStack's Chaos API, and one key of our own for what it cannot express.

https://docs.localstack.cloud/user-guide/chaos-engineering/chaos-api: a list of rules, tried in turn on every request until
one strikes. Every key may be left out:

    {"service": "kinesis", "region": "us-east-1", "operation": "PutRecord",   omitted: all are affected
     "probability": 0.5,                                                      omitted: 1
     "error": {"statusCode": 503, "code": "ServiceUnavailable"},              omitted: these
     "meridian": {"effect": "answer-lost", "window": [5, 20], …}}             ours: EFFECTS, and _Reader.ours

`[]` is no faults at all, `[{}]` fails every request. What is not understood is refused, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaos.faults.models import operations_of, services
from chaos.faults.rule_files import Fields, strict_json
from replicator.domain.errors import InvalidConfig

ERROR = "error"
_EXPIRED = "ExpiredIteratorException"


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of a rule instead of an error as the answer."""

    does: str
    operations: Mapping[str, tuple[str, ...]] | None = None
    """Operations that it can be applied to, by service; None: any."""
    keys: tuple[str, ...] = ()
    """Our keys that it has and other effects may not have."""
    part: float = 0.5
    once: bool = False
    """Whether it strikes once unless `times` says otherwise: it changes the stream permanently."""


_RECORDS = {"dynamodbstreams": ("GetRecords",), "kinesis": ("GetRecords",)}
_BATCHES = {
    "dynamodb": ("BatchWriteItem", "BatchGetItem", "BatchExecuteStatement"),
    "kinesis": ("PutRecords",),
    "sqs": ("SendMessageBatch", "DeleteMessageBatch"),
}
_SHARDS = {"dynamodbstreams": ("GetRecords",)}

EFFECTS: Mapping[str, Effect] = {
    ERROR: Effect("answers with the error; the service does not get the request"),
    "answer-lost": Effect("the request takes effect, and its answer is lost (how: timeout) or is a reset", keys=("how",)),
    "slow-answer": Effect("the answer comes `latency` milliseconds late", None, ("latency",)),
    "unprocessed": Effect("a part of a batch is not done, and the answer says so as the service does", _BATCHES, ("part",)),
    "expire-iterators": Effect("iterators are expired", _RECORDS),
    "duplicate-records": Effect("a part of a stream's records comes twice, one right after the other", _RECORDS, ("part",)),
    "reorder-records": Effect(
        "a part of a page's records is reordered: of different partition keys, or (harsh) any", _RECORDS, ("part", "harsh")
    ),
    "trim-records": Effect("a part of the records that were not read yet is trimmed", _SHARDS, ("part",), 1.0, True),
    "split-shard": Effect("the shard closes, and two others continue it", _SHARDS, (), 1.0, True),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault. None: any, or no bound. `window` is in seconds after the rule was set, `latency` in milliseconds."""

    service: str | None = None
    region: str | None = None
    operation: str | None = None
    probability: float = 1.0
    status: int = 503
    code: str = "ServiceUnavailable"
    effect: str = ERROR
    window: tuple[float, float | None] = (0.0, None)
    after: int = 0
    """Number of matching requests that are let through first."""
    times: int | None = None
    """Maximum number of strikes."""
    part: float | None = None
    latency: float | None = None
    how: str = "timeout"
    harsh: bool = False
    seed: int | None = None

    def matches(self, service: str, operation: str, region: str) -> bool:
        """Return whether the rule is about such a request at all."""
        return (
            self.service in (None, service)
            and self.operation in (None, operation)
            and self.region in (None, region)
            and _can(self.effect, service, operation)
        )

    @property
    def share(self) -> float:
        """Share of a batch or page that it strikes."""
        return EFFECTS[self.effect].part if self.part is None else self.part

    @property
    def most(self) -> int | None:
        """Maximum number of strikes, with the effect's default."""
        return 1 if self.times is None and EFFECTS[self.effect].once else self.times

    def as_json(self) -> dict[str, Any]:
        """Return the rule as it is written, without defaults. `parse_rules` inverts it."""
        written: dict[str, Any] = {
            name: value
            for name, value in (("service", self.service), ("region", self.region), ("operation", self.operation))
            if value is not None
        }
        if self.probability != 1.0:
            written["probability"] = self.probability
        error = {"statusCode": self.status} if self.status != 503 else {}
        if self.code != "ServiceUnavailable":
            error |= {"code": self.code}  # type: ignore[dict-item]
        if error:
            written["error"] = error
        if ours := self._ours():
            written["meridian"] = ours
        return written

    def _ours(self) -> dict[str, Any]:
        plain = Rule()
        ours: dict[str, Any] = {"window": list(self.window)} if self.window != plain.window else {}
        for name in ("effect", "after", "times", "part", "latency", "how", "harsh", "seed"):
            if (value := getattr(self, name)) != getattr(plain, name):
                ours[name] = value
        return ours

    def __str__(self) -> str:
        what = f"{self.status} {self.code}" if self.effect == ERROR else self.effect
        where = " ".join(filter(None, (self.service, self.operation, self.region and f"in {self.region}")))
        share = "" if self.probability == 1 else f" {self.probability:.0%}"
        return f"{what}{share}: {where or 'everything'}"


def _can(effect: str, service: str, operation: str) -> bool:
    possible = EFFECTS[effect].operations
    return possible is None or operation in possible.get(service, ())


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read the rules of a file. Raises InvalidConfig."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read the rules file {path}: {error}; give a JSON file that can be read") from None
    return parse_rules(strict_json(text, str(path)), str(path))


def parse_rules(value: object, place: str = "rules") -> tuple[Rule, ...]:
    """Return the rules of this JSON value. Raises InvalidConfig that names what is wrong, where, and what to write."""
    if not isinstance(value, list):
        raise InvalidConfig(f"{place}: rules are a JSON list such as [{{}}], not {type(value).__name__}; put them in a list")
    return tuple(_rule(each, f"{place}: rule {number}") for number, each in enumerate(value, 1))


def _rule(value: object, place: str) -> Rule:
    fields = Fields.of(value, place, ("service", "region", "operation", "probability", "error", "meridian"))
    rule = Rule(
        service=fields.text("service", r"[a-z0-9-]{1,64}", "an AWS service such as dynamodb, or omit it for all"),
        region=fields.text(
            "region", r"[a-z]{2}(-[a-z]{1,16}){1,3}-\d{1,2}", "a region such as us-east-1, or omit it for all"
        ),
        operation=fields.text("operation", r"[A-Za-z0-9]{1,128}", "an operation such as PutItem, or omit it for all"),
        probability=fields.number("probability", 0, 1, "from 0 (never) to 1 (always)", 1.0),
    )
    error = fields.fields("error", ("statusCode", "code"))
    if error is not None:
        rule = replace(
            rule,
            status=error.whole("statusCode", 400, 599, "an HTTP status of an error, 400 to 599", 503),
            code=error.text("code", r"[A-Za-z0-9._:-]{1,128}", "an error code such as ThrottlingException")
            or "ServiceUnavailable",
        )
    _check_names(rule, place)
    ours = fields.fields("meridian", ("effect", "window", "after", "times", "part", "latency", "how", "harsh", "seed"))
    return rule if ours is None else _ours(rule, ours, error is not None)


def _ours(rule: Rule, ours: Fields, has_error: bool) -> Rule:
    effect = ours.choice("effect", tuple(EFFECTS), ERROR)
    kind = EFFECTS[effect]
    for key in ("part", "latency", "how", "harsh"):
        if key in ours.given and key not in kind.keys:
            having = [name for name, each in EFFECTS.items() if key in each.keys]
            raise InvalidConfig(f"{ours.place}: {effect} has no {key!r}; leave it out, or choose {' or '.join(having)}")
    if effect != ERROR and has_error:
        raise InvalidConfig(f"{ours.place}: {effect} does not use 'error'; leave out 'error' or 'effect'")
    if kind.operations is not None and not _possible(rule, kind.operations):
        can = ", ".join(f"{service} {name}" for service, names in kind.operations.items() for name in names)
        asked = " ".join(filter(None, (rule.service, rule.operation)))
        raise InvalidConfig(f"{ours.place}: {effect} does not apply to {asked}; it applies to {can}")
    if "latency" in kind.keys and "latency" not in ours.given:
        raise InvalidConfig(f'{ours.place}: {effect} needs "latency", in milliseconds, such as 500')
    return replace(
        rule,
        effect=effect,
        window=ours.window("window"),
        after=ours.whole("after", 0, 10**9, "a number of requests, 0 or more", 0),
        times=ours.whole("times", 1, 10**9, "a number of requests, 1 or more, or omit it", None),
        part=ours.number("part", 0, 1, "above 0, up to 1 (all)", None, above=True),
        latency=ours.number("latency", 0, 600_000, "milliseconds, 0 to 600000", None),
        how=ours.choice("how", ("timeout", "reset"), "timeout"),
        harsh=ours.truth("harsh"),
        seed=ours.whole("seed", -(2**63), 2**63 - 1, "a whole number", None),
    )


def _possible(rule: Rule, possible: Mapping[str, tuple[str, ...]]) -> bool:
    names: Iterable[str] = possible if rule.service is None else [rule.service]
    return any(rule.operation is None or rule.operation in possible[name] for name in names if name in possible)


def _check_names(rule: Rule, place: str) -> None:
    """Refuse names that AWS does not have: a rule with one would never strike, and that would go unnoticed."""
    if rule.service is None:
        return
    if rule.service not in services():
        raise InvalidConfig(f"{place}: there is no service {rule.service!r}; {_meant(rule.service, services())}")
    known = operations_of(rule.service)
    if rule.operation is not None and rule.operation not in known:
        raise InvalidConfig(f"{place}: {rule.service} has no operation {rule.operation!r}; {_meant(rule.operation, known)}")


def _meant(name: str, known: Sequence[str]) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    alike = [each for each in known if plain and (plain in each.lower() or each.lower() in plain)]
    shown = sorted(alike or known, key=lambda each: (abs(len(each) - len(name)), each))[:4]
    return f"names are those of the AWS SDK, such as {', '.join(shown)}"


def for_localstack(rules: Iterable[Rule]) -> tuple[list[dict[str, Any]], list[tuple[Rule, str]]]:
    """Return the rules as LocalStack's own engine takes them, and those that it cannot do, each with the reason.

    Rules are tried in turn, so where one is left out those after it strike more often. A seed is left out silently:
    LocalStack strikes by its own chance.
    """
    able: list[dict[str, Any]] = []
    unable: list[tuple[Rule, str]] = []
    for rule in rules:
        why = [f"it has no {name}" for name in ("window", "after", "times") if getattr(rule, name) != getattr(Rule(), name)]
        if rule.effect == "expire-iterators" and not why:
            able += _expiry(rule)
        elif rule.effect != ERROR:
            unable.append((rule, "; ".join([f"it has no {rule.effect}", *why])))
        elif why:
            unable.append((rule, "; ".join(why)))
        else:
            able.append(replace(rule, seed=None).as_json())
    return able, unable


def _expiry(rule: Rule) -> list[dict[str, Any]]:
    """Return expired iterators as plain errors, which they are."""
    plain = replace(rule, effect=ERROR, status=400, code=_EXPIRED, operation="GetRecords", seed=None)
    return [replace(plain, service=name).as_json() for name in _RECORDS if rule.service in (None, name)]


def dumps(rules: Iterable[Rule]) -> str:
    """Return the rules as text for a file."""
    return json.dumps([rule.as_json() for rule in rules], indent=2) + "\n"
