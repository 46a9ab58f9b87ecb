"""Schemas of the AWS provider: of 5.100 from the provider itself, of 6.x from two npm packages that are generated from it.

`@cdktn/provider-aws` (CDK Terrain, which goes on with CDKTF's bindings) has every attribute, and says whether it can or must
be set. It does not say what is deprecated; `@pulumi/aws` does. The packages are unpacked under build/ and never run.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from docs.hcl import Block

ROOT = Path(__file__).parents[2]
BINDINGS = "@cdktn/provider-aws@25.7.0"
"""CDK Terrain's bindings of AWS provider 6.66.0."""
BINDINGS_OF = "6.66.0"
DEPRECATIONS = "@pulumi/aws@7.48.0"
META = ("count", "for_each", "depends_on", "provider", "lifecycle")
"""What every resource takes from Terraform itself."""

_PLACE = ROOT / "build" / "provider-schemas"
_FLAGS = re.compile(r"^    // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)$", re.MULTILINE)
_INNER = re.compile(r"_\w+ = new (\w+?)(?:List|Set|Map|OutputReference)\(this, \"(\w+)\"")
_CLASS = re.compile(r"^class (\w+) extends [\w.]+ \{$", re.MULTILINE)
_SERVICES = "appautoscaling|cloudwatch|dynamodb|iam|kinesis|kms|lambda|sns|sqs"
_READ = re.compile(rf"package/(lib/({_SERVICES})-[a-z-]+/index\.js|({_SERVICES})/\w+\.d\.ts|types/input\.d\.ts)")
_MEMBER = re.compile(r"^\s+(?:readonly )?(\w+)\??: ")


@dataclass
class Schema:
    """Attributes and blocks of a resource or of a block in it."""

    settable: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    deprecated: set[str] = field(default_factory=set)
    blocks: dict[str, Schema] = field(default_factory=dict)


def problems(block: Block, schema: Schema, path: str) -> Iterator[str]:
    """Yield what a block sets and the schema does not have, and what the schema demands and the block lacks."""
    attributes = {name for name in block.attributes if name not in META}
    inner = [each for each in block.blocks if each.type not in META]
    for name in sorted(attributes - schema.settable):
        yield f"{path}.{name} cannot be set"
    for each in inner:
        if each.type not in schema.blocks:
            yield f"{path}.{each.type} is no block"
        else:
            yield from problems(each, schema.blocks[each.type], f"{path}.{each.type}")
    for name in sorted(schema.required - attributes - {each.type for each in inner}):
        yield f"{path}.{name} is missing"


def deprecated(block: Block, schema: Schema, path: str) -> Iterator[str]:
    """Yield the deprecated attributes and blocks that a block sets."""
    for name in [*block.attributes, *(each.type for each in block.blocks)]:
        if name in schema.deprecated:
            yield f"{path}.{name}"
    for each in block.blocks:
        if each.type in schema.blocks:
            yield from deprecated(each, schema.blocks[each.type], f"{path}.{each.type}")


# -- 5.100: the provider itself ---------------------------------------------------------------------------------------


def provider_schemas(folder: Path) -> tuple[str, dict[str, Schema]]:
    """Return the version of the locked provider and its schemas of resources. Terraform works in `folder`."""
    shutil.copytree(ROOT / "terraform", folder, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    for command in (["init", "-backend=false", "-input=false"], ["providers", "schema", "-json"]):
        done = subprocess.run(["terraform", *command], cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    (provider,) = [each for name, each in json.loads(done.stdout)["provider_schemas"].items() if name.endswith("/aws")]
    locked = re.search(r'hashicorp/aws" \{\s+version\s+= "([\d.]+)"', (folder / ".terraform.lock.hcl").read_text())
    assert locked
    return locked[1], {name: _of_provider(each["block"]) for name, each in provider["resource_schemas"].items()}


def _of_provider(block: dict[str, Any]) -> Schema:
    attributes, blocks = block.get("attributes", {}), block.get("block_types", {})
    return Schema(
        {name for name, each in attributes.items() if each.get("optional") or each.get("required")},
        {name for name, each in attributes.items() if each.get("required")}
        | {name for name, each in blocks.items() if each.get("min_items", 0)},
        {name for name, each in attributes.items() if each.get("deprecated")}
        | {name for name, each in blocks.items() if each["block"].get("deprecated")},
        {name: _of_provider(each["block"]) for name, each in blocks.items()},
    )


# -- 6.x: the bindings ------------------------------------------------------------------------------------------------


def bindings_schema(resource: str) -> Schema:
    """Return the schema of a resource, such as aws_sqs_queue, in AWS provider 6.x."""
    folder = resource.removeprefix("aws_").replace("_", "-")
    source = (_unpacked(BINDINGS) / "lib" / folder / "index.js").read_text()
    starts = [*_CLASS.finditer(source)]
    ends = [*(each.start() for each in starts[1:]), len(source)]
    classes = {each[1]: source[each.end() : end] for each, end in zip(starts, ends, strict=True)}
    schema = _of_bindings(_camel(folder.replace("-", "_")), classes)
    _mark_deprecated(schema, resource)
    return schema


def _of_bindings(name: str, classes: dict[str, str]) -> Schema:
    text = classes.get(f"{name}OutputReference") or classes[name]
    flags = {each[1]: (each[3] == "true", each[4] == "true") for each in _FLAGS.finditer(text)}
    inner = {name: kind for kind, name in _INNER.findall(text) if name in flags}
    return Schema(
        {name for name, (optional, required) in flags.items() if (optional or required) and name not in inner},
        {name for name, (_, required) in flags.items() if required},
        set(),
        {name: _of_bindings(kind, classes) for name, kind in inner.items()},
    )


# -- 6.x: what is deprecated ------------------------------------------------------------------------------------------


def _mark_deprecated(schema: Schema, resource: str) -> None:
    service, _, rest = resource.removeprefix("aws_").partition("_")
    name = _camel(rest)
    notes = _deprecations(_unpacked(DEPRECATIONS) / service / f"{name[0].lower()}{name[1:]}.d.ts")
    assert f"{name}Args" in notes, f"{DEPRECATIONS} has no {resource}"
    _mark(schema, name, notes[f"{name}Args"], _inputs(service))


def _mark(schema: Schema, name: str, members: set[str], inputs: dict[str, set[str]]) -> None:
    schema.deprecated = {each for each in schema.settable | set(schema.blocks) if members & _as_members(each)}
    for each, block in schema.blocks.items():
        inner = name + _camel(each)
        if inner in inputs:
            _mark(block, inner, inputs[inner], inputs)


def _inputs(service: str) -> dict[str, set[str]]:
    return _deprecations(_unpacked(DEPRECATIONS) / "types" / "input.d.ts", f"export declare namespace {service} {{")


@cache
def _deprecations(path: Path, after: str = "") -> dict[str, set[str]]:
    """Return the deprecated members of each interface of a file, from the line `after` to the end of its namespace."""
    text = path.read_text()
    if after:
        text = text[text.index(after) :]
        text = text[: text.index("\n}")]
    found: dict[str, set[str]] = {}
    interface, noted = "", False
    for line in text.splitlines():
        if opened := re.match(r"\s*(?:export )?interface (\w+)", line):
            interface = opened[1]
            found[interface] = set()
        elif "@deprecated" in line:
            noted = True
        elif interface and (member := _MEMBER.match(line)):
            if noted:
                found[interface].add(member[1])
            noted = False
    return found


def _as_members(name: str) -> set[str]:
    """Return what a member may be called there: lists have plural names."""
    member = _camel(name)
    member = member[0].lower() + member[1:]
    return {member, f"{member}s", f"{member}es", re.sub("y$", "ies", member)}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


@cache
def _unpacked(package: str) -> Path:
    """The folder of an npm package, fetched first where it is not there. Skips the test, or in CI fails it, without npm."""
    if shutil.which("npm") is None:
        missing = "npm is missing; on Debian: apt-get install -y npm"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = _PLACE / package.strip("@").replace("/", "-")
    _PLACE.mkdir(parents=True, exist_ok=True)
    with (_PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            command = ["npm", "pack", "--silent", "--pack-destination", str(_PLACE), package]
            done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
            archive = _PLACE / done.stdout.split()[-1]
            unpacking = folder.with_suffix(".unpacking")
            shutil.rmtree(unpacking, ignore_errors=True)
            with tarfile.open(archive) as held:
                held.extractall(unpacking, (each for each in held if _is_read(each.name)), filter="data")
            unpacking.rename(folder)
            archive.unlink()
    return folder / "package"


def _is_read(name: str) -> bool:
    """Return whether a file is of use here: half a gigabyte is not."""
    return bool(_READ.fullmatch(name))
