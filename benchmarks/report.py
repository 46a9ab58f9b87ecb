"""Reports of the rows: a table, JSON, and Markdown for docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measure import Pair, Row

COLUMNS = (
    "work", "baseline in the same run", "CPU us/event", "theirs", "CPU ratio", "events/s", "theirs", "rate ratio", "counted",
    "goal", "met",
)  # fmt: skip
_WORDS = 2
"""Number of leading columns that are text."""


def machine() -> str:
    """Return the machine and its software, and how busy it is, in a line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("boto3", "pynamodb", "ministack"))
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{packages}; load average {os.getloadavg()[0]:.1f}"
    )


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's texts, in the order of COLUMNS."""
    goals = ", ".join(str(goal) for goal in row.task.goals) or "-"
    met = "failed" if row.failed else ("yes" if row.met else "no") if row.task.goals else "-"
    return (row.task.work, row.task.baseline, *_three(row.cpu), *_three(row.rate), _counted(row), goals, met)


def _three(pair: Pair | None) -> tuple[str, str, str]:
    if pair is None:
        return "", "", ""
    return _short(pair.ours), _short(pair.theirs), f"{pair.ratio:.3f}x" if pair.ratio < 1 else f"{pair.ratio:.2f}x"


def _counted(row: Row) -> str:
    if row.count is None:
        return ""
    ratio = row.count.ratio
    said = f"{ratio:.2%}" if ratio < 0.1 else f"{ratio:.3f}x"
    ours, theirs = (f"{each:,.0f}" if each >= 100 else f"{each:.4g}" for each in (row.count.ours, row.count.theirs))
    return f"{ours} / {theirs} {row.task.counted}: {said}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def table(rows: Sequence[Row], rounds: int) -> Table:
    title = f"medians of {rounds} rounds, both sides alternately; CPU is the client's own"
    drawn = Table(title=title, title_justify="left")
    for number, name in enumerate(COLUMNS):
        drawn.add_column(name, justify="left" if number < _WORDS or name in ("counted", "goal") else "right")
    for row in rows:
        *texts, met = cells(row)
        drawn.add_row(
            *texts, {"yes": "[green]yes[/]", "no": "[bold red]no[/]", "failed": "[bold red]failed[/]"}.get(met, met)
        )
    return drawn


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "|".join(" --- " if n < _WORDS or n in (8, 9) else " ---: " for n in range(len(COLUMNS))) + "|")
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows)]) + "\n"


def as_json(file: str, row: Row) -> dict[str, Any]:
    """Return a row as JSON: `cpu` in microseconds an event, `rate` in events a second, `count` in units of `counted`; null:
    not measured."""
    return {
        "file": file,
        "work": row.task.work,
        "baseline": row.task.baseline,
        "cpu": _pair(row.cpu),
        "rate": _pair(row.rate),
        "count": _pair(row.count),
        "counted": row.task.counted,
        "goals": [
            {"of": goal.of.name.lower(), "limit": goal.limit, "at_least": goal.at_least, "text": str(goal), "met": met}
            for goal, met in row.judged()
        ],
        "met": row.met,
        "note": row.note,
        "failed": row.failed,
    }


def _pair(pair: Pair | None) -> dict[str, float] | None:
    return {"ours": pair.ours, "theirs": pair.theirs, "ratio": pair.ratio} if pair is not None else None
