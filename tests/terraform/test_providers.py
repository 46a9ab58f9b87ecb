"""Everything that the module sets is in the schemas of both AWS providers, and what is deprecated there is listed here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import hcl, pages
from tests.terraform import schemas
from tests.terraform.schemas import Schema

pytestmark = pytest.mark.terraform

TERRAFORM = schemas.ROOT / "terraform"
MODULE = hcl.read(TERRAFORM / "modules" / "region")
RESOURCES = list(hcl.resources(MODULE))
TYPES = sorted({each.labels[0] for each in RESOURCES})

DEPRECATED = {
    # `key_schema` is not in 5.100, and a block that only some versions have cannot be written. The index is the same either
    # way: 6.x reads the old attributes, and a plan shows no change. terraform/README.md says when they go.
    "aws_dynamodb_table.global_secondary_index.hash_key",
    "aws_dynamodb_table.global_secondary_index.range_key",
}


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    version, found = schemas.provider_schemas(tmp_path_factory.mktemp("schemas") / "terraform")
    assert version == "5.100.0"
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_the_oldest_provider_has_what_the_module_sets(oldest: dict[str, Schema], kind: str) -> None:
    blocks = [each for each in RESOURCES if each.labels[0] == kind]
    assert [found for block in blocks for found in schemas.problems(block, oldest[kind], kind)] == []
    assert {found for block in blocks for found in schemas.deprecated(block, oldest[kind], kind)} == set()


@pytest.mark.parametrize("kind", TYPES)
def test_the_newest_provider_has_what_the_module_sets(kind: str) -> None:
    schema = schemas.bindings_schema(kind)
    blocks = [each for each in RESOURCES if each.labels[0] == kind]
    assert [found for block in blocks for found in schemas.problems(block, schema, kind)] == []


def test_what_the_newest_provider_deprecates_is_listed() -> None:
    found = {
        each
        for block in RESOURCES
        for each in schemas.deprecated(block, schemas.bindings_schema(block.labels[0]), block.labels[0])
    }
    assert found == DEPRECATED


def test_both_schemas_know_what_is_wrong() -> None:
    block = hcl.parse('resource "aws_sqs_queue" "q" {\n  name = "q"\n  arn = "a"\n  colour = 1\n  tags {\n  }\n}\n').blocks[
        0
    ]
    found = list(schemas.problems(block, schemas.bindings_schema("aws_sqs_queue"), "q"))
    assert found == ["q.arn cannot be set", "q.colour cannot be set", "q.tags is no block"]
    empty = hcl.parse('resource "aws_lambda_function" "f" {\n}\n').blocks[0]
    lacking = list(schemas.problems(empty, schemas.bindings_schema("aws_lambda_function"), "f"))
    assert lacking == ["f.function_name is missing", "f.role is missing"]


def test_whatever_can_bear_tags_bears_them(oldest: dict[str, Schema]) -> None:
    without = [".".join(each.labels) for each in RESOURCES if "tags" in oldest[each.labels[0]].settable
               and each.attributes.get("tags") != "local.tags"]  # fmt: skip
    assert without == []


# -- versions ---------------------------------------------------------------------------------------------------------


def _versions(folder: Path) -> tuple[str, str]:
    (terraform,) = hcl.read(folder).of("terraform")
    (providers,) = terraform.of("required_providers")
    constraint = re.search(r'version = "([^"]+)"', providers.attributes["aws"])
    assert constraint
    return hcl.text_of(terraform.attributes["required_version"]), constraint[1]


def test_root_and_module_demand_the_same_versions() -> None:
    assert _versions(TERRAFORM) == _versions(TERRAFORM / "modules" / "region")


def test_refused_versions_are_those_that_take_an_unchanged_index_away() -> None:
    _, constraint = _versions(TERRAFORM)
    refused = [tuple(map(int, version.split("."))) for version in re.findall(r"!= ([\d.]+)", constraint)]
    assert refused == sorted(refused)
    assert {(6, minor, 0) for minor in range(13, 30)} <= set(refused)
    assert (refused[0], refused[-1]) == ((6, 13, 0), (6, 29, 0))
    assert tuple(map(int, schemas.BINDINGS_OF.split("."))) not in refused
    readme = (TERRAFORM / "README.md").read_text()
    assert "6.13.0 to 6.29.0" in readme


# -- OpenTofu ---------------------------------------------------------------------------------------------------------


def test_validations_keep_to_what_opentofu_allows() -> None:
    """OpenTofu refuses a validation that refers to a local which is made from the variable itself (opentofu/opentofu#4050).

    All of the module's validations refer to locals that are plain strings."""
    strings = {
        name for each in MODULE.of("locals") for name, text in each.attributes.items() if re.fullmatch(r'"[^$]*\$?"', text)
    }
    for folder in (TERRAFORM, TERRAFORM / "modules" / "region", *sorted((TERRAFORM / "examples").glob("*/"))):
        body = hcl.read(folder)
        constants = (
            strings
            if folder.name == "region"
            else {name for each in body.of("locals") for name, text in each.attributes.items() if "var." not in text}
        )
        for variable in body.of("variable"):
            for validation in variable.of("validation"):
                text = " ".join(validation.attributes.values())
                assert set(re.findall(r"\blocal\.(\w+)", text)) <= constants, (folder.name, variable.labels)
                assert f"var.{variable.labels[0]}" in validation.attributes["condition"], (folder.name, variable.labels)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_root_hands_every_input_and_output_through() -> None:
    root = hcl.read(TERRAFORM)
    own = {"allow_default_workspace"}
    assert {each.labels for each in root.of("variable")} - {(name,) for name in own} == {
        each.labels for each in MODULE.of("variable")
    }
    assert {each.labels for each in root.of("output")} == {each.labels for each in MODULE.of("output")}
    (called,) = root.of("module")
    assert set(called.attributes) - {"source"} == {each.labels[0] for each in MODULE.of("variable")}


def test_the_page_shows_the_inputs_that_there_are() -> None:
    page = TERRAFORM / "README.md"
    assert page.read_text() == pages.PAGES[page](), "run: python docs/pages.py"
