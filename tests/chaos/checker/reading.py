"""Reads what `chaos run --history` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable

from chaos.checker.history import History, Outcome, Written


def read_history(lines: Iterable[str]) -> History:
    """The history that these lines of JSON tell."""
    history = History(lambda: 0.0)
    for line in lines:
        told = json.loads(line)
        kind, at = told["is"], told["at"]
        history.clock = lambda at=at: at  # type: ignore[misc]
        if kind == "invoke":
            history.invoke(told["process"], told["region"], told["name"], told["value"], told["context"], told["hlc"])
        elif kind == "settled":
            history.settle(history.calls[told["call"]], told["digests"])
        elif kind == "lost":
            history.gone |= set(told["gone"])
            history.lost_regions.add(told["region"])
        else:
            events = tuple(Written(**event) for event in told["events"])
            history._end(history.calls[told["call"]], Outcome(kind), events, told["seen"], told["found"], told["why"])
    return history
