"""The cold start of the replicator function, as far as it is ours: a fresh Python that imports the handler from the
unzipped package and makes its clients, against one that imports boto3 and makes one client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.measure import Row, compare
from replicator import Settings

BUILD = Path(__file__).resolve().parent.parent / "terraform" / "lambda" / "build.py"
OURS = "from replicator.functions import _outbound; _outbound()"
THEIRS = "import boto3; boto3.client('dynamodb', region_name='us-east-1')"


def rows(settings: Settings) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.zip"
        subprocess.run([sys.executable, str(BUILD), "--out", str(package)], check=True, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(Path(folder) / "task")
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(folder) / "task"),
            "AWS_LAMBDA_FUNCTION_NAME": "meridian-replicator",
            "MERIDIAN_REGION": "us-east-1",
            "MERIDIAN_PEERS": "eu-west-1,ap-southeast-2",
        }

        def start(code: str) -> None:
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)

        return [
            compare(
                "cold start, two peers", lambda: start(OURS), "boto3 and one client", lambda: start(THEIRS), 1, children=True
            )
        ]
