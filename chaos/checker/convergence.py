"""Convergence: wait until every region has everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from chaos.checker.final_reads import Tables

_STUCK_SECONDS = 60.0
"""Seconds without any arrival anywhere after which convergence is given up."""


def converge(
    tables: Mapping[str, Tables],
    heads: Mapping[str, int],
    vectors: Mapping[str, str],
    beat: Callable[[int], None],
) -> int:
    """Wait until every lane's last event and every view's last vector are in every region. Returns how many are missing once
    nothing moves any more. `beat` receives how many are there, every quarter of a second."""
    lanes = {region: dict(heads) for region in tables}
    rows = {region: dict(vectors) for region in tables}
    total = sum(map(len, lanes.values())) + sum(map(len, rows.values()))
    moved, seen = time.monotonic(), (0, 0)
    while True:
        for region, own in tables.items():
            for key in own.present(lanes[region]):
                del lanes[region][key]
            if not lanes[region]:
                for key, vector in own.vectors(rows[region]).items():
                    if vector == rows[region][key]:
                        del rows[region][key]
        left = sum(map(len, lanes.values())) + sum(map(len, rows.values()))
        beat(total - left)
        if not left:
            return 0
        now_seen = (left, sum(own.items() for own in tables.values()))
        if now_seen != seen:
            moved, seen = time.monotonic(), now_seen
        elif time.monotonic() - moved > _STUCK_SECONDS:
            return left
        time.sleep(0.25)
