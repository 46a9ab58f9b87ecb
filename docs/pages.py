"""Writes the reference pages from the code: python docs/pages.py. A test holds the pages to it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from chaos.cli.app import app as chaos
from projectors.cli.app import app as projectors
from replicator.cli.app import app as replicator
from replicator.runtime.settings import Settings

hcl: Any = import_module("docs.hcl" if __package__ else "hcl")  # a script has its own folder on the path only
PUBLIC = ("replicator", "replicator.claims", "replicator.erasure", "replicator.external", "replicator.ops.steering",
          "projectors", "projectors.api", "projectors.crdt")  # fmt: skip
HERE = Path(__file__).parent
API = """# The public API

What this page lists is public: names of these packages, imported from them. Everything else may change with any release, and
so may where it can be imported from: names that begin with an underscore, `chaos`, what the control table keeps.
Public, too, are the commands with their options and exit codes, the `MERIDIAN_*` settings, the variables and outputs of the
Terraform module, the HTTP API, and what `--json` writes.

**Deprecation.** A public name that is to go raises a `DeprecationWarning` that names what takes its place, and stands in the
changelog, for at least one minor release (before 1.0) or one major release (from 1.0 on). Stored bytes never change: events,
digests and tokens that an earlier release wrote are read by every later one.

`python docs/pages.py` writes this page from the names' own docstrings, which say the rest: shapes, units, errors.
"""
WITHOUT_DOCSTRING = {
    "FORGOTTEN": "The type of the event that forgets a subject.",
    "MARKER": "The member that marks an encrypted personal value in a payload.",
    "OWNERSHIP": "The value of a claim's stream: its owner.",
    "Result": "Result of a save: Saved, Rejected or GaveUp.",
}


def api() -> str:
    """The public names, each with the first sentence of its docstring."""
    parts = [API]
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


SETTINGS = """# Settings

Environment variables, the same for commands, workers, functions and applications (`read_settings()`). One that is empty or
white space alone is unset; an option of a command wins over its variable. Terraform sets those of the functions.

| variable | what it says | default |
| --- | --- | --- |
"""
VARIABLES = {
    "MERIDIAN_REGION": "This process's region. AWS_REGION where it is unset.",
    "MERIDIAN_PEERS": "The other regions of the system, separated by commas.",
    "MERIDIAN_RETIRED": "Regions that no longer run Meridian and whose lanes are still read, separated by commas.",
    "MERIDIAN_PREFIX": "The beginning of all names of tables, queues and streams.",
    "MERIDIAN_ENDPOINTS": "URLs of emulators: `us-east-1=http://127.0.0.1:4566,…`. Unset on AWS.",
    "MERIDIAN_ROLES": "Roles to assume in other accounts: `eu-west-1=arn:aws:iam::123456789012:role/NAME,…`.",
    "MERIDIAN_COPIES": "Regions that an append waits for, by stream type: `account=2,order=3`; `*=2` for every other type.",
    "MERIDIAN_CONNECT_TIMEOUT": "Seconds to wait for a connection.",
    "MERIDIAN_READ_TIMEOUT": "Seconds to wait for an answer.",
    "MERIDIAN_ATTEMPTS": "Attempts of one request before the region counts as unavailable.",
    "MERIDIAN_POLL_INTERVAL": "Seconds between two reads of an idle stream, in workers.",
    "MERIDIAN_TOKEN_KEYS": "Keys that seal consistency tokens, of 32 bytes or more, separated by commas. The first seals.",
    "MERIDIAN_PERSONAL_KEY": "Key that wraps the keys of personal data: a KMS key's id, ARN or alias, or `file:` and path.",
    "MERIDIAN_OPTIMISTIC_CLAIMS": "Stream types that are claimed by the optimistic rule, separated by commas.",
    "MERIDIAN_COMPENSATION": "Function, `module:function`, that returns the compensating events for the losers of a claim.",
    "MERIDIAN_EXTERNAL": "The transformation to external events, `module:Class`. Nothing is published where it is unset.",
    "MERIDIAN_EXTERNAL_LANES": "The lanes that are published here: `all` that arrive, or the region's `own`.",
    "MERIDIAN_FENCE_CHECKED": "Stream types whose appends check the fence in their transaction, by commas; `*`: all.",
    "MERIDIAN_FENCE_LEASE": "Seconds within which all other appends learn that the region is fenced.",
    "MERIDIAN_SHARD_LEASE": "Seconds after which the shards of a worker that is not heard of are taken over.",
    "MERIDIAN_HEARTBEAT": "Seconds from one heartbeat event of a region's workers to the next, 1 to 3600. 0: none.",
    "MERIDIAN_PROJECTIONS": "Projections, `module:Class`, separated by commas.",
    "MERIDIAN_SINKS": "Addresses of sinks, separated by white space. The first is what readers see.",
    "MERIDIAN_STEERING": "How runbooks move writers: a file, Route 53 or ARC ([steering](steering.md)).",
    "MERIDIAN_STEERING_ENDPOINTS": "The endpoints of the ARC cluster, `region=URL`, separated by commas.",
    "MERIDIAN_LOG": "The lowest level that is logged: `debug`, `info`, `warning`, `error`.",
}
DEFAULTS = {"MERIDIAN_SINKS": "dynamodb", "MERIDIAN_STEERING": "nobody", "MERIDIAN_LOG": "info"}


def settings() -> str:
    """Every MERIDIAN_* variable, with the default of the field that it sets."""
    fields = {f"MERIDIAN_{each.name.upper()}": each.default for each in dataclasses.fields(Settings)}
    rows = []
    for name, text in VARIABLES.items():
        default = DEFAULTS.get(name, fields.get(name, ""))
        shown = f"`{default}`" if isinstance(default, str | int | float) and default != "" else ""
        rows.append(f"| `{name}` | {text} | {shown} |\n")
    return SETTINGS + "".join(rows)


COMMANDS = """# Commands

Wrong input ends a command with exit code 2, an unavailable region with 1, a signal with 130 or 143, each with one line that
says what to do. Options that several commands share (`--region`, `--peers`, `--prefix`, `--endpoints`) have a
[setting](settings.md) each.
"""


def commands() -> str:
    """Every command with its options, as --help shows them."""
    parts = [COMMANDS]
    for name, app in (("replicator", replicator), ("projectors", projectors), ("chaos", chaos)):
        group: Any = get_command(app)
        parts.append(f"\n## `{name}`\n\n{' '.join((group.help or '').split())}\n")
        for word, command in sorted(group.commands.items()):
            parts.append(f"\n### `{name} {word}`\n\n{inspect.cleandoc(command.help or '')}\n\n| | |\n| --- | --- |\n")
            for each in command.params:
                shown = (
                    ", ".join(f"`{option}`" for option in each.opts)
                    if each.param_type_name == "option"
                    else f"`{each.name}`"
                )
                text = " ".join((getattr(each, "help", None) or "").split())
                parts.append(f"| {shown} | {text} |\n".replace(" |  |", " | |"))
    return "".join(parts)


TERRAFORM = HERE.parent / "terraform"
GENERATED = "<!-- python docs/pages.py writes what follows, from the .tf files. -->\n\n"


def terraform() -> str:
    """The page on the Terraform, with the inputs and outputs of the module and of the root after its text."""
    text = (TERRAFORM / "README.md").read_text()
    module, root = hcl.read(TERRAFORM / "modules" / "region"), hcl.read(TERRAFORM)
    known = {each.labels[0] for each in module.of("variable")}
    parts = [text[: text.index(GENERATED)], GENERATED, _inputs(module.of("variable"))]
    parts += ["\nThe root has the same inputs, and these:\n\n"]
    parts += [_inputs([each for each in root.of("variable") if each.labels[0] not in known])]
    parts += ["\n## Outputs\n\nThe root has the same.\n\n| output | value |\n| --- | --- |\n"]
    parts += [
        f"| `{each.labels[0]}` | {_cell(each)} |\n" for each in sorted(module.of("output"), key=lambda each: each.labels)
    ]
    return "".join(parts)


def _inputs(variables: list[Any]) -> str:
    rows = ["| input | type, and default | what it says |\n| --- | --- | --- |\n"]
    for each in sorted(variables, key=lambda each: each.labels):
        default = each.attributes.get("default")
        kind = _type(each.attributes["type"])
        if default is None:
            kind += "; **required**"
        elif default != "{}" or "object" not in kind:
            kind += f"; `{' '.join(default.split())}`"
        rows.append(f"| `{each.labels[0]}` | {kind} | {_cell(each)} |\n")
    return "".join(rows)


def _type(text: str) -> str:
    """A type, of an object with its fields and their defaults."""
    found = re.fullmatch(r"object\(\{(.*)\}\)", text, re.DOTALL)
    if not found:
        return f"`{text}`"
    return "object: " + ", ".join(f"`{name}`{_field(kind)}" for name, kind in hcl.parse(found[1]).attributes.items())


def _field(text: str) -> str:
    optional = re.fullmatch(r"optional\((.*)\)", text, re.DOTALL)
    if not optional:
        return " (required)"
    if optional[1].startswith("object"):
        return ""
    _, comma, default = optional[1].rpartition(", ")
    return f" = `{default}`" if comma else ""


def _cell(block: Any) -> str:
    return " ".join(hcl.text_of(block.attributes["description"]).split()).replace("|", "\\|")


PAGES = {
    HERE / "api.md": api,
    HERE / "settings.md": settings,
    HERE / "commands.md": commands,
    TERRAFORM / "README.md": terraform,
}

if __name__ == "__main__":
    for path, made in PAGES.items():
        path.write_text(made())
