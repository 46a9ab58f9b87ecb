"""A process that starts: what it makes now, it keeps."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """Whatever is made within the block stays for good, so the collector neither looks for garbage in it meanwhile (a sixth
    of a cold start) nor ever again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collecting:
            gc.enable()


def loaded_for(module: str) -> str:
    """The function of this module for the sake of which Lambda loads it. Empty for any other, and anywhere else.

    What it makes then, it makes with all of a processor; its first call has a share of one.
    """
    where, _, function = os.environ.get("_HANDLER", "").rpartition(".")
    return function if where == module else ""
