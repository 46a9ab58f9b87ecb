"""The runbook for a restore as docs/runbooks.md has it: its commands run as they stand, in a system of three regions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.world.terraform import ROOT, TerraformWorld
from replicator import EventStore, NewEvent
from tests.commands import command
from tests.processes import wait_until

pytestmark = pytest.mark.deploy

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
EAST, WEST, SOUTH = REGIONS
EVENTS = "meridian-events"
AWSCLI = "awscli==1.46.3"
PLACE = ROOT / "build" / "awscli"


@pytest.fixture(scope="module")
def aws() -> Path:
    """The AWS CLI, in an environment of its own: it pins its own botocore."""
    program = PLACE / "bin" / "aws"
    if not program.exists():
        venv.create(PLACE, with_pip=True)
        subprocess.run([PLACE / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", AWSCLI], check=True)
    return program


@pytest.fixture(scope="module")
def world() -> Iterator[TerraformWorld]:
    with TerraformWorld(REGIONS, include=(), variables={"protect_events": True}, read_timeout=2.0) as made:
        yield made


def runbook() -> str:
    """The commands of the runbook."""
    page = (ROOT / "docs" / "runbooks.md").read_text()
    section = page[page.index("\n## Restore from a backup") : page.index("\n## Verify and repair")]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(block)


def table(world: TerraformWorld) -> dict[str, Any]:
    """All that makes the region's events table more than its items."""
    dynamodb = world.client(EAST, "dynamodb")
    described = dynamodb.describe_table(TableName=EVENTS)["Table"]
    backups = dynamodb.describe_continuous_backups(TableName=EVENTS)["ContinuousBackupsDescription"]
    policy = dynamodb.get_resource_policy(ResourceArn=described["TableArn"])["Policy"]
    mappings = world.client(EAST, "lambda").list_event_source_mappings(FunctionName="meridian-replicator")
    return {
        "stream": described["StreamSpecification"],
        "protected": described["DeletionProtectionEnabled"],
        "index": [index["IndexName"] for index in described["GlobalSecondaryIndexes"]],
        "key": described.get("SSEDescription", {}).get("KMSMasterKeyArn"),
        "recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "policy": json.loads(policy),
        "mapped": [each["EventSourceArn"] == described["LatestStreamArn"] for each in mappings["EventSourceMappings"]],
    }


def lacking(world: TerraformWorld, store: EventStore, streams: int) -> int:
    """How many of the streams' own lanes of us-east-1 a region does not have whole."""
    return sum(sum(1 for _ in store.read_lane(f"order/{n}", EAST)) < 3 for n in range(streams))


def test_a_table_restored_under_a_new_name_ends_as_the_regions_table(
    world: TerraformWorld, aws: Path, tmp_path: Path
) -> None:
    stores = {region: world.store(region) for region in REGIONS}
    for number in range(20):
        for region in REGIONS:
            stores[region].append(f"order/{number}", *(NewEvent("placed", {"n": n}) for n in range(3)))
    for region in (WEST, SOUTH):
        wait_until(lambda: not lacking(world, stores[region], 20), "copies of us-east-1's lanes", pause=0.5)  # noqa: B023
    before = table(world)
    assert before["stream"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert (before["protected"], before["recovery"], before["mapped"]) == (True, "ENABLED", [True])
    old = world.client(EAST, "dynamodb").describe_table(TableName=EVENTS)["Table"]

    # As the runbook has it, but for the variables' file, which here names emulators.
    variables = world.variables(EAST)
    folder = world.terraform._directory
    (folder / "regions" / f"{EAST}.tfvars").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in variables.items()))
    (tmp_path / "terraform").symlink_to(folder)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").symlink_to(aws)
    (tmp_path / "bin" / "replicator").symlink_to(Path(sys.executable).with_name("replicator"))
    (tmp_path / "runbook.sh").write_text(runbook())
    settings = world.settings(EAST)
    done = subprocess.run(
        ["bash", "-eux", "-o", "pipefail", "runbook.sh"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": str(settings.endpoint(EAST)),
            "AWS_REGION": WEST, "AWS_DEFAULT_REGION": WEST, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "MERIDIAN_ENDPOINTS": ",".join(f"{name}={url}" for name, url in settings.endpoints.items()),
            "TF_CLI_ARGS_apply": "-auto-approve -input=false -no-color -compact-warnings",
        },
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    now = world.client(EAST, "dynamodb").describe_table(TableName=EVENTS)["Table"]
    assert (now["TableId"], now["LatestStreamArn"]) != (old["TableId"], old["LatestStreamArn"]), "it is another table"
    assert table(world) == before, "with all that the first one had"
    assert world.terraform.changes(settings, variables) == []
    assert "-restored" not in " ".join(world.client(EAST, "dynamodb").list_tables()["TableNames"])
    endpoints = ",".join(f"{name}={url}" for name, url in settings.endpoints.items())
    proved = command("replicator", "verify", "--region", WEST, "--peers", f"{EAST},{SOUTH}", "--endpoints", endpoints)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert "equal" in proved.stdout
    stores[EAST].append("order/0", NewEvent("shipped", {}))
    wait_until(
        lambda: all(sum(1 for _ in stores[each].read_lane("order/0", EAST)) == 4 for each in REGIONS),
        "what the region writes is copied again", pause=0.5,
    )  # fmt: skip
