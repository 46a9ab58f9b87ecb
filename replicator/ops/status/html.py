"""HTML kit of Meridian's pages: one self-contained file, and the signs of health levels."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from replicator.ops.status.style import CSS

SIGNS = {"well": "✓", "watch": "!", "act": "✗", "unknown": "?"}
"""Sign of each level. Colours are never the only one."""


def document(title: str, parts: Iterable[str], more: str = "") -> str:
    """Return the page. `parts` are HTML, of which empty ones are left out; `more` is CSS after the common style."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}{more}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def mark(level: str, sign: str = "") -> str:
    """Return the sign of a level, or another one if given."""
    return f'<span class="mark {level}">{sign or SIGNS[level]}</span>'


def said(level: str, first: str, items: str = "") -> str:
    """Return the message at the top: one line, and a list. All of it is HTML."""
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div class="said {level}" role="status"><p>{first}</p>{listed}</div>'


def table(kind: str, head: str, rows: str) -> str:
    """Return a table of this class, with a head and rows that are HTML."""
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
