"""Entry point of the checker: all checks of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chaos.checker.calls import check_asked
from chaos.checker.causes import Knowledge
from chaos.checker.claim_values import check_things
from chaos.checker.claims import check_claims
from chaos.checker.events import check_causes, check_events
from chaos.checker.history import Finals, History
from chaos.checker.session_guarantees import check_sessions
from chaos.checker.verdict import PROMISES, Verdict
from chaos.checker.views import check_views

Values = Callable[[Verdict, Knowledge, Finals], None]
"""Callable that judges the values of the views."""


def check(
    history: History,
    finals: Finals,
    type: str = "thing",
    values: Values = check_things,
    promises: Mapping[str, str] = PROMISES,
) -> Verdict:
    """Return the verdict on the clients' history and on the final state of every region, by these promises. Views are those
    of the streams of this type."""
    verdict = Verdict(promises)
    known = Knowledge.of(history, finals)
    check_asked(verdict, known, history, finals)
    check_events(verdict, known, history, finals)
    check_causes(verdict, known, history)
    check_sessions(verdict, known, history)
    check_views(verdict, finals, type)
    values(verdict, known, finals)
    check_claims(verdict, history, finals)
    return verdict
