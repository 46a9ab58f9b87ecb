"""A second version of a projection, for tests that load it by name."""

from __future__ import annotations

from chaos.workload.flights import Aircraft
from projectors import counter


class Aircraft2(Aircraft):
    """Counts take-offs and landings."""

    version = 2
    movements = counter(departed=lambda p: 1, arrived=lambda p: 1)
