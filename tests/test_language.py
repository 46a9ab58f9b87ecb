"""Docstrings and printed texts in plain technical English: no sentence fragments, no words that a plain verb replaces."""

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
PRINTED = re.compile(r"\b(told|nobody|whoever|is had|so many|anew|asks? for|(?:is|are) none)\b", re.IGNORECASE)
"""Words that errors, help and output do not have: "none" where "invalid" or "not a" is meant, and so on."""
PRODUCT = ("chaos", "projectors", "replicator")
"""Packages whose errors, help and output are held to the rules."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring: of the module, classes and functions, and after assignments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def printed(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every other string of three words or more; expressions in f-strings become `…`."""
    tree = ast.parse(source)
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "`…`" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            text = node.value
        else:
            continue
        if text.count(" ") >= 2:
            yield node.lineno, text


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
    "path",
    [path for path in FILES if path.relative_to(ROOT).parts[0] in PRODUCT],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_errors_help_and_output_are_plain(path: Path) -> None:
    found = [
        (line, text, *PRINTED.findall(QUOTED.sub("", text))) for line, text in printed(path.read_text(encoding="utf-8"))
    ]
    assert [each for each in found if len(each) > 2] == []


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
