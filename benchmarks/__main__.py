"""`python -m benchmarks`: one emulator process, one table of ratios."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks import appending, copying, folding, starting
from chaos.world.world import World


def main() -> None:
    out = Console(width=150)
    table = Table(title="medians of 7 rounds, both sides alternately; CPU is the client's own", title_justify="left")
    for name in ("work", "baseline in the same run", "CPU us/event", "CPU ratio", "events/s", "rate ratio"):
        table.add_column(name, justify="left" if name in ("work", "baseline in the same run") else "right")
    with World(["us-east-1"], workers=False, read_timeout=30.0) as world:
        for module in (appending, copying, folding, starting):
            for row in module.rows(world.settings("us-east-1")):
                table.add_row(
                    row.work,
                    row.baseline,
                    f"{row.cpu:,.0f} / {row.baseline_cpu:,.0f}",
                    f"{row.cpu / row.baseline_cpu:.2f}x",
                    f"{row.rate:,.0f} / {row.baseline_rate:,.0f}",
                    f"{row.rate / row.baseline_rate:.2f}x",
                )
    out.print(table)


if __name__ == "__main__":
    main()
