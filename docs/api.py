"""Writes docs/api.md, the page of the public names: python docs/api.py. A test holds the page to it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

PUBLIC = ("replicator", "replicator.claims", "replicator.erasure", "replicator.external", "replicator.ops.steering",
          "projectors", "projectors.api", "projectors.crdt")  # fmt: skip
PAGE = Path(__file__).parent / "api.md"
HEAD = """# The public API

What this page lists is public: names of these packages, imported from them. Everything else may change with any release, and
so may where it can be imported from: names that begin with an underscore, `chaos`, what the control table keeps.
Public, too, are the commands with their options and exit codes, the `MERIDIAN_*` settings, the variables and outputs of the
Terraform module, the HTTP API, and what `--json` writes.

**Deprecation.** A public name that is to go raises a `DeprecationWarning` that names what takes its place, and stands in the
changelog, for at least one minor release (before 1.0) or one major release (from 1.0 on). Stored bytes never change: events,
digests and tokens that an earlier release wrote are read by every later one.

`python docs/api.py` writes this page from the names' own docstrings, which say the rest: shapes, units, errors.
"""
WITHOUT_DOCSTRING = {
    "FORGOTTEN": "The type of the event that says that a subject is forgotten.",
    "MARKER": "The member that marks an encrypted personal value in a payload.",
    "OWNERSHIP": "The value of a claim's stream: who owns it.",
    "Result": "What a save ends with: Saved, Rejected or GaveUp.",
}


def page() -> str:
    parts = [HEAD]
    for package in PUBLIC:
        module = import_module(package)
        parts += [f"\n## `{package}`\n\n| name | what it is |\n| --- | --- |\n"]
        parts += [f"| `{name}` | {about(name, getattr(module, name))} |\n" for name in sorted(module.__all__)]
    return "".join(parts)


def about(name: str, value: object) -> str:
    """The first sentence of the name's docstring."""
    text = WITHOUT_DOCSTRING.get(name) or inspect.getdoc(value) or ""
    assert text, f"{name} has no docstring"
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
