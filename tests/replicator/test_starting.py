"""How a function starts: with all that it needs, and nothing that it does not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from replicator.runtime.cold_start import starting


def test_what_is_made_is_kept_and_the_collector_is_as_it_was() -> None:
    assert gc.isenabled()
    before = gc.get_freeze_count()
    try:
        with starting():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_a_start_that_fails_keeps_nothing() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ValueError, match="no"), starting():
        raise ValueError("no")
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with starting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize(
    ("handler", "part"),
    [
        ("replicator.handlers.replicate", "_outbound"),
        ("replicator.handlers.catch_up", "_outbound"),
        ("replicator.handlers.redrive", "_redrive"),
        ("replicator.handlers.nothing_of_ours", None),
        ("projectors.handlers.project", None),
        ("", None),
    ],
)
def test_lambda_makes_what_a_function_needs_when_it_loads_it(handler: str, part: str | None) -> None:
    made = "[n for n in ('_outbound', '_redrive') if getattr(f, n).cache_info().misses]"
    code = f"import replicator.handlers as f; print(*{made})"
    settings = {"MERIDIAN_REGION": "us-east-1", "MERIDIAN_PEERS": "eu-west-1", "MERIDIAN_LOG": "error", "_HANDLER": handler}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    environment = {**os.environ, **settings, **keys}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ([part] if part else [])
