"""Meridian as Terraform deploys it, on this machine: the same modules, the same Lambda package, emulators for AWS.

Each region has its own process, its own workspace and therefore its own state, as in production.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from chaos.world.world import World, WorldOptions
from replicator.domain.errors import InvalidConfig, MeridianError
from replicator.runtime.settings import Settings

SERVICES = "dynamodb,dynamodbstreams,lambda,sqs,sns,kinesis,kms,iam,sts,logs,monitoring,cloudwatch,events"
ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = ROOT / "chaos" / "workload" / "flights.py"


class TerraformFailed(MeridianError):
    """Error of Terraform; the message holds its last output."""


class Terraform:
    """Root module in a directory of its own, with a workspace for each region."""

    def __init__(self, directory: Path, log: Path) -> None:
        if shutil.which("terraform") is None:
            raise InvalidConfig("terraform is not installed; install Terraform 1.9 or later and put it on the PATH")
        self._directory = directory / "terraform"
        self._log = log
        source = ROOT / "terraform"
        if not (source / "main.tf").is_file():
            raise InvalidConfig(f"{source} holds no Terraform; run this from a checkout of Meridian")
        shutil.copytree(source, self._directory, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))

    def init(self, regions: Sequence[str]) -> None:
        """Fetch the provider once and create a workspace for each region."""
        self._run(["init", "-input=false", "-no-color"], {})
        for region in regions:
            self._run(["workspace", "new", "-no-color", region], {})

    def apply(self, settings: Settings, variables: Mapping[str, Any]) -> None:
        """Run `terraform apply` for one region. Raises TerraformFailed."""
        self._act("apply", settings, variables, "-auto-approve")

    def destroy(self, settings: Settings, variables: Mapping[str, Any]) -> None:
        """Run `terraform destroy` for one region. Raises TerraformFailed."""
        self._act("destroy", settings, variables, "-auto-approve")

    def move(self, settings: Settings, source: str, target: str) -> None:
        """Run `terraform state mv` for one region: a resource gets another address."""
        self._run(["state", "mv", source, target], self._environment(settings))

    def plan(self, settings: Settings, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what a plan would do now: Terraform's `resource_changes`, without the unchanged ones."""
        plan = self._directory / f"{settings.region}.plan"
        self._act("plan", settings, variables, f"-out={plan}")
        shown = json.loads(self._run(["show", "-json", str(plan)], self._environment(settings)))
        found: list[dict[str, Any]] = shown.get("resource_changes", [])
        return [change for change in found if change["change"]["actions"] not in (["no-op"], ["read"])]

    def changes(self, settings: Settings, variables: Mapping[str, Any]) -> list[str]:
        """Return a plan as `address: actions`. Empty: the deployed state is the declared one."""
        return [f"{change['address']}: {'/'.join(change['change']['actions'])}" for change in self.plan(settings, variables)]

    def _act(self, verb: str, settings: Settings, variables: Mapping[str, Any], *options: str) -> None:
        file = self._directory / f"{settings.region}.tfvars.json"
        file.write_text(json.dumps(variables))
        arguments = [verb, "-input=false", "-no-color", "-compact-warnings", f"-var-file={file}", *options]
        self._run(arguments, self._environment(settings))

    @staticmethod
    def _environment(settings: Settings) -> dict[str, str]:
        return {
            "TF_WORKSPACE": settings.region,
            "AWS_ENDPOINT_URL": settings.endpoint(settings.region) or "",
            "AWS_REGION": settings.region,
        }

    def _run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "TF_IN_AUTOMATION": "1"}
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self._directory,
            env={**os.environ, **keys, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        with self._log.open("a") as log:
            log.write(f"$ terraform {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())
            raise TerraformFailed(f"terraform {arguments[0]} failed: {said[-1500:]}")
        return done.stdout


class TerraformWorld(World):
    """Regions on this machine as `terraform apply` leaves them: tables, queues and functions, without worker processes."""

    def __init__(
        self,
        regions: Sequence[str],
        projections: Sequence[str] = (),
        *,
        include: Sequence[Path] = (FLIGHTS,),
        variables: Mapping[str, Any] | None = None,
        read_timeout: float = 5.0,
        attempts: int = 2,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(
            regions,
            projections,
            options=WorldOptions(workers=False, read_timeout=read_timeout, attempts=attempts, services=SERVICES),
            step=step,
        )
        self._projections = list(projections)
        self._more = dict(variables or {})
        self.package = self.logs / "meridian-lambda.zip"
        self.terraform = Terraform(self.logs, self.logs / "terraform.log")
        self.build(include)

    def build(self, include: Sequence[Path]) -> None:
        """Build the Lambda package, with these modules in it."""
        command = [sys.executable, str(ROOT / "terraform" / "lambda" / "build.py"), "--out", str(self.package)]
        for path in include:
            command += ["--include", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise TerraformFailed(f"the Lambda package cannot be built: {done.stderr.strip()[-500:]}")

    def variables(self, region: str) -> dict[str, Any]:
        """Return the variables of the region's .tfvars, and how its functions reach the emulators."""
        settings = self.settings(region)
        return {
            "region": region,
            "peers": list(settings.peers),
            "package": str(self.package),
            "projections": self._projections,
            "protect_events": False,
            "emulator": {
                "endpoints": dict(settings.endpoints),
                "environment": {
                    "MERIDIAN_READ_TIMEOUT": str(settings.read_timeout),
                    "MERIDIAN_CONNECT_TIMEOUT": str(settings.connect_timeout),
                    "MERIDIAN_ATTEMPTS": str(settings.attempts),
                },
            },
            **self._more,
        }

    def apply(self, region: str) -> None:
        """Run `terraform apply` for one region, as it stands."""
        self.terraform.apply(self.settings(region), self.variables(region))

    def furnish(self) -> None:
        """Apply every region, in any order: they refer to each other by name only."""
        self._step("terraform init")
        self.terraform.init(list(self.regions))
        self.everywhere(self.apply, "applied")

    def everywhere(self, do: Callable[[str], None], done: str = "done") -> None:
        """Call `do` for every region at once."""
        with ThreadPoolExecutor(len(self.regions)) as pool:
            for region, _ in zip(self.regions, pool.map(do, self.regions), strict=True):
                self._step(f"{region} is {done}")

    def destroy(self, region: str) -> None:
        """Run `terraform destroy` for one region."""
        self.terraform.destroy(self.settings(region), self.variables(region))

    def client(self, region: str, service: str) -> Any:
        """Return a boto3 client of a service in a region."""
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]
            region_name=region,
            endpoint_url=self.settings(region).endpoint(region),
            config=Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 2, "mode": "standard"}),
        )

    def stop_workers(self) -> None:
        """Disable every event source mapping: nothing is copied or projected from then on."""
        for region in self.regions:
            functions = self.client(region, "lambda")
            for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
                functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)

    def dead_letters(self, region: str) -> int:
        """Return the number of dead letters."""
        queues = self.client(region, "sqs")
        url = queues.get_queue_url(QueueName=f"{self.settings(region).prefix}-dead-letters")["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = queues.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)
