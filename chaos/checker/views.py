"""Checks of views: each holds every event of its stream, and every region has the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.checker.causes import vector_of
from chaos.checker.history import Finals, Kept
from chaos.checker.verdict import Verdict


def check_views(verdict: Verdict, finals: Finals, type: str) -> None:
    """Judge every region's views of the streams of this type, without their values."""
    reference: tuple[str, Mapping[str, str]] | None = None
    for region, final in finals.items():
        heads = _heads(final.events, type)
        for stream in sorted(heads.keys() | final.views.keys()):
            view = final.views.get(stream)
            verdict.look("views_complete")
            if view is None or (vector_of(view.vector) or {}) != heads.get(stream):
                at = view.vector if view is not None else "nothing"
                verdict.breach(
                    "views_complete", f"{region}: the view of {stream} is at {at}, its events at {heads.get(stream)}"
                )
        bodies = {stream: view.body for stream, view in final.views.items()}
        if reference is None:
            reference = (region, bodies)
            continue
        verdict.look("views_identical", len(bodies))
        for stream in sorted(bodies.keys() | reference[1].keys()):
            if bodies.get(stream) != reference[1].get(stream):
                verdict.breach("views_identical", f"the view of {stream} differs between {reference[0]} and {region}")


def _heads(events: list[Kept], type: str) -> dict[str, dict[str, int]]:
    heads: dict[str, dict[str, int]] = {}
    for kept in events:
        if kept.stream.startswith(f"{type}/"):
            head = heads.setdefault(kept.stream, {})
            head[kept.region] = max(head.get(kept.region, 0), kept.sequence)
    return heads
