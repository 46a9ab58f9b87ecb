"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Projections = Annotated[
    list[str] | None,
    typer.Option("--projection", help="module:Class; repeat for more. (env: MERIDIAN_PROJECTIONS)", metavar="NAME"),
]
Sinks = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        help="Where views are kept: dynamodb, postgresql://…, redis://…, opensearch+https://…; repeat for more. "
        "(env: MERIDIAN_SINKS, separated by spaces; default: dynamodb)",
        metavar="ADDRESS",
    ),
]
Sink = Annotated[
    str,
    typer.Option("--sink", help="The sink: dynamodb, postgresql://…, redis://…, opensearch+https://…", metavar="ADDRESS"),
]
Name = Annotated[str, typer.Argument(help="The projection's name, e.g. aircraft", metavar="NAME")]
Version = Annotated[int | None, typer.Option("--version", help="Its version; default: the highest loaded.", min=1)]
