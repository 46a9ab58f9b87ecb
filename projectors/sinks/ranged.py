"""A summary of a sink that keeps the digests of its ranges: they are read once, and views only where asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from projectors.engine.digests import LEAF_DIGITS, NOTHING, Fingerprint, Range, Tree
from projectors.model.view import ViewKey


class Ranged:
    """A Summary. `leaves` maps the ranges of LEAF_DIGITS digits to what they hold; `rows` reads the views of a range."""

    def __init__(self, leaves: Mapping[str, Range], rows: Callable[[str], Mapping[ViewKey, Fingerprint]]) -> None:
        self._leaves = {name: held for name, held in leaves.items() if held != NOTHING}
        self.rows = rows

    def ranges(self, prefix: str) -> Mapping[str, Range]:
        """Below a leaf they are reckoned from its views."""
        if len(prefix) >= LEAF_DIGITS:
            return Tree(self.rows(prefix).items()).ranges(prefix)
        found: dict[str, Range] = {}
        for name, held in self._leaves.items():
            if name.startswith(prefix):
                child = name[: len(prefix) + 1]
                found[child] = found.get(child, NOTHING).plus(held)
        return found
