"""The worked example runs as the documents say, on real processes, and shows each part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import HANGING_SECONDS

ROOT = Path(__file__).parent.parent.parent
SHOWN = [
    "1. save a user", "2. save a group", "homer is no user, as far as", "4. add the user to the group, with both tokens",
    'having observed {"us-east-1":3}', "is owned by user/homer", '"members": ["homer"]', "at the token before: homer@",
    "apu: joined", "US, then CA", 'com.example.identity.member.joined: {"groupId": "bowling", "memberId": "homer"}',
    "201 Created, 412 Precondition Failed", "keys destroyed in: us-east-1, eu-west-1", '"email": null',
]  # fmt: skip


@pytest.mark.emulator
def test_the_identity_platform_tells_its_whole_story() -> None:
    command = [sys.executable, "-m", "examples.identity"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGING_SECONDS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for line in SHOWN:
        assert line in done.stdout, f"{line!r} is not shown:\n{done.stdout}"
