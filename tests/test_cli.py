"""The three commands: help that names every option, and wrong input answered by one line and exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version

import pytest

from chaos.world.world import free_ports
from replicator.aws.control_table import DynamoControl
from replicator.control.quarantine import Quarantine
from replicator.runtime.distribution import DISTRIBUTION
from replicator.runtime.settings import Settings
from tests.commands import Answer, command
from tests.processes import HANGING_SECONDS
from tests.regions import CLEAN, environment_of

ENVIRONMENT = {**CLEAN, "COLUMNS": "200"}


def python(code: str, *arguments: str, **environment: str) -> Answer:
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=HANGING_SECONDS, env={**ENVIRONMENT, **environment})


def commands(*lines: tuple[str, dict[str, str]]) -> list[Answer]:
    """Run each line with what it adds to the environment."""
    return [command(*line.split(), **environment) for line, environment in lines]


# -- help ------------------------------------------------------------------------------------------------------------

WHERE = ("--region", "--prefix", "--endpoints", "MERIDIAN_REGION", "MERIDIAN_PREFIX", "MERIDIAN_ENDPOINTS")
HELP = {
    "replicator": (
        *("init", "run", "append", "read", "publish", "homes", "forget", "quarantine"),
        *("failover", "failback", "switchover", "bootstrap", "runs", "verify", "repair", "forks", "status"),
    ),
    "projectors": (
        *("init", "run", "serve", "show", "rebuild", "switch", "versions", "drop", "verify", "conflicts", "replay", "row"),
    ),
    "chaos": ("drill", "contend", "views"),
    "replicator init": WHERE,
    "replicator run": (*WHERE, "--peers", "MERIDIAN_PEERS"),
    "replicator append": (*WHERE, "--peers", "stream", "event_type", "payload"),
    "replicator read": (*WHERE, "--peers", "--limit", "--reverse", "stream"),
    "replicator quarantine": (*WHERE, "--peers"),
    "replicator publish": (*WHERE, "--peers", "--external", "MERIDIAN_EXTERNAL"),
    "replicator homes": (*WHERE, "--peers", "--set", "--types", "--lost", "--wait"),
    "replicator forget": (*WHERE, "--peers", "--stream", "subject"),
    "replicator failover": (*WHERE, "FROM", "TO", "--lost", "--wait", "--plan", "--yes", "--json"),
    "replicator failback": (*WHERE, "REGION", "--capacity", "--without", "--wait", "--plan", "--yes", "--json"),
    "replicator switchover": (*WHERE, "FROM", "TO", "--wait", "--plan", "--yes", "--json"),
    "replicator bootstrap": (*WHERE, "REGION", "--capacity", "--without", "--wait", "--plan", "--yes", "--json"),
    "replicator runs": (*WHERE, "--abandon"),
    "replicator verify": (*WHERE, "--deep", "--wait", "--json"),
    "replicator repair": (*WHERE, "--to", "--capacity"),
    "replicator forks": (*WHERE, "--salvage", "--from", "--into"),
    "replicator status": (*WHERE, "--watch", "--every", "--json", "--html"),
    "projectors init": (*WHERE, "--sink", "MERIDIAN_SINKS"),
    "projectors run": (*WHERE, "--peers", "--projection", "MERIDIAN_PROJECTIONS", "--sink", "MERIDIAN_SINKS"),
    "projectors rebuild": (*WHERE, "--peers", "--projection", "--version", "--sink", "--again"),
    "projectors switch": (*WHERE, "--projection", "--sink", "--force"),
    "projectors versions": (*WHERE, "--projection", "--sink"),
    "projectors drop": (*WHERE, "--sink", "--force"),
    "projectors verify": (
        *WHERE,
        *("--peers", "--projection", "--version", "--sink", "--regions", "--events", "--thorough", "--settle"),
    ),
    "projectors conflicts": (*WHERE, "--peers", "--projection", "--name", "--json"),
    "projectors replay": (*WHERE, "--peers", "--projection", "--version", "--at", "--field"),
    "projectors row": (*WHERE, "--projection", "--version", "--sink"),
    "projectors serve": (*WHERE, "--peers", "--projection", "--host", "--port"),
    "projectors show": (*WHERE, "projection", "stream", "--version", "--sink"),
    "chaos drill": (
        *(
            "--events",
            "--regions",
            "--seed",
            "--kills",
            "--json",
            "--break",
            "lost",
            "truth_matches",
            "--kind",
            "--markdown",
        ),
    ),
    "chaos contend": ("--operations", "--writers", "--streams", "--seed", "--json"),
    "chaos views": ("--events", "--seed", "--every"),
}


@pytest.fixture(scope="module")
def helped() -> dict[str, Answer]:
    return dict(zip(HELP, commands(*((f"{line} --help", {}) for line in HELP)), strict=True))


@pytest.mark.parametrize("line", HELP)
def test_help_names_every_command_and_option(helped: dict[str, Answer], line: str) -> None:
    assert (helped[line].returncode, helped[line].stderr) == (0, "")
    assert [word for word in HELP[line] if word not in helped[line].stdout] == []


@pytest.mark.parametrize("package", ["replicator", "projectors", "chaos"])
def test_each_command_starts_on_its_own(package: str) -> None:
    result = python(f"from {package}.cli.app import main; main()", "--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("package", ["replicator", "projectors", "chaos"])
def test_each_command_says_its_version(package: str) -> None:
    result = python(f"from {package}.cli.app import main; main()", "--version")
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, version(DISTRIBUTION), "")


# -- wrong input -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    """A command line that is wrong: its one line on standard error names `value` and `remedy`."""

    line: str
    value: str
    remedy: str
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environment), self.line])


(_CLOSED,) = free_ports(1)
AT = f"--endpoints us-east-1=http://127.0.0.1:{_CLOSED}"
EAST = "--region us-east-1"
AIRCRAFT = "chaos.workload.flights:Aircraft"
WRONG = [
    Wrong("replicator read user/homer", "no region", "--region or set MERIDIAN_REGION"),
    Wrong("replicator read user/homer --region US-EAST-1", "'US-EAST-1'", "such as 'us-east-1'"),
    Wrong("replicator init --region moon", "'moon'", "such as 'us-east-1'"),
    Wrong("replicator run", "'Mars'", "such as 'us-east-1'", (("MERIDIAN_REGION", "Mars"),)),
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
    Wrong(f"replicator read user/homer {EAST}", "MERIDIAN_ATTEMPTS is 'many'", "number", (("MERIDIAN_ATTEMPTS", "many"),)),
    Wrong(f"replicator read user/homer {EAST}", "'inf'", "number", (("MERIDIAN_ATTEMPTS", "inf"),)),
    Wrong(f"replicator read user/homer {EAST}", "'nan'", "number", (("MERIDIAN_ATTEMPTS", "nan"),)),
    Wrong(f"replicator reconcile --to mars {EAST}", "'mars'", "choose from"),
    Wrong(f"replicator read user/homer {EAST}", "us-east-1 is named both", "once", (("MERIDIAN_RETIRED", "us-east-1"),)),
    Wrong(f"replicator read user/homer {EAST}", "'ireland'", "region", (("MERIDIAN_RETIRED", "ireland"),)),
    Wrong(f"replicator homes --set us-east-1 {EAST}", "--types", "for example --types email"),
    Wrong(f"replicator homes --set moon --types email {EAST}", "'moon'", "such as 'us-east-1'"),
    Wrong(f"replicator homes --set eu-west-1 --types email {EAST}", "eu-west-1", "name regions of this system"),
    Wrong(f"replicator homes --set us-east-1 --types e#mail {EAST}", "'e#mail'", "replace it"),
    Wrong(f"replicator read user/homer {EAST}", "MERIDIAN_TOKEN_KEYS", "openssl rand", (("MERIDIAN_TOKEN_KEYS", "short"),)),
    Wrong(f"projectors serve {EAST}", "no projection given", "--projection"),
    Wrong(f"projectors run {EAST}", "no projection given", "--projection"),
    Wrong(f"projectors run {EAST} --projection nonsense", "'nonsense'", "package.module:Name"),
    Wrong(f"projectors run {EAST} --projection no.such:Thing", "'no.such:Thing'", "cannot be loaded"),
    Wrong(f"projectors run {EAST} --projection json:loads", "'json:loads'", "subclass of projectors.Projection"),
    Wrong(f"projectors run {EAST} --projection :Thing", "':Thing'", "package.module:Name|cannot be loaded"),
    Wrong(f"projectors show aircraft N14228 {EAST}", "'N14228'", "'type/id'"),
    Wrong(f"projectors init {EAST} --sink mysql://root:secret@host/db", "'mysql://host/db'", "write 'dynamodb'"),
    Wrong(f"projectors run {EAST} --projection {AIRCRAFT} --sink memory", "'memory'", "write 'dynamodb'"),
    Wrong(f"projectors verify aircraft {EAST} --sink dynamodb --sink dynamodb", "twice", "once"),
    Wrong(
        f"projectors verify aircraft {EAST} --sink redis://h?password=one --sink redis://h?password=two",
        "redis://h",
        "name each once",
    ),
    Wrong(f"projectors verify aircraft {EAST}", "nothing to compare with", "--regions or --events"),
    Wrong(
        f"projectors conflicts aircraft/N1 {EAST} --projection {AIRCRAFT} --name aircrat",
        "'aircrat'",
        "(aircraft@1)",
    ),
    Wrong(f"projectors conflicts robot/bender {EAST} --projection {AIRCRAFT}", "'robot'", "--projection"),
    Wrong(f"projectors versions {EAST} --projection nonsense", "'nonsense'", "package.module:Name"),
    Wrong(f"projectors show aircraft aircraft/N1 {EAST} --sink redis", "'redis'", "write 'dynamodb'"),
    Wrong("chaos views --events lots", "'lots'", "give one such as"),
    Wrong("chaos drill --events abc", "'abc'", "give one such as 10000"),
    Wrong("chaos drill --events 0", "0", "give|at least"),
    Wrong("chaos drill --regions 9", "9", "give 2 to 6"),
    Wrong("chaos drill --kills -1", "-1", "number of workers"),
    Wrong("chaos drill --kind nonsense", "'nonsense'", "choose from freeze"),
    Wrong("chaos drill --kind kill --terraform", "--kind kill", "use --kind freeze"),
    Wrong("chaos drill --markdown /no/such/directory/x.md", "/no/such/directory", "create it"),
    Wrong(f"replicator failover us-east-1 us-east-1 {EAST}", "no other region", "--peers"),
    Wrong(f"replicator failover us-east-1 moon {EAST} --peers eu-west-1 --plan", "'moon'", "such as 'us-east-1'"),
    Wrong(f"replicator bootstrap us-west-2 {EAST} --peers eu-west-1", "us-west-2 is not a region", "correct the name"),
    Wrong(f"replicator forks --salvage us-east-1/user/1 {EAST} --peers eu-west-1", "--from", "--into"),
    Wrong(f"replicator status {EAST} --html /no/such/directory/x.html", "/no/such/directory", "create it"),
    Wrong(f"replicator verify {EAST}", "nothing to compare with", "--peers"),
    Wrong(
        f"replicator failover us-east-1 eu-west-1 {EAST} --peers eu-west-1 --plan",
        "'nonsense'",
        "MERIDIAN_STEERING",
        (("MERIDIAN_STEERING", "nonsense"),),
    ),
    Wrong(f"replicator verify {EAST} --peers eu-west-1", "'soon'", "give a number", (("MERIDIAN_FENCE_LEASE", "soon"),)),
    Wrong("chaos drill --break nonsense", "'nonsense'", "choose from lost"),
    Wrong("chaos contend --writers 1", "at least 2 writers", "4 streams"),
    Wrong("chaos contend --json /no/such/directory/result.json", "/no/such/directory", "create it"),
    Wrong("chaos drill --json /no/such/directory/result.json", "/no/such/directory", "create it"),
]


def check(result: Answer, value: str, remedy: str) -> None:
    assert "Traceback" not in result.stderr, result.stderr[-600:]
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert value in line
    assert re.search(remedy, line) if "|" in remedy else remedy in line


@pytest.fixture(scope="module")
def answers() -> dict[Wrong, Answer]:
    return dict(zip(WRONG, commands(*((wrong.line, dict(wrong.environment)) for wrong in WRONG)), strict=True))


# Ports differ from one test process to the next, and names of tests must not.
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong).replace(str(_CLOSED), "PORT"))
def test_wrong_input_is_one_line_that_names_it_and_says_what_to_do(answers: dict[Wrong, Answer], wrong: Wrong) -> None:
    check(answers[wrong], wrong.value, wrong.remedy)


def test_an_error_is_shown_without_what_it_quotes_of_a_payload() -> None:
    code = """
import typer
from projectors.model.projection import ProjectionFailed
from replicator.cli.console import run
app = typer.Typer(pretty_exceptions_enable=False)

@app.command()
def fail():
    try:
        int("secret")
    except ValueError as error:
        raise ProjectionFailed("projection account cannot process event 7", error) from error

run(app)
"""
    result = python(code)
    assert (result.returncode, "cannot process event 7: ValueError" in result.stderr) == (1, True)
    assert "secret" not in result.stderr


# -- on the emulator -------------------------------------------------------------------------------------------------


@pytest.mark.emulator
def test_a_missing_table_is_named_with_its_remedy(settings: Settings) -> None:
    lines = (
        "replicator read user/homer",
        "replicator append user/homer x",
        "replicator run",
        "replicator quarantine",
        "projectors show aircraft aircraft/N1",
        "projectors run --projection chaos.workload.flights:Aircraft",
    )
    for result in commands(
        *((f"{line} --prefix absent", environment_of(settings, MERIDIAN_READ_TIMEOUT="30")) for line in lines)
    ):
        check(result, "table absent-", "init|terraform apply")


@pytest.mark.emulator
def test_what_is_appended_is_read_back(settings: Settings) -> None:
    environment = environment_of(settings, MERIDIAN_READ_TIMEOUT="30")
    appended = []
    for name in ("Homer [bold]", "Zoë 🦄"):
        result = command("replicator", "append", "user/homer", "renamed", json.dumps({"name": name}), **environment)
        assert (result.returncode, result.stderr) == (0, "")
        appended.append(json.loads(result.stdout))
        assert appended[-1].pop("regions") == ["us-east-1"]
    assert [event["id"] for event in appended] == [f"us-east-1#user#homer#{n:016d}" for n in (1, 2)]
    assert [event["payload"] for event in appended] == [{"name": "Homer [bold]"}, {"name": "Zoë 🦄"}]
    assert appended[1]["observed"] == {"us-east-1": 1}
    for options, expected in (((), appended), (("--reverse", "--limit", "1"), appended[1:])):
        result = command("replicator", "read", "user/homer", *options, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        assert [json.loads(line) for line in result.stdout.splitlines()] == expected
    result = command("replicator", "quarantine", **environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    result = command("replicator", "where", appended[1]["id"], **environment)
    assert (result.returncode, result.stderr) == (0, "")
    lacking = {"eu-west-1": {"us-east-1#user#homer": 2}}
    assert json.loads(result.stdout) == {"held": ["us-east-1"], "missing": lacking, "unknown": {}}
    result = command("replicator", "where", appended[1]["id"], "--regions", "2", **environment)
    assert result.returncode == 1
    assert "eu-west-1 lacks us-east-1#user#homer 2" in result.stderr
    more = ("--copies", "2", "--within", "30")
    result = command("replicator", "append", "user/homer", "renamed", *more, **environment)
    assert json.loads(result.stdout)["regions"] == ["us-east-1", "eu-west-1"]
    result = command("replicator", "where", appended[1]["id"], "--regions", "2", "--wait", "10", **environment)
    assert (result.returncode, json.loads(result.stdout)["missing"]) == (0, {})
    result = command("replicator", "where", "user/homer", **environment)
    assert result.returncode != 0
    assert "token 'user/homer' is not in this system's canonical form" in result.stderr


@pytest.mark.emulator
def test_what_has_been_dealt_with_is_released_by_event_by_lane_and_by_projection(settings: Settings) -> None:
    environment, link = environment_of(settings, MERIDIAN_READ_TIMEOUT="30"), f"{settings.region}>views"
    lane = "us-east-1#user#homer"
    for key in (
        f"place {lane}#{1:016d}",
        f"place {lane}#{2:016d}",
        f"tags {lane}#{2:016d}",
        f"tags us-east-1#user#lisa#{1:016d}",
    ):
        Quarantine(DynamoControl(settings), link).add(key, "KeyError at views.py:7")

    def listed(*options: str) -> list[str]:
        result = command("replicator", "quarantine", *options, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        return [json.loads(line)["event"] for line in result.stdout.splitlines()]

    for nothing in ("homer", "us-east-1#user#bart", ""):
        result = command("replicator", "quarantine", "--release", nothing, **environment)
        check(result, f"--release '{nothing}' names nothing in quarantine", "projection (place, tags)")
    assert len(listed()) == 4
    assert listed("--release", f"{lane}#{2:016d}") == [f"place {lane}#{2:016d}", f"tags {lane}#{2:016d}"]
    assert listed("--release", lane) == [f"place {lane}#{1:016d}"]
    assert listed("--release", "tags") == [f"tags us-east-1#user#lisa#{1:016d}"]
    check(
        command("replicator", "quarantine", "--release", "tags", **environment), "quarantine is empty", "nothing to release"
    )


@pytest.mark.emulator
def test_homes_are_named_moved_and_printed(settings: Settings) -> None:
    environment = environment_of(settings, MERIDIAN_READ_TIMEOUT="30")
    before = command("replicator", "homes", **environment)
    assert [json.loads(line)["epoch"] for line in before.stdout.splitlines()] == [None, None]
    for regions, epoch in (("us-east-1,eu-west-1", 1), ("eu-west-1", 2), ("eu-west-1", 2)):
        moved = command("replicator", "homes", "--set", regions, "--types", "email", **environment)
        assert moved.returncode == 0, moved.stderr
        for line in moved.stdout.splitlines():
            value = json.loads(line)
            assert (value["epoch"], value["open"], sorted(value["regions"])) == (epoch, True, sorted(regions.split(",")))
            assert value["types"] == ["email"]
    fewer = command("replicator", "homes", "--set", "us-east-1", "--types", "phone", **environment)
    assert (fewer.returncode, "--types email,phone" in fewer.stderr) == (2, True)
    blind = {**environment, "MERIDIAN_REGION": "us-east-1", "MERIDIAN_PEERS": ""}
    unknown = command("replicator", "homes", "--set", "us-east-1", "--types", "email", **blind)
    assert (unknown.returncode, "eu-west-1 may be home" in unknown.stderr) == (2, True)


@pytest.mark.emulator
def test_init_makes_the_tables_once(settings: Settings) -> None:
    environment = environment_of(settings, MERIDIAN_READ_TIMEOUT="30") | {"MERIDIAN_PREFIX": f"{settings.prefix}-new"}
    assert [command("replicator", "init", **environment).stdout.split()[1] for _ in range(2)] == ["created", "tables"]
    assert [command("projectors", "init", **environment).stdout for _ in range(2)] == ["us-east-1: dynamodb is ready\n"] * 2
