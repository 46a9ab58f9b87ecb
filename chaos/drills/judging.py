"""Judging a drill: everything is read as it is stored and held against the history and the data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chaos.drills.checker import (
    Verdict,
    check_events,
    check_places,
    check_quarantine,
    check_truth,
    check_views,
)
from chaos.drills.flights import Selection, data_file
from chaos.drills.history import History
from chaos.drills.truth import expected_views
from chaos.world.reading import Tables


def judge(tables: Mapping[str, Tables], history: History, selection: Selection, progress: Callable[[int], None]) -> Verdict:
    """The verdict over all regions' tables. `progress` counts to their number and two."""
    verdict = Verdict()
    lanes = history.heads().keys()
    check_places(verdict, history)
    for done, (region, own) in enumerate(tables.items(), 1):
        check_events(verdict, region, history, own.events(lanes))
        check_quarantine(verdict, region, own.quarantined())
        progress(done)
    views: Mapping[str, Any] = {region: own.views() for region, own in tables.items()}
    check_views(verdict, history, views)
    progress(len(tables) + 1)
    gone = history.gone_reports()
    check_truth(verdict, views, expected_views(data_file(), selection.first, selection.last, history.writes(), gone))
    progress(len(tables) + 2)
    return verdict
