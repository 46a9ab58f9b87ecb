"""Engines answer as the committed records say, so the page of conformance is true; a run leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import boto3
import pytest

from chaos.child_processes import Process, free_ports
from chaos.conform.lab import Lab
from chaos.conform.run_probes import PROBES, Conformance, check_reach, choose, run_probes
from replicator.domain.errors import RegionUnavailable
from tests.engines import dynamodb_local, localstack

ROOT = Path(__file__).parents[3]
SERVICES = "dynamodb,dynamodbstreams,kinesis,kms,sqs,lambda,iam,sts,logs"
pytestmark = pytest.mark.emulator


@contextmanager
def ministack(folder: Path, module: str) -> Iterator[str]:
    """The endpoint of a ministack, alone or behind Meridian's translation."""
    (port,) = free_ports(1)
    environment = {
        "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_REGION": "us-east-1", "SERVICES": SERVICES,
        "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING", "TMPDIR": str(folder), "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    program = Process("ministack", [sys.executable, "-m", module], environment, folder / "ministack.log")
    program.start()
    try:
        lab = Lab("us-east-1", f"http://127.0.0.1:{port}")
        lab.until(lambda: _answers(lab))
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


def _answers(lab: Lab) -> bool:
    try:
        check_reach(lab)
    except RegionUnavailable:
        return False
    return True


@contextmanager
def engine(name: str, folder: Path) -> Iterator[str]:
    if name in ("ministack", "emulator"):
        with ministack(folder, "ministack.app" if name == "ministack" else "chaos.world.emulator") as url:
            yield url
    elif name == "dynamodb-local":
        with dynamodb_local(folder) as url:
            yield url
    else:
        with localstack(folder, v2=name == "localstack-v2") as url:
            yield url


VARIES = {"localstack": ("stream-order",)}
"""Answers that differ from run to run: the record has the worse one. In the streams of LocalStack's default provider two
changes of one item change places on a busy machine."""


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "conformance" / f"{name}.json").read_text())["probes"]
    return found


def asked(url: str, names: tuple[str, ...] = (), turned: str = "") -> Conformance:
    return run_probes(Lab("us-east-1", url), choose(names), lambda *_: None, turned=turned)


@pytest.mark.parametrize("name", ["ministack", "emulator", "dynamodb-local", "localstack", "localstack-v2"])
def test_an_engine_answers_as_its_record_says(name: str, tmp_path: Path) -> None:
    with engine(name, tmp_path) as url:
        found = asked(url)
        tables = boto3.client(
            "dynamodb", region_name="us-east-1", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test"
        ).list_tables()["TableNames"]
    told = {each.probe.name: {"seen": each.seen, "verdict": str(each.judgement.verdict)} for each in found.answers}
    known = record(name)
    for probe in VARIES.get(name, ()):
        assert told[probe]["verdict"] in ("as AWS", known[probe]["verdict"])
        told[probe] = known[probe]
    assert {probe: (told[probe], known.get(probe)) for probe in told if told[probe] != known.get(probe)} == {}
    assert known.keys() == PROBES.keys()
    assert tables == []


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine("emulator", tmp_path_factory.mktemp("emulator")) as endpoint:
        yield endpoint


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PATH": os.environ["PATH"],
        "COLUMNS": "200",
    }
    command = [sys.executable, "-c", "from replicator.cli.entrypoints import chaos; chaos()", "conform", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_a_turned_expectation_exits_1_and_the_same_run_without_it_exits_0(url: str, tmp_path: Path) -> None:
    answers, table = tmp_path / "out.json", tmp_path / "out.md"
    good = chaos("--endpoint", url, "--only", "insert-taken", "--json", str(answers), "--markdown", str(table))
    assert (good.returncode, "good enough: 1 as AWS" in good.stdout) == (0, True), good.stderr
    assert json.loads(answers.read_text())["counts"]["as AWS"] == 1
    assert "| insert-taken |" in table.read_text()
    turned = chaos("--endpoint", url, "--only", "insert-taken", "--turn", "insert-taken")
    assert (turned.returncode, "turned round" in turned.stdout) == (1, True), turned.stderr


def test_a_turned_expectation_that_cannot_be_shown_exits_1_and_says_so(url: str) -> None:
    turned = chaos("--endpoint", url, "--only", "access-put", "--turn", "access-put")
    assert (turned.returncode, "cannot be shown on this endpoint" in turned.stdout) == (1, True), turned.stderr


def test_what_cannot_be_shown_exits_1_where_that_is_strict(url: str) -> None:
    assert chaos("--endpoint", url, "--only", "read-eventually").returncode == 0
    assert chaos("--endpoint", url, "--only", "read-eventually", "--strict").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--endpoint", "http://127.0.0.1:9"], 1, "does not answer"),
        (["--endpoint", "127.0.0.1:9"], 2, "is not a URL"),
        (["--only", "strems"], 2, "no area or probe"),
        (["--turn", "nothing"], 2, "does not exist"),
        (["--only", "KMS", "--turn", "insert-taken"], 2, "is left out by --only"),
    ],
)
def test_wrong_input_exits_2_and_an_endpoint_that_does_not_answer_1(arguments: list[str], code: int, says: str) -> None:
    found = chaos(*arguments)
    assert (found.returncode, found.stderr.count("\n"), says in found.stderr) == (code, 1, True), found.stderr


def test_a_ctrl_c_removes_the_tables(url: str) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", "from replicator.cli.entrypoints import chaos; chaos()", "conform", "--endpoint", url]
    lab = Lab("us-east-1", url)
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lab.until(lambda: lab.db.list_tables()["TableNames"])
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, "Traceback" in said) == (130, False), said
    assert lab.db.list_tables()["TableNames"] == []


def test_the_list_needs_no_endpoint() -> None:
    found = chaos("--list", "--only", "insert-taken")
    assert (found.returncode, "insert-taken" in found.stdout) == (0, True)


def test_the_page_is_what_its_program_writes() -> None:
    spec = util.spec_from_file_location("conformance", ROOT / "docs" / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "conformance.md").read_text() == module.page(), "run: python docs/conformance.py"
    assert len(module.GUESSES) >= 5
