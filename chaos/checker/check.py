"""All checks of a run."""

from __future__ import annotations

from chaos.checker.asked import check_asked
from chaos.checker.causes import Knowledge
from chaos.checker.claims import check_claims
from chaos.checker.events import check_causes, check_events
from chaos.checker.history import Finals, History
from chaos.checker.sessions import check_sessions
from chaos.checker.values import check_values
from chaos.checker.verdict import Verdict


def check(history: History, finals: Finals) -> Verdict:
    """The verdict on what the clients were told, and on what every region holds in the end."""
    verdict = Verdict()
    known = Knowledge.of(history, finals)
    check_asked(verdict, known, history, finals)
    check_events(verdict, known, history, finals)
    check_causes(verdict, known, history)
    check_sessions(verdict, known, history)
    check_values(verdict, known, finals)
    check_claims(verdict, history, finals)
    return verdict
