"""The three commands: help that names every option, and wrong input answered by one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from chaos.world import free_ports
from replicator.settings import Settings

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("MERIDIAN_", "AWS_"))},
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "COLUMNS": "200",
}


def command(package: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"from {package}.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**ENVIRONMENT, **environment},
    )


# -- help ------------------------------------------------------------------------------------------------------------

WHERE = ("--region", "--prefix", "--endpoints", "MERIDIAN_REGION", "MERIDIAN_PREFIX", "MERIDIAN_ENDPOINTS")
HELP = {
    "replicator": ("init", "run", "append", "read", "quarantine"),
    "projectors": ("init", "run", "show"),
    "chaos": ("drill",),
    "replicator init": WHERE,
    "replicator run": (*WHERE, "--peers", "MERIDIAN_PEERS"),
    "replicator append": (*WHERE, "--peers", "stream", "event_type", "payload"),
    "replicator read": (*WHERE, "--peers", "--limit", "--reverse", "stream"),
    "replicator quarantine": (*WHERE, "--peers"),
    "projectors init": WHERE,
    "projectors run": (*WHERE, "--peers", "--projection", "MERIDIAN_PROJECTIONS"),
    "projectors show": (*WHERE, "projection", "stream"),
    "chaos drill": ("--events", "--regions", "--seed", "--kills", "--json", "--break", "lost", "truth_matches"),
}


@pytest.fixture(scope="module")
def helped() -> dict[str, subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(HELP, pool.map(lambda line: command(*line.split(), "--help"), HELP), strict=True))


@pytest.mark.parametrize("line", HELP)
def test_help_names_every_command_and_option(helped: dict[str, subprocess.CompletedProcess[str]], line: str) -> None:
    result = helped[line]
    assert (result.returncode, result.stderr) == (0, "")
    assert [word for word in HELP[line] if word not in result.stdout] == []


# -- wrong input -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    """A command line that is wrong: its one line on standard error names `value` and `remedy`."""

    line: str
    value: str
    remedy: str
    environment: dict[str, str] = field(default_factory=dict)


(_CLOSED,) = free_ports(1)
AT = f"--endpoints us-east-1=http://127.0.0.1:{_CLOSED}"
EAST = "--region us-east-1"
WRONG = [
    Wrong("replicator read user/homer", "no region", "--region or set MERIDIAN_REGION"),
    Wrong("replicator read user/homer --region US-EAST-1", "'US-EAST-1'", "such as 'us-east-1'"),
    Wrong("replicator init --region moon", "'moon'", "such as 'us-east-1'"),
    Wrong("replicator run", "'Mars'", "such as 'us-east-1'", {"MERIDIAN_REGION": "Mars"}),
    Wrong(f"replicator run {EAST} --peers eu-west-1,eu-west-1", "eu-west-1", "twice"),
    Wrong(f"replicator init {EAST} --prefix a#b", "'a#b'", "use letters"),
    Wrong(f"replicator read homer {EAST}", "'homer'", "'type/id'"),
    Wrong(f"replicator read us#er/homer {EAST}", "'us#er'", "replace it"),
    Wrong(f"replicator append user/homer renamed [/red] {EAST}", "'[/red]'", "give an object"),
    Wrong(f"replicator read [bold]homer {EAST}", "'[bold]homer'", "'type/id'"),
    Wrong(f"replicator append user/homer renamed {{oops {EAST}", "'{oops'", "give an object"),
    Wrong(f"replicator append user/homer renamed [a] {EAST}", "'[a]'", "give an object"),
    Wrong(f"replicator append user/homer renamed [1,2] {EAST}", "'[1,2]'", "give one such as"),
    Wrong(f'replicator append user/homer renamed {{"n":NaN}} {EAST}', "payload.n is nan", "leave it out"),
    Wrong(f"replicator append user/homer re#named {{}} {EAST}", "'re#named'", "replace it"),
    Wrong(f"replicator read user/homer {EAST} {AT}", f"127.0.0.1:{_CLOSED}", "Check --endpoints"),
    Wrong(f"replicator init {EAST} {AT}", f"127.0.0.1:{_CLOSED}", "Check --endpoints"),
    Wrong(f"replicator read user/homer {EAST} --endpoints nonsense", "'nonsense'", "write 'us-east-1=http"),
    Wrong(f"replicator read user/homer {EAST} --endpoints us-east-1=4566", "'4566'", "write 'http://127.0.0.1:4566'"),
    Wrong(f"replicator read user/homer {EAST} --endpoints us-east-1=http://[::1", "http://[::1", "write 'http://"),
    Wrong(f"replicator read user/homer {EAST} --endpoints us-east-1=http://localhost:port", "localhost:port", "http://"),
    Wrong(f"replicator read user/homer {EAST}", "MERIDIAN_ATTEMPTS is 'many'", "number", {"MERIDIAN_ATTEMPTS": "many"}),
    Wrong(f"replicator read user/homer {EAST}", "'inf'", "number", {"MERIDIAN_ATTEMPTS": "inf"}),
    Wrong(f"replicator read user/homer {EAST}", "'nan'", "number", {"MERIDIAN_ATTEMPTS": "nan"}),
    Wrong(f"replicator read user/homer {EAST}", "'tapes'", "choose from", {"MERIDIAN_COPY_WITH": "tapes"}),
    Wrong(f"projectors run {EAST}", "no projection given", "--projection"),
    Wrong(f"projectors run {EAST} --projection nonsense", "'nonsense'", "package.module:Class"),
    Wrong(f"projectors run {EAST} --projection no.such:Thing", "'no.such:Thing'", "cannot be loaded"),
    Wrong(f"projectors run {EAST} --projection json:loads", "'json:loads'", "subclass of projectors.Projection"),
    Wrong(f"projectors run {EAST} --projection :Thing", "':Thing'", "package.module:Class|cannot be loaded"),
    Wrong(f"projectors show aircraft N14228 {EAST}", "'N14228'", "'type/id'"),
    Wrong("chaos drill --events abc", "'abc'", "give one such as 10000"),
    Wrong("chaos drill --events 0", "0", "give|at least"),
    Wrong("chaos drill --regions 9", "9", "give 2 to 6"),
    Wrong("chaos drill --kills -1", "-1", "how many"),
    Wrong("chaos drill --break nonsense", "'nonsense'", "choose from lost"),
    Wrong("chaos drill --json /no/such/directory/result.json", "/no/such/directory", "create it"),
]


def check(result: subprocess.CompletedProcess[str], value: str, remedy: str) -> None:
    assert "Traceback" not in result.stderr, result.stderr[-600:]
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert value in line
    assert re.search(remedy, line) if "|" in remedy else remedy in line


@pytest.fixture(scope="module")
def answers() -> list[subprocess.CompletedProcess[str]]:
    def run(wrong: Wrong) -> subprocess.CompletedProcess[str]:
        try:
            return command(*wrong.line.split(), **wrong.environment)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(wrong.line, -1, "", "it went on for two minutes")

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(run, WRONG))


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[w.line + "".join(w.environment.values()) for w in WRONG])
def test_wrong_input_is_one_line_that_names_it_and_says_what_to_do(
    answers: list[subprocess.CompletedProcess[str]], number: int
) -> None:
    check(answers[number], WRONG[number].value, WRONG[number].remedy)


# -- on the emulator -------------------------------------------------------------------------------------------------


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "MERIDIAN_REGION": settings.region,
        "MERIDIAN_PEERS": ",".join(settings.peers),
        "MERIDIAN_PREFIX": settings.prefix,
        "MERIDIAN_ENDPOINTS": ",".join(f"{region}={url}" for region, url in settings.endpoints.items()),
        "MERIDIAN_READ_TIMEOUT": "30",
    }


@pytest.mark.emulator
@pytest.mark.parametrize(
    "line",
    ["replicator read user/homer", "replicator append user/homer x", "replicator run", "replicator quarantine",
     "projectors show aircraft aircraft/N1", "projectors run --projection chaos.flights:Aircraft"],
)  # fmt: skip
def test_a_missing_table_is_named_with_its_remedy(line: str, settings: Settings) -> None:
    check(command(*line.split(), "--prefix", "absent", **environment_of(settings)), "table absent-", "init|terraform apply")


@pytest.mark.emulator
def test_what_is_appended_is_read_back(settings: Settings) -> None:
    environment = environment_of(settings)
    appended = []
    for name in ("Homer [bold]", "Zoë 🦄"):
        result = command("replicator", "append", "user/homer", "renamed", json.dumps({"name": name}), **environment)
        assert (result.returncode, result.stderr) == (0, "")
        appended.append(json.loads(result.stdout))
    assert [event["id"] for event in appended] == [f"us-east-1#user#homer#{n:016d}" for n in (1, 2)]
    assert [event["payload"] for event in appended] == [{"name": "Homer [bold]"}, {"name": "Zoë 🦄"}]
    assert appended[1]["observed"] == {"us-east-1": 1}
    for options, expected in (((), appended), (("--reverse", "--limit", "1"), appended[1:])):
        result = command("replicator", "read", "user/homer", *options, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        assert [json.loads(line) for line in result.stdout.splitlines()] == expected
    result = command("replicator", "quarantine", **environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.emulator
def test_init_makes_the_tables_once(settings: Settings) -> None:
    environment = environment_of(settings) | {"MERIDIAN_PREFIX": f"{settings.prefix}-new"}
    assert [command("replicator", "init", **environment).stdout.split()[1] for _ in range(2)] == ["created", "tables"]
    assert [command("projectors", "init", **environment).stdout.split()[1] for _ in range(2)] == ["created", "table"]
