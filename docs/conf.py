"""How `make docs` builds the site: Sphinx, Markdown by MyST, the Furo theme (docs/decisions/0033-the-site.md)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "Meridian"
author = "The Meridian authors"
html_title = "Meridian"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["performance/**"]
html_theme = "furo"
html_static_path: list[str] = []
html_theme_options = {"source_edit_link": None}
templates_path: list[str] = []

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
