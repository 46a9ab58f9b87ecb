"""Control paths of the engine: those of LocalStack's Chaos API, and one of our own.

- `/_localstack/chaos/faults`: GET; POST (these in place of all), PATCH (these too), DELETE (not these) with a list of rules;
- `/_localstack/chaos/effects`: GET; POST {"latency": milliseconds};
- `/_meridian/chaos/told`: GET, what each rule has struck.
"""

from __future__ import annotations

import json
from typing import Any

from chaos.faults.engine import Engine
from chaos.faults.messages import Malformed, Message, answer
from chaos.faults.rule_files import Fields, strict_json
from chaos.faults.rules import parse_rules
from replicator.domain.errors import InvalidConfig

FAULTS, EFFECTS, TOLD = "/_localstack/chaos/faults", "/_localstack/chaos/effects", "/_meridian/chaos/told"
_METHODS = {FAULTS: ("GET", "POST", "PATCH", "DELETE"), EFFECTS: ("GET", "POST"), TOLD: ("GET",)}
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def is_order(target: str) -> bool:
    """Return whether a request is for the engine, not for the service behind it."""
    return target.startswith(("/_localstack/chaos", "/_meridian/"))


def obey(request: Message, engine: Engine) -> Message:
    """Execute a control request. An invalid one changes nothing, and its answer names the error."""
    path = request.target.partition("?")[0].rstrip("/")
    methods = _METHODS.get(path)
    if methods is None:
        return _answer(404, {"error": f"there is no {path}; choose from {', '.join(_METHODS)}"})
    if request.method not in methods:
        return _answer(405, {"error": f"{path} does not accept {request.method}; choose from {', '.join(methods)}"})
    if path == TOLD:
        return _answer(200, engine.told())
    try:
        return _answer(200, _faults(request, engine) if path == FAULTS else _effects(request, engine))
    except (InvalidConfig, Malformed) as error:
        return _answer(400, {"error": str(error)})


def _faults(request: Message, engine: Engine) -> Any:
    if request.method != "GET":
        rules = parse_rules(strict_json(request.body, "the body"), "the body")
        change = {"POST": engine.set, "PATCH": engine.add, "DELETE": engine.remove}[request.method]
        change(rules)
    return [rule.as_json() for rule in engine.rules]


def _effects(request: Message, engine: Engine) -> Any:
    if request.method == "POST":
        fields = Fields.of(strict_json(request.body, "the body"), "the body", ("latency",))
        engine.latency = fields.number("latency", 0, 600_000, "of milliseconds, 0 to 600000", 0.0)
    return {"latency": int(engine.latency) if engine.latency.is_integer() else engine.latency}


def _answer(status: int, value: Any) -> Message:
    body = json.dumps(value).encode() + b"\n"
    return answer(status, _REASONS[status], {"content-type": "application/json"}, body)
