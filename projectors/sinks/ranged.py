"""Summary of a sink that keeps the digests of its ranges: they are read once, and views only on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from projectors.engine.digests import LEAF_DIGITS, NOTHING, Fingerprint, Range, Tree
from projectors.model.view import ViewKey


class Ranged:
    """Summary: `leaves` maps the ranges of LEAF_DIGITS digits to their contents; `rows` reads the views of a range."""

    def __init__(self, leaves: Mapping[str, Range], rows: Callable[[str], Mapping[ViewKey, Fingerprint]]) -> None:
        self._leaves = {name: held for name, held in leaves.items() if held != NOTHING}
        self.rows = rows

    def ranges(self, prefix: str) -> Mapping[str, Range]:
        """Return the ranges below `prefix`. Below a leaf they are computed from its views."""
        if len(prefix) >= LEAF_DIGITS:
            return Tree(self.rows(prefix).items()).ranges(prefix)
        found: dict[str, Range] = {}
        for name, held in self._leaves.items():
            if name.startswith(prefix):
                child = name[: len(prefix) + 1]
                found[child] = found.get(child, NOTHING).plus(held)
        return found
