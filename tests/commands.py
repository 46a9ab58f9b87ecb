"""Run the three commands as they are typed, each line in a process forked from one that has imported them: importing takes
longer than most lines."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from chaos.child_processes import dying_with_this_process
from tests.regions import CLEAN

ROOT = Path(__file__).parents[1]
Answer = subprocess.CompletedProcess[str]

_SERVER = """
import json, os, sys, tempfile, traceback
import chaos.cli.app, projectors.cli.app, replicator.cli.app
from chaos.child_processes import dying_with_this_process
prepare = dying_with_this_process()
for line in sys.stdin:
    (package, *arguments), environment = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 1
            try:
                prepare()
                os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
                os.environ.update(environment)
                sys.argv = [package, *arguments]
                sys.modules[package + ".cli.app"].main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [os.pread(file.fileno(), 10_000_000, 0).decode() for file in (out, err)]
        print(json.dumps([code, *texts]), flush=True)
"""
_ENVIRONMENT = {**CLEAN, "COLUMNS": "250"}


@cache
def _server() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=pipe, stdout=pipe, text=True, cwd=ROOT,
        env=_ENVIRONMENT, preexec_fn=dying_with_this_process(),
    )  # fmt: skip
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen[str]) -> None:
    server.communicate()  # closes its standard input, which ends it


def command(*line: str, **environment: str) -> Answer:
    """Run a line such as ("projectors", "show", …) with this added to an environment that has no settings of Meridian's."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([line, environment]) + "\n")
    server.stdin.flush()
    code, out, err = json.loads(server.stdout.readline())
    return Answer(line, code, out, err)
