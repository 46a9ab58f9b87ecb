"""`chaos proxy`, as it is typed: alone in front of an endpoint, or as the messenger to LocalStack's own engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from chaos.child_processes import free_ports
from tests.chaos.faults.conftest import Place
from tests.commands import command
from tests.processes import HANGING_SECONDS, Started, started, wait_until

MAIN = [sys.executable, "-c", "from chaos.cli.app import main; main()", "proxy"]


class Running:
    """The command in a process of its own, that listens."""

    def __init__(self, process: Started, port: int) -> None:
        self.process, self.port = process, port
        wait_until(self._listens, "it listens")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=HANGING_SECONDS).close()
        except OSError:
            return not self.process.running
        return True

    def interrupt(self) -> tuple[int, str, str]:
        self.process.send(signal.SIGINT)
        return self.process.ended()

    def list_tables(self) -> str:
        client = boto3.session.Session().client(
            "dynamodb",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
        try:
            client.list_tables()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""


@contextmanager
def running_proxy(*options: str) -> Iterator[Running]:
    (port,) = free_ports(1)
    line, pipe = [*MAIN, "--listen", str(port), *options], subprocess.PIPE
    with started(line, {**os.environ, "COLUMNS": "160"}, stdout=pipe, stderr=pipe) as process:
        yield Running(process, port)


def _rules(tmp_path: Path, rules: object) -> str:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rules))
    return str(file)


@pytest.mark.emulator
def test_it_strikes_what_the_file_says_and_shows_it_at_the_end(place: Place, tmp_path: Path) -> None:
    rules = _rules(tmp_path, [{"service": "dynamodb", "meridian": {"times": 2}}, {"service": "sqs"}])
    with running_proxy("--target", f"http://127.0.0.1:{place.port}", "--rules", rules) as running:
        assert [running.list_tables() for _ in range(3)] == ["ServiceUnavailable", "ServiceUnavailable", ""]
        code, out, err = running.interrupt()
    assert code == 130
    assert f"listening on http://127.0.0.1:{running.port}" in err
    lines = out.splitlines()
    assert any(
        "503 ServiceUnavailable: dynamodb" in line and "dynamodb ListTables in us-east-1: 2" in line for line in lines
    )
    assert any("503 ServiceUnavailable: sqs" in line and "nothing" in line for line in lines)


def test_an_unreachable_target_is_said_and_callers_get_502() -> None:
    (nobody,) = free_ports(1)
    with running_proxy("--target", f"http://127.0.0.1:{nobody}") as running:
        assert running.list_tables() == "MeridianTargetUnreachable"
        code, out, err = running.interrupt()
    assert code == 130
    assert f"no response from http://127.0.0.1:{nobody}" in err
    assert "no rule was set" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0"), "--listen 0 is not a port"),
        (("--target", "https://127.0.0.1:4566"), "give a host and port, without TLS"),
        (("--target", "http://127.0.0.1:99999"), "--target"),
        (("--target", "http://127.0.0.1:4570"), "--listen 4570 is where the target is"),
        (("--rules", "nowhere.json"), "cannot read the rules file nowhere.json"),
        (("--localstack", "http://127.0.0.1:4566"), "give --rules FILE"),
    ],
)
def test_wrong_options_are_said_in_one_line(options: tuple[str, ...], words: str) -> None:
    ran = command("chaos", "proxy", *options)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_taken_port_and_wrong_rules_are_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        ran = command("chaos", "proxy", "--listen", str(port), "--target", "http://127.0.0.1:1")
    assert ran.returncode == 2
    assert f"cannot listen on port {port}" in ran.stderr
    ran = command("chaos", "proxy", "--rules", _rules(tmp_path, [{"probability": 2}]))
    assert ran.returncode == 2
    assert "rule 1: probability 2 is wrong" in ran.stderr


@pytest.fixture
def localstack() -> Iterator[tuple[str, list[object]]]:
    """What LocalStack's engine is asked for; it has no licence here."""
    heard: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", heard
    server.shutdown()
    server.server_close()


def test_localstack_is_given_what_it_can_do_and_the_rest_is_named(
    localstack: tuple[str, list[object]], tmp_path: Path
) -> None:
    url, heard = localstack
    rules = _rules(tmp_path, [{"service": "s3"}, {"meridian": {"effect": "answer-lost"}}])
    ran = command("chaos", "proxy", "--localstack", url, "--rules", rules)
    assert ran.returncode == 0
    assert heard == [("/_localstack/chaos/faults", [{"service": "s3"}])]
    assert "1 rules are set" in ran.stdout
    assert "LocalStack does not support answer-lost: everything: it has no answer-lost" in ran.stdout
    gone = command("chaos", "proxy", "--localstack", "http://127.0.0.1:1", "--rules", rules)
    assert gone.returncode == 1
    assert "no response from a fault engine at http://127.0.0.1:1" in gone.stderr
