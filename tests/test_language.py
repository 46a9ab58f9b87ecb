"""Docstrings in plain technical English: no sentence fragments at the beginning, and no words that a plain verb replaces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "chaos", "examples", "projectors", "replicator")
"""Packages whose docstrings are held to the rules: paths from the repository's root."""
FRAGMENT = re.compile(r"(Of|So many|So often|So long|What|Whoever|Who|That|Where)\b")
WORD = re.compile(r"\b(told|nobody|whoever|is had)\b", re.IGNORECASE)
QUOTED = re.compile(r"`[^`]*`")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring: of the module, classes and functions, and after assignments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def violations(source: str) -> list[str]:
    """Return each broken rule with its line."""
    found = []
    for line, text in docstrings(source):
        if fragment := FRAGMENT.match(text):
            found.append(f"line {line} begins with {fragment[0]!r}: {text[:60]}")
        found += [f"line {line} has the word {word!r}" for word in WORD.findall(QUOTED.sub("", text))]
    return found


FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""Of so many lanes."""',
        'LANES = 1\n"""So many lanes are caught up at once."""',
        'class Wire:\n    """What is sent."""',
        'def read():\n    """Read what a region\n    was told."""',
        'def read():\n    """Read it. Nobody waits."""',
        'def read():\n    """Return how a value\n    is had."""',
    ],
)
def test_a_fragment_or_a_word_is_found_wherever_a_docstring_is(source: str) -> None:
    assert len(violations(source)) == 1


def test_whole_sentences_names_in_backticks_and_other_strings_pass() -> None:
    assert violations('"""Offers `nobody`. Return `told`."""\nwhat = "Of nobody"  # told\n') == []
