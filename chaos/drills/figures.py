"""The figures of drills as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.drills.result import DrillResult

COLUMNS = (
    "kind", "events", "RPO events/lanes", "gone", "RTO s", "fail-back s", "lost", "overwritten", "duplicated", "forks",
    "converged s", "took s",
)  # fmt: skip


def figures(result: DrillResult) -> Sequence[str]:
    """One drill's figures, in the order of COLUMNS."""
    v = result.verdict
    return (
        result.config.kind,
        f"{result.acknowledged:,}",
        f"{result.rpo_events:,}/{result.rpo_lanes:,}",
        f"{result.gone_events:,}",
        _number(result.rto_seconds),
        _number(result.failback_seconds),
        *(f"{count:,}" for count in (v.lost, v.overwritten, v.duplicated, v.forked)),
        _number(result.converge_seconds),
        _number(result.total_seconds),
    )


SHORT = ("kind", "RPO", "gone", "RTO s", "fail-back s", "lost/overwritten/ doubled/forks", "promises")


def short_figures(result: DrillResult) -> Sequence[str]:
    """What fits on a terminal, in the order of SHORT but for its last."""
    v = result.verdict
    return (
        result.config.kind,
        f"{result.rpo_events:,}",
        f"{result.gone_events:,}",
        _number(result.rto_seconds),
        _number(result.failback_seconds),
        f"{v.lost:,}/{v.overwritten:,}/{v.duplicated:,}/{v.forked:,}",
    )


def as_markdown(results: Sequence[DrillResult]) -> str:
    """A Markdown table, a row a drill."""
    rows = [COLUMNS, ("---", *("---:" for _ in COLUMNS[1:])), *map(figures, results)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"
