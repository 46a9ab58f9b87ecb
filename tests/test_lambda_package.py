"""The Lambda package: the same bytes from the same tree, small, and whole."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HANDLERS = (
    "replicator.handlers.replicate",
    "replicator.handlers.catch_up",
    "replicator.handlers.redrive",
    "replicator.handlers.publish",
    "projectors.handlers.project",
    "projectors.handlers.catch_up",
    "projectors.api_handler.handler",
)
AWS_LIBRARIES = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")
SERVICES = {"dynamodb", "dynamodbstreams", "kinesis", "kms", "sqs", "sts"}


def build(root: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "terraform" / "lambda" / "build.py"), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("package") / "package.zip"
    built = build(ROOT, out, "--cache", str(cache))
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Lambda does it: botocore reads its models as files."""
    folder = tmp_path_factory.mktemp("task") / "unpacked"
    zipfile.ZipFile(package).extractall(folder)
    return folder


def test_the_same_tree_gives_the_same_bytes_wherever_and_whenever(package: Path, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    for part in ("replicator", "projectors", "terraform/lambda"):
        shutil.copytree(ROOT / part, copy / part, copy_function=shutil.copyfile)
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    for path in copy.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)
    (copy / "replicator" / "__pycache__").mkdir(exist_ok=True)
    (copy / "replicator" / "__pycache__" / "store.cpython-311.pyc").write_bytes(b"stale")
    built = build(copy, tmp_path / "package.zip", "--cache", str(cache))
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "package.zip").read_bytes() == package.read_bytes()


def test_a_changed_line_gives_other_bytes(package: Path, cache: Path, tmp_path: Path) -> None:
    for part in ("replicator", "projectors", "terraform/lambda"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    with (tmp_path / "replicator" / "eventstore" / "store.py").open("a") as source:
        source.write("# changed\n")
    assert build(tmp_path, tmp_path / "package.zip", "--cache", str(cache)).returncode == 0
    assert (tmp_path / "package.zip").read_bytes() != package.read_bytes()


def test_it_is_small_and_holds_neither_commands_nor_machine_code(package: Path) -> None:
    assert package.stat().st_size < 6_300_000
    names = zipfile.ZipFile(package).namelist()
    assert names == sorted(names)
    assert not [name for name in names if name.endswith(".so") or "test" in name.split("/")[0]]
    assert not [name for name in names if name.split("/")[0] in ("typer", "rich", "chaos")]
    assert "replicator/handlers.py" in names
    assert "replicator/cli/app.py" not in names


def pins(path: Path) -> dict[str, str]:
    """The versions that a file of requirements or constraints pins, by name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_functions_run_the_aws_libraries_that_the_tests_run() -> None:
    packed, tested = pins(ROOT / "terraform" / "lambda" / "requirements.txt"), pins(ROOT / ".ci" / "constraints.txt")
    assert {name: packed[name] for name in AWS_LIBRARIES} == {name: tested[name] for name in AWS_LIBRARIES}
    assert {name: version for name, version in packed.items() if tested[name] != version} == {}
    if "CONSTRAINTS" in os.environ:  # .ci/run: what is installed here is what the file says
        assert {name: importlib.metadata.version(name) for name in AWS_LIBRARIES} == {
            name: packed[name] for name in AWS_LIBRARIES
        }


def test_the_aws_libraries_come_from_the_package_in_their_pinned_versions(unpacked: Path, tmp_path: Path) -> None:
    """Lambda looks for modules in the package first, then among its own."""
    code = """
import importlib, importlib.metadata, json, sys
import replicator.handlers, projectors.handlers, projectors.api_handler
from replicator.aws import clients
names = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
modules = [importlib.import_module(name) for name in names]
versions = {name: importlib.metadata.version(name) for name in ("boto3", "botocore", "urllib3")}
print(json.dumps([sorted({module.__file__.rpartition("/unpacked/")[0] for module in modules}), versions,
                  [boto3.__version__ for boto3 in modules[:2]], clients.boto3 is modules[0]]))
"""
    versions = pins(ROOT / "terraform" / "lambda" / "requirements.txt")
    places, said, own, same = json.loads(run(unpacked, tmp_path, code))
    assert places == [str(unpacked.parent)]
    assert said == {name: versions[name] for name in ("boto3", "botocore", "urllib3")}
    assert own == [versions["boto3"], versions["botocore"]]
    assert same


def test_it_holds_the_models_of_meridians_own_services_and_of_those_that_are_named(
    package: Path, cache: Path, tmp_path: Path
) -> None:
    def models(path: Path) -> set[str]:
        names = zipfile.ZipFile(path).namelist()
        return {name.split("/")[2] for name in names if name.startswith("botocore/data/") and name.count("/") > 2}

    assert models(package) == SERVICES
    done = build(ROOT, tmp_path / "package.zip", "--service", "s3", "--service", "events", "--cache", str(cache))
    assert done.returncode == 0, done.stderr
    assert models(tmp_path / "package.zip") == SERVICES | {"s3", "events"}
    done = build(ROOT, tmp_path / "none.zip", "--service", "s4", "--cache", str(cache))
    assert done.returncode == 2
    assert "--service s4: botocore has no such service" in done.stderr
    assert not (tmp_path / "none.zip").exists()


def test_every_client_that_functions_make_can_be_made_from_it(unpacked: Path, tmp_path: Path) -> None:
    code = """
from replicator.aws import clients
from replicator.runtime.settings import read_settings
settings = read_settings()
makers = (clients.dynamodb, clients.streams, clients.kinesis, clients.sqs, clients.kms)
made = [make(settings, "us-east-1").meta for make in makers]
print(*(meta.service_model.service_name for meta in made), *(meta.config.retries["mode"] for meta in made))
"""
    settings = {"MERIDIAN_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    said = run(unpacked, tmp_path, code, **settings).split()
    assert said == ["dynamodb", "dynamodbstreams", "kinesis", "sqs", "kms", *["standard"] * 5]


def test_each_module_has_its_bytecode_which_is_used_unlooked_at(package: Path, tmp_path: Path) -> None:
    """Lambda cannot keep what it compiles, so it would compile everything at each start."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "unpacked")
        names = archive.namelist()
    modules = {name for name in names if name.endswith(".py")}
    compiled = {str(Path(importlib.util.cache_from_source(name))) for name in modules}
    assert compiled == {name for name in names if name.endswith(".pyc")}
    for name in compiled:
        assert (tmp_path / "unpacked" / name).read_bytes()[4:8] == b"\1\0\0\0", "by hash, and not to be checked"
    (tmp_path / "unpacked" / "replicator" / "replication" / "stream_records.py").write_text("this is no Python")
    (tmp_path / "lambda").mkdir()
    code = (
        "from replicator import handlers; from replicator.replication import invocation as i; print(i.read_records.__name__)"
    )
    assert run(tmp_path / "unpacked", tmp_path / "lambda", code) == "read_records"


def test_what_this_python_cannot_compile_is_packed_as_it_is(cache: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").write_text("")
    (shop / "template.py").write_text("{{ name }} is no Python\n")
    (shop / "nulls.py").write_bytes(b"x = 1\0")
    (shop / "traceback.py").write_text("raise RuntimeError('an included module was run')\n")
    done = build(ROOT, tmp_path / "package.zip", "--include", str(shop), "--cache", str(cache))
    assert done.returncode == 0, done.stderr
    assert "shop/nulls.py, shop/template.py" in done.stderr
    names = zipfile.ZipFile(tmp_path / "package.zip").namelist()
    assert {"shop/template.py", "shop/nulls.py"} <= set(names)
    assert [name for name in names if "shop/__pycache__" in name] == [
        importlib.util.cache_from_source(f"shop/{name}.py") for name in ("__init__", "traceback")
    ]


def run(package: Path, folder: Path, code: str, **environment: str) -> str:
    """What Python prints that has nothing on its path but the package and `folder`."""
    code = f"import sys; sys.path[:0] = [{str(package)!r}, {str(folder)!r}]; {code}"
    command = [sys.executable, "-S", "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_handler_is_there_with_nothing_but_the_package(unpacked: Path, tmp_path: Path, handler: str) -> None:
    module, _, function = handler.rpartition(".")
    code = (
        f"import {module} as found; "
        f"assert callable(found.{function}); assert found.__file__.startswith({str(unpacked)!r}), found.__file__; "
        "print(sorted(name for name in ('typer', 'rich', 'replicator.cli.console') if name in sys.modules))"
    )
    assert run(unpacked, tmp_path, code) == "[]"


def test_the_api_answers_from_the_package(unpacked: Path, tmp_path: Path) -> None:
    """Frameworks import as they go: an answer needs more modules than the handler's."""
    (tmp_path / "members.py").write_text(
        "from projectors import Projection, counter\n\n\n"
        "class Member(Projection):\n    name, stream_type = 'member', 'member'\n    visits = counter(visited=lambda p: 1)\n"
    )
    code = """
from projectors.api_handler import handler
def get(path):
    http = {"method": "GET", "path": path, "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1", "userAgent": "test"}
    event = {"version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {"host": "localhost"},
             "requestContext": {"http": http, "domainName": "localhost"}, "isBase64Encoded": False}
    return handler(event, None)["statusCode"]
print(get("/health"), get("/openapi.json"), get("/nowhere"), get("/streams/unknown/7/value"))
"""
    settings = {"MERIDIAN_REGION": "us-east-1", "MERIDIAN_PROJECTIONS": "members:Member", "AWS_ACCESS_KEY_ID": "test"}
    assert run(unpacked, tmp_path, code, **settings, AWS_SECRET_ACCESS_KEY="test") == "200 200 404 404"


ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}


@pytest.fixture(scope="module")
def erasing(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Path]:
    """The package with what personal data needs, by architecture."""
    packages = {name: tmp_path_factory.mktemp("erasing") / f"{name}.zip" for name in ARCHITECTURES}
    for architecture, out in packages.items():
        built = build(ROOT, out, "--erasure", architecture, "--cache", str(cache))
        assert built.returncode == 0, built.stderr
    return packages


@pytest.mark.parametrize(("architecture", "machine"), ARCHITECTURES.items())
def test_with_erasure_it_is_larger_by_what_is_compiled_for_one_architecture(
    erasing: dict[str, Path], package: Path, cache: Path, tmp_path: Path, architecture: str, machine: str
) -> None:
    names = zipfile.ZipFile(erasing[architecture]).namelist()
    assert set(names) > set(zipfile.ZipFile(package).namelist())
    compiled = sorted(name for name in names if name.endswith(".so"))
    backends = [f"_cffi_backend.cpython-{python}-{machine}-linux-gnu.so" for python in (311, 312, 313, 314)]
    assert compiled == [*backends, "cryptography/hazmat/bindings/_rust.abi3.so"]
    assert not [name for name in names if name.split("/")[0] in ("cffi", "pycparser")]
    assert erasing[architecture].stat().st_size < 11_800_000
    again = tmp_path / "again.zip"
    assert build(ROOT, again, "--erasure", architecture, "--cache", str(cache)).returncode == 0
    assert again.read_bytes() == erasing[architecture].read_bytes()


def test_with_erasure_personal_data_is_protected_and_revealed(erasing: dict[str, Path], tmp_path: Path) -> None:
    here = {machine: name for name, machine in ARCHITECTURES.items()}.get(platform.machine())
    if here is None or sys.platform != "linux":
        pytest.skip("no Lambda runs on a machine like this one")
    unpacked = tmp_path / "unpacked"  # as Lambda does: compiled modules are not imported from within a zip
    zipfile.ZipFile(erasing[here]).extractall(unpacked)
    (tmp_path / "lambda").mkdir()
    code = f"""
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData
import cryptography
assert cryptography.__file__.startswith({str(unpacked)!r})
data = PersonalData("us-east-1", {{"us-east-1": MemoryKeys()}}, LocalWrapping("key"))
written = data.protect("user/7", {{"email": "homer@example.com"}}, ["email"])
print(data.reveal(written)["email"])
"""
    assert run(unpacked, tmp_path / "lambda", code) == "homer@example.com"


def test_an_architecture_that_lambda_does_not_have_is_named(cache: Path, tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "package.zip", "--erasure", "riscv", "--cache", str(cache))
    assert done.returncode == 2
    assert "arm64" in done.stderr
    assert not (tmp_path / "package.zip").exists()


def test_ones_own_projections_go_in_under_the_name_they_are_imported_by(cache: Path, tmp_path: Path) -> None:
    shop = tmp_path / "src" / "shop"
    (shop / "views").mkdir(parents=True)
    for path in (shop / "__init__.py", shop / "views" / "__init__.py", shop / "views" / "orders.py", shop / "other.py"):
        path.write_text("")
    (tmp_path / "alone.py").write_text("")
    options = [
        "--include",
        str(shop / "views" / "orders.py"),
        "--include",
        str(tmp_path / "alone.py"),
        "--cache",
        str(cache),
    ]
    assert build(ROOT, tmp_path / "package.zip", *options).returncode == 0
    names = set(zipfile.ZipFile(tmp_path / "package.zip").namelist())
    assert {"shop/__init__.py", "shop/views/__init__.py", "shop/views/orders.py", "alone.py"} <= names
    assert "shop/other.py" not in names


@pytest.mark.parametrize("path", ["no/such/place", "README.md"])
def test_what_cannot_be_included_is_named(path: str, cache: Path, tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "package.zip", "--include", path, "--cache", str(cache))
    assert done.returncode == 2
    assert f"--include {path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "package.zip").exists()


def test_a_wheel_that_was_tampered_with_is_not_used(package: Path, cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "wheels"
    shutil.copytree(cache, mine)
    wheel = next(mine.glob("tenacity-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"x")
    done = build(ROOT, tmp_path / "package.zip", "--cache", str(mine))
    # Either pip replaces it by the pinned one, or it is refused; never is it packed.
    assert done.returncode != 0 or (tmp_path / "package.zip").read_bytes() == package.read_bytes()
