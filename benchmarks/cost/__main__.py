"""Command `python -m benchmarks.cost`: the page docs/cost.md, made by the meter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cost.page import page
from chaos.cli.progress import Bars
from chaos.report.files import check_output, replace_text
from replicator.cli.console import out, run
from replicator.runtime import logs

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def cost(
    file: Annotated[Path | None, typer.Option("--write", help="Write the page here.", metavar="FILE")] = None,
) -> None:
    """Measure what events use, and print what systems of three sizes cost a month."""
    check_output("--write", file)
    logs.configure_logs("error")
    with Bars() as bars:
        text = page(lambda done, of: bars.steps("loads", done, of))
    if file is not None:
        replace_text(file, text)
    else:
        out.print(text, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    run(app)
