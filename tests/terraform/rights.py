"""Which policy each command needs: the table of docs/operating.md, and the commands that there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import projectors.cli.app
import replicator.cli.app

DOCS = Path(__file__).parents[2] / "docs"
APPS = {"replicator": replicator.cli.app.app, "projectors": projectors.cli.app.app}
ROLES = {"writer": "writer", "reader": "reader", "operator": "operator", "on-call": "oncall", "worker": "worker"}
"""Policies by the words of the table, as the names of Terraform's resources."""
ADMINISTRATORS = "administrators"
EVERYWHERE, OWN, EMULATOR = "every region", "its region", "an emulator"

_ROW = re.compile(r"^\| `(replicator|projectors) ([a-z-]+)` \| ([a-z, -]+) \| ([a-z ]+) \|$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+(?:\n[^`\n]+)?`", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?<![\w./-])(?<!from )(?<!import )(replicator|projectors)[ \n]([a-z][a-z-]*)\b")

Command = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    command: Command
    policies: tuple[str, ...]
    of: str

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(ROLES[name] for name in self.policies)


def rows() -> list[Row]:
    """Return the rows of the table, in order."""
    text = (DOCS / "operating.md").read_text(encoding="utf-8")
    return [Row((program, name), tuple(named.split(", ")), of) for program, name, named, of in _ROW.findall(text)]


def commands() -> list[Command]:
    """Return every command of the two programs, as the programs themselves list them."""
    found: list[Command] = []
    for program, app in APPS.items():
        group: Any = typer.main.get_command(app)
        for name, command in sorted(group.commands.items()):
            assert not hasattr(command, "commands"), f"{program} {name} has commands of its own: give each a row"
            found.append((program, name))
    return found


def mentioned(text: str) -> set[Command]:
    """Return the commands that the code in a page names, whether they exist or not."""
    return {(found[1], found[2]) for code in _CODE.findall(text) for found in _COMMAND.finditer(code)}
