"""Scenarios keep every promise on engines that are not ours. `make soak` runs them: each takes half a minute and more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = ["partition", "one-way", "half-open", "hot-thing", "lossy-links"]
pytestmark = [pytest.mark.soak, pytest.mark.emulator]


@pytest.mark.parametrize("fixture", ["local_engine", "localstack_engine"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_keeps_every_promise(scenario: str, fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    endpoint, answers = request.getfixturevalue(fixture), tmp_path / "out.json"
    arguments = ["run", scenario, "--endpoint", endpoint, "--json", str(answers)]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, "-c", "from replicator.cli.entrypoints import chaos; chaos()", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    assert [each["kept"] for each in json.loads(answers.read_text())] == [True]
