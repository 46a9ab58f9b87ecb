"""Cold start of the replicator function, as far as it is ours: a fresh Python that imports the handler from the unzipped
package and makes its clients, against one that imports boto3 and makes one client.

As on Lambda there is nothing to import but the package, which brings its own boto3 and its bytecode. The baseline imports
the runtime's boto3, which is compiled as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Of, Row, Task, at_most

BUILD = Path(__file__).resolve().parent.parent / "terraform" / "lambda" / "build.py"
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""Packages that Lambda's own Python has."""
OURS = "from replicator.handlers import _outbound; _outbound()"
THEIRS = "import boto3; boto3.client('dynamodb', region_name='us-east-1')"
TASKS = (Task("cold start of the replicator, two peers", "import boto3 and one client", (at_most(Of.CPU, 1.3),)),)


def rows(bench: Bench) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="meridian-start-") as folder:
        package = Path(folder) / "package.zip"
        subprocess.run([sys.executable, str(BUILD), "--out", str(package)], check=True, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(Path(folder) / "task")
        _link_runtime(Path(folder) / "runtime")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MERIDIAN_", "AWS_"))},
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": "meridian-replicator",
            "MERIDIAN_REGION": "us-east-1",
            "MERIDIAN_PEERS": "eu-west-1,ap-southeast-2",
        }

        def start(path: str, code: str) -> None:
            paths = {"PYTHONPATH": str(Path(folder) / path)}
            subprocess.run([sys.executable, "-S", "-c", code], check=True, env=environment | paths, cwd=folder)

        yield bench.compare(
            TASKS[0],
            lambda: start("task", OURS),
            lambda: start("runtime", THEIRS),
            1,
            children=True,
            note="events are starts",
        )


def _link_runtime(folder: Path) -> None:
    folder.mkdir()
    for name in RUNTIME:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{name} is missing, which boto3 needs")
        found = Path(spec.origin)
        found = found.parent if found.name == "__init__.py" else found
        (folder / found.name).symlink_to(found)
