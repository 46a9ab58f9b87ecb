"""Output files of commands: checked before anything runs, and replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

from replicator.domain.errors import InvalidConfig


def check_output(option: str, file: Path | None) -> None:
    """Raise InvalidConfig where the file could not be written."""
    if file is None:
        return
    if not file.parent.is_dir():
        raise InvalidConfig(f"{option} {file}: there is no directory {file.parent}; create it or choose another")
    if file.is_dir():
        raise InvalidConfig(f"{option} {file} is a directory; name a file in it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidConfig(f"{option} {file} cannot be written; choose another, or change its permissions")


def replace_text(file: Path, text: str) -> None:
    """Write the text to the file; readers see the old content until it is complete."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
