"""docs/crdts.md is the catalogue: every type is on it with its rule and source, and its examples give what they say."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from projectors import crdt
from projectors.model import fields as declared
from projectors.model.fields import Field

PAGE = (Path(__file__).parents[2] / "docs" / "crdts.md").read_text()
TYPES = [
    each for name in crdt.__all__ if (each := getattr(crdt, name)) and "rule" in getattr(each, "__dataclass_fields__", {})
]
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def said(kind: Any, what: str) -> str:
    """The type's own rule or source, which needs no instance."""
    return str(next(field.default for field in fields(kind) if field.name == what))


def plain(text: str) -> str:
    return " ".join(text.split())


def test_the_page_has_every_type_and_no_other() -> None:
    assert set(SECTIONS) == {kind.__name__ for kind in TYPES}
    assert len(TYPES) >= 18


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_type_is_on_the_page_with_its_rule_its_source_and_examples(kind: Any) -> None:
    section, rule = SECTIONS[kind.__name__], said(kind, "rule")
    assert rule in plain(section)
    assert f"Source: {said(kind, 'source')}" in plain(section)
    assert re.search(rf"^\| `[^`]+` \| \[{kind.__name__}\]\(#{kind.__name__.lower()}\) \| {re.escape(rule)} \|$", PAGE, re.M)
    assert re.search(r"^- Total of a row: ", section, re.M)
    assert re.search(r"^- State: bounded by ", section, re.M)
    assert re.search(r"^- Cost: [\d.,]+ µs an event, (under )?[\d.,]+ µs a view\.$", section, re.M)
    assert rule.endswith(".")
    assert rule.count(". ") == 0, "a rule is one sentence"


def test_every_field_constructor_is_in_the_table() -> None:
    made = {
        name
        for name, each in vars(declared).items()
        if callable(each) and getattr(each, "__module__", "") == declared.__name__ and not name.startswith("_")
    } - {Field.__name__}
    assert {re.split(r"\W", field)[0] for field in re.findall(r"^\| `([^`]+)` \| \[", PAGE, re.M)} == made


def test_the_examples_give_what_they_say() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    world: dict[str, Any] = {"__name__": "crdts"}
    for block in blocks:
        exec(compile(block, "docs/crdts.md", "exec"), world)
    for name, section in SECTIONS.items():
        assert "both(" in section or "after both" in section or "draft(" in section, name
        assert section.count("assert ") >= 2, name
