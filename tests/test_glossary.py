"""The glossary and the architecture name files that exist; the glossary's tables are complete and in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
NAMED = re.compile(r"`((?:replicator|projectors|chaos)/[^`\s]*)`")
HEADER = "| term | meaning | elsewhere | file |"


def _tables() -> Iterator[list[list[str]]]:
    """The rows of each table, as cells, without its header."""
    for part in GLOSSARY.read_text().split(HEADER)[1:]:
        lines = [line for line in part.split("\n## ")[0].splitlines() if line.startswith("|")]
        yield [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def _rows() -> list[list[str]]:
    return [row for table in _tables() for row in table]


@pytest.mark.parametrize("page", [GLOSSARY, ARCHITECTURE], ids=lambda page: page.stem)
def test_every_path_that_the_page_names_exists(page: Path) -> None:
    named = NAMED.findall(page.read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_term_has_a_meaning_a_name_elsewhere_and_one_file() -> None:
    rows = _rows()
    assert len(rows) >= 40
    assert [row for row in rows if len(row) != 4 or not all(row)] == []
    assert [row[0] for row in rows if not NAMED.fullmatch(row[3]) or not (ROOT / row[3].strip("`")).is_file()] == []


def test_no_row_is_outside_of_the_tables() -> None:
    sections = re.findall(r"^## ", GLOSSARY.read_text(), re.M)
    assert len(list(_tables())) == len(sections)
    assert all(_tables())


def test_terms_are_in_alphabetical_order_within_each_table() -> None:
    for table in _tables():
        terms = [row[0].casefold() for row in table]
        assert terms == sorted(terms)


def test_no_term_is_given_twice() -> None:
    terms = [row[0].casefold() for row in _rows()]
    assert [term for term in terms if terms.count(term) > 1] == []
