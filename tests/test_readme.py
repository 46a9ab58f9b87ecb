"""What the README shows runs as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
EVENTS = README.parent / "docs" / "events.md"
PROJECTIONS = README.parent / "docs" / "projections.md"


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= 600


def test_the_library_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert code.count("\n") <= 25
    assert "assert view.value ==" in code
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


def test_the_example_of_the_events_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", EVENTS.read_text(), re.S)
    assert "assert isinstance(both, Saved)" in code
    exec(compile(code, str(EVENTS), "exec"), {"__name__": "events"})


def test_the_example_of_the_projections_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PROJECTIONS.read_text(), re.S)
    assert "assert read_row(" in code
    exec(compile(code, str(PROJECTIONS), "exec"), {"__name__": "projections"})


@pytest.mark.parametrize("page", ["tutorial", "adopting"])
def test_the_blocks_of_a_page_run_one_after_the_other(page: str) -> None:
    path = README.parent / "docs" / f"{page}.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(), re.S))
    assert code.count("assert ") >= 4
    exec(compile(code, str(path), "exec"), {"__name__": page})


def test_every_capability_of_the_events_page_has_the_test_that_it_names() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", EVENTS.read_text())
    rows = [line for line in EVENTS.read_text().splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(named) == len(rows) > 30
    for path, test in named:
        assert re.search(rf"^def {test}\(", (README.parent / path).read_text(), re.M), f"{path} has no {test}"


def test_every_file_that_the_documents_name_exists() -> None:
    root = README.parent
    for page in [README, *root.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", re.sub(r"`[^`]*`", "", page.read_text())):
            assert (page.parent / target).exists(), f"{page}: {target}"
