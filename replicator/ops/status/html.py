"""What every page of Meridian is made of: one HTML file that needs nothing else, and the signs of how well things are."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from replicator.ops.status.style import CSS

SIGNS = {"well": "✓", "watch": "!", "act": "✗", "unknown": "?"}
"""The sign of each level. Colours are never the only one."""


def document(title: str, parts: Iterable[str], more: str = "") -> str:
    """The page. `parts` are HTML, of which empty ones are left out; `more` is its own style, behind what every page has."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}{more}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def mark(level: str, sign: str = "") -> str:
    """How well something is, as a sign; another one than the level's where that is given."""
    return f'<span class="mark {level}">{sign or SIGNS[level]}</span>'


def said(level: str, first: str, items: str = "") -> str:
    """What there is to say at the top: one line, and a list. All of it is HTML."""
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div class="said {level}" role="status"><p>{first}</p>{listed}</div>'


def table(kind: str, head: str, rows: str) -> str:
    """A table of this class, with cells for its head and rows that are HTML."""
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
