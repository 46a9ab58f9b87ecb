"""Environment variables as settings: the one rule for all of them. tests/test_environment.py holds every MERIDIAN_* name."""

from __future__ import annotations

import os
from collections.abc import Mapping


def given(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """What the variable says, without white space around it. Empty where it is unset, or empty, or white space alone:
    deployments set variables to nothing as readily as they leave them out."""
    return environment.get(name, "").strip()
