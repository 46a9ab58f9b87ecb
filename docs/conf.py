"""How `make docs` builds the site: Sphinx, Markdown by MyST, the Furo theme (docs/decisions/0033-the-site.md)."""

from __future__ import annotations

project = "Meridian"
author = "The Meridian authors"
html_title = "Meridian"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["performance/**"]
html_theme = "furo"

myst_heading_anchors = 4
