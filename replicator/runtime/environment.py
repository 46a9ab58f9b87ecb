"""Environment variables as settings: one rule for all. tests/test_environment.py covers every MERIDIAN_* name."""

from __future__ import annotations

import os
from collections.abc import Mapping


def given(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable's value without surrounding white space. Empty if it is unset, empty, or white space alone:
    deployments set variables to empty values as often as they omit them."""
    return environment.get(name, "").strip()
