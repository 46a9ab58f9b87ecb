"""What the README shows runs as shown."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_library_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert code.count("\n") <= 25
    assert "assert view.value ==" in code
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


def test_every_file_that_the_documents_name_exists() -> None:
    root = README.parent
    for page in [README, *root.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
