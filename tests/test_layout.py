"""The layout that docs/architecture.md describes, as far as import-linter does not hold it."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("replicator", "projectors", "chaos")


def files(package: str) -> list[Path]:
    return [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_file_name_occurs_once_in_a_package(package: str) -> None:
    names = Counter(path.name for path in files(package))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_read_at_a_glance(package: str) -> None:
    entries = {
        path.relative_to(ROOT / package).parts[0] for path in (ROOT / package).rglob("*.py*") if path.suffix != ".pyc"
    }
    assert len(entries | {"py.typed"}) <= 18


@pytest.mark.parametrize("package", PACKAGES)
def test_no_constructor_takes_more_than_seven_arguments(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in files(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef) and each.name == "__init__"
        if len(each.args.args) - 1 + len(each.args.kwonlyargs) > 7
    ]
    assert found == []
