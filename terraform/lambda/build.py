"""Build the Lambda package: one zip for all functions, the same bytes from the same tree by the same Python.

    python terraform/lambda/build.py [--out dist/meridian-lambda.zip] [--include PATH …] [--service NAME …]
        [--erasure ARCH] [--cache DIR]

The zip holds `replicator`, `projectors`, what requirements.txt pins, and whatever --include adds: packages or modules
with your projections and your external events. Names are sorted, times and modes are fixed. No machine code goes in, but
for --erasure: personal data needs `cryptography`, a binary wheel of the functions' architecture (erasure-ARCH.txt). Needs
pip and a package index the first time; wheels are kept in the cache and checked by hash each time.

Of botocore goes in what Meridian asks: the models of its own services. If your modules ask others, name each with --service,
as boto3 calls it: `--service s3`. (All models are 14 MB, and no function needs them.)

Beside each module stands its bytecode, for the Python that runs this: functions of that version start in two thirds of the
time, as Lambda cannot keep what it compiles. Others compile the modules as they would without it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's names of architectures, and the wheels'."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SERVICES = ("dynamodb", "dynamodbstreams", "kinesis", "kms", "sqs", "sts")
"""The services whose models go in: those that functions have clients of, and the one that gives credentials."""
MODEL = re.compile(r"^boto(?:core|3)/data/([^/]+)/")
EPOCH = (1980, 1, 1, 0, 0, 0)
LEFT_OUT = re.compile(
    r"(^|/)__pycache__/|\.py[co]$|\.pyi$|\.dist-info/(RECORD|INSTALLER|REQUESTED|WHEEL|direct_url\.json)$"
    # The parts of Powertools that serve HTTP, parse and validate: two thirds of it, and nothing here imports them.
    r"|^aws_lambda_powertools/(event_handler|utilities/(?!__init__|jmespath_utils))"
    # Commands are for people: Lambda has neither a terminal nor Typer.
    r"|^(replicator|projectors)/cli/"
    # Of the web framework, what tests, serves files and renders pages; another event loop; a server for pytest.
    r"|^starlette/(testclient|templating|staticfiles|schemas)\.py$|^anyio/(_backends/_trio|pytest_plugin)\.py$"
    # Of boto3, what only its documentation shows; and a version of DynamoDB's API from before 2012.
    r"|^boto3/examples/|^botocore/data/.*/examples-1\.json$|^botocore/data/dynamodb/2011-12-05/"
    # cryptography loads cffi's compiled half, _cffi_backend. The other half compiles C, and nothing here does.
    r"|^cffi/"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "meridian-lambda.zip")
    parser.add_argument("--include", type=Path, action="append", default=[], help="a package directory or a module")
    parser.add_argument("--service", action="append", default=[], help="an AWS service that your modules have a client of")
    parser.add_argument("--erasure", choices=MACHINES, help="add cryptography for this architecture")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "wheels")
    given = parser.parse_args()
    for path in given.include:
        if not path.exists() or (path.is_file() and path.suffix != ".py"):
            parser.error(f"--include {path}: give a package directory or a .py file")
    wheels = _wheels(given.cache, REQUIREMENTS, [[]])
    if given.erasure:
        platform = ["--platform", f"manylinux2014_{MACHINES[given.erasure]}", "--implementation", "cp", "--python-version"]
        wheels += _wheels(given.cache, HERE / f"erasure-{given.erasure}.txt", [[*platform, each] for each in PYTHONS])
    files = dict(_files(given.include, wheels, {*SERVICES, *given.service}))
    models = {found[1] for name in files if (found := MODEL.match(name))}
    if unknown := sorted(set(given.service) - models):
        parser.error(f"--service {', '.join(unknown)}: botocore has no such service; give names that boto3.client takes")
    files |= _bytecode(files)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write(given.out, files)
    digest = hashlib.sha256(given.out.read_bytes()).hexdigest()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sys.stdout.write(
        f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB, {len(files)} files, bytecode of python{version}, "
        f"sha256 {digest}\n"
    )
    return 0


def write(out: Path, files: dict[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but names and contents."""
    part = out.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            package.writestr(info, files[name])
    part.replace(out)


def _files(include: list[Path], wheels: list[Path], services: set[str]) -> Iterator[tuple[str, bytes]]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                model = MODEL.match(name)
                if not name.endswith("/") and not LEFT_OUT.search(name) and (model is None or model[1] in services):
                    yield name, archive.read(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]  # what importlib.metadata says of the code: the API's document asks
    yield (
        f"{name.replace('-', '_')}-{version}.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
    )
    for source in (ROOT / "replicator", ROOT / "projectors", *include):
        for name, path in _sources(source.resolve()):
            if not LEFT_OUT.search(name):
                yield name, path.read_bytes()


_COMPILE = """
import py_compile, sys
for name in sys.stdin.read().split("\\n"):
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(name, name + "c", dfile=name, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, ValueError):
        print(name)
"""


def _bytecode(files: dict[str, bytes]) -> dict[str, bytes]:
    """The bytecode of each module, which says nothing of times or of where it was made. Made by a Python of its own, as what
    else one has loaded shows in it."""
    names = sorted(name for name in files if name.endswith(".py"))
    with tempfile.TemporaryDirectory(prefix="meridian-bytecode-") as folder:
        for name in names:
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        command = [sys.executable, "-S", "-s", "-P", "-c", _COMPILE]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}  # sets of constants are in the order of hashes
        done = subprocess.run(command, input="\n".join(names), text=True, capture_output=True, cwd=folder, env=environment)
        if done.returncode:
            raise SystemExit(f"the modules cannot be compiled: {done.stderr.strip()[-500:]}")
        if odd := done.stdout.splitlines():  # templates, or a newer Python's: they are packed as they are
            sys.stderr.write(f"without bytecode, as this Python cannot compile them: {', '.join(odd)}\n")
        made = {name: (Path(folder) / f"{name}c").read_bytes() for name in names if name not in odd}
    tag = sys.implementation.cache_tag
    parts = {name: name.rpartition("/") for name in made}
    return {f"{before}{slash}__pycache__/{last[:-3]}.{tag}.pyc": made[name] for name, (before, slash, last) in parts.items()}


def _sources(source: Path) -> Iterator[tuple[str, Path]]:
    """A package's or module's files, under the name that it is imported by."""
    base = source.parent
    while (base / "__init__.py").exists():  # a module of a package keeps the package's name
        base = base.parent
    found = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for path in found:
        yield path.relative_to(base).as_posix(), path
    for folder in source.parents:
        if folder == base:
            break
        yield (folder / "__init__.py").relative_to(base).as_posix(), folder / "__init__.py"


def _wheels(cache: Path, requirements: Path, passes: list[list[str]]) -> list[Path]:
    """The pinned wheels, from the cache where they are there and unaltered, otherwise downloaded in so many passes, each
    with its own options of pip's."""
    wanted = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements.read_text()))
    if not (found := _cached(cache, wanted)):
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(cache), "--requirement", str(requirements)]
        for options in passes:
            done = subprocess.run([*command, *options], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"the pinned wheels cannot be downloaded: {done.stderr.strip()[-500:]}")
        if not (found := _cached(cache, wanted)):
            raise SystemExit(f"what was downloaded is not all that {requirements.name} pins; remove {cache} and try again")
    return found


def _cached(cache: Path, wanted: set[str]) -> list[Path]:
    have = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in cache.glob("*.whl")}
    return [have[digest] for digest in sorted(wanted)] if wanted <= have.keys() else []


if __name__ == "__main__":
    raise SystemExit(main())
