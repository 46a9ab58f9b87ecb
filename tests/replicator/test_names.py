"""The names that the package gives: what readers and type checkers are told is what there is."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import projectors
import replicator
from docs import pages
from projectors import Sink
from projectors.crdt.base import AppliesRuns, Crdt, JudgesStates
from replicator.control.control_storage import ControlStorage
from replicator.erasure import KeyStorage, Wrapping
from replicator.eventstore.storage import LaneStorage
from replicator.external import Marks

PACKAGES = [replicator, projectors]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_each_name_is_there_and_comes_from_where_it_is_said_to(package: ModuleType) -> None:
    assert package.__file__
    stub = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    told = {a.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert {n: f"{package.__name__}.{module}" for module, names in package._NAMES.items() for n in names.split()} == told
    (listed,) = [node.value for node in stub.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(listed) == package.__all__
    for name in package.__all__:
        assert getattr(package, name) is getattr(sys.modules[told[name]], name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_completion_lists_every_name(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_a_name_that_is_none_is_none(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


ROOT = Path(replicator.__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("**/*.py"))]


def _imports(page: Path) -> Iterator[ast.ImportFrom]:
    text = page.read_text()
    for code in [text] if page.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("replicator", "projectors"):
                yield node


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documents_and_examples_use_public_names_alone(page: Path) -> None:
    for node in _imports(page):
        assert node.module in pages.PUBLIC, f"{page.name} imports from {node.module}"
        package = import_module(node.module)
        assert {a.name for a in node.names} - {"*"} <= set(package.__all__), f"{page.name}: {node.module}"


PORTS = (AppliesRuns, ControlStorage, Crdt, JudgesStates, KeyStorage, LaneStorage, Marks, Sink, Wrapping)
"""Their docstrings say what the methods of every implementation do."""


def test_every_public_name_and_method_has_a_docstring() -> None:
    of_ports = {name for port in PORTS for name in vars(port)}
    bare = []
    for package in pages.PUBLIC:
        for name in import_module(package).__all__:
            value = getattr(import_module(package), name)
            for member, each in vars(value).items() if isinstance(value, type) else ():
                plain = isinstance(each, FunctionType | property | classmethod | staticmethod)
                if plain and not member.startswith("_") and member not in of_ports and not inspect.getdoc(each):
                    bare.append(f"{package}.{name}.{member}")
    assert bare == []


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_a_page_of_the_reference_is_what_the_code_says(page: Path) -> None:
    assert page.read_text() == pages.PAGES[page](), "run: python docs/pages.py"


def test_a_function_that_copies_starts_without_what_it_does_not_need() -> None:
    code = "import sys, replicator.handlers, replicator.replication.invocation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "replicator.replication.invocation" in loaded
    unneeded = {"aws_lambda_powertools", "replicator.eventstore.store", "replicator.eventstore.operations",
                "replicator.external", "replicator.aws.redrive", "typer"}  # fmt: skip
    assert unneeded.isdisjoint(loaded)
