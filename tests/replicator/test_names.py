"""The names that the package gives: what readers and type checkers are told is what there is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import replicator


def test_each_name_is_there_and_comes_from_where_it_is_said_to() -> None:
    stub = ast.parse(Path(replicator.__file__).with_suffix(".pyi").read_text())
    told = {a.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert {name: f"replicator.{module}" for name, module in replicator._MODULES.items()} == told
    (listed,) = [node.value for node in stub.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(listed) == replicator.__all__
    for name in replicator.__all__:
        assert getattr(replicator, name) is getattr(sys.modules[told[name]], name)


def test_a_name_that_is_none_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        replicator.Nothing  # noqa: B018


def test_a_function_that_copies_starts_without_what_it_does_not_need() -> None:
    code = "import sys, replicator.handlers, replicator.replication.invocation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "replicator.replication.invocation" in loaded
    unneeded = {"aws_lambda_powertools", "replicator.eventstore.store", "replicator.eventstore.operations",
                "replicator.external", "replicator.aws.redrive", "typer"}  # fmt: skip
    assert unneeded.isdisjoint(loaded)
