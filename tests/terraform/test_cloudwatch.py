"""The evaluator of alarms against the tables of AWS's page on missing data."""

from __future__ import annotations

import pytest

from tests.terraform.cloudwatch import ALARM, NO_DATA, OK, state

RETAINED = "the state before"
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
ALL_OF_THREE = {
    "0 - X - X": (OK, OK, OK, OK),
    "0 - - - -": (OK, OK, OK, OK),
    "- - - - -": (NO_DATA, RETAINED, ALARM, OK),
    "0 X X - X": (ALARM, ALARM, ALARM, ALARM),
    "- - X - -": (ALARM, RETAINED, ALARM, OK),
}
TWO_OF_THREE = {
    "0 - X - X": (ALARM, ALARM, ALARM, ALARM),
    "0 0 X 0 X": (ALARM, ALARM, ALARM, ALARM),
    "0 - X - -": (OK, OK, ALARM, OK),
    "- - - - 0": (OK, OK, ALARM, OK),
    "- - - X -": (ALARM, RETAINED, ALARM, OK),
}
ROWS = [(3, row, states) for row, states in ALL_OF_THREE.items()] + [
    (2, row, states) for row, states in TWO_OF_THREE.items()
]


@pytest.mark.parametrize(("breach", "row", "states"), ROWS)
def test_the_documented_tables(breach: int, row: str, states: tuple[str, ...]) -> None:
    points = [{"0": False, "X": True, "-": None}[point] for point in row.split()]
    for missing, expected in zip(TREATMENTS, states, strict=True):
        assert state(points, 3, breach, missing, RETAINED) == expected, missing
