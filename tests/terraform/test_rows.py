"""The table of rights in docs/operating.md has each command once, and pages for operators name no other command."""

from __future__ import annotations

import pytest

from tests.terraform.rights import ADMINISTRATORS, DOCS, EMULATOR, EVERYWHERE, OWN, ROLES, commands, mentioned, rows
from tests.terraform.scenes import SCENES

PAGES = ("operating.md", "runbooks.md", "troubleshooting.md")


def test_each_command_has_exactly_one_row() -> None:
    assert sorted(row.command for row in rows()) == sorted(commands())


def test_each_command_has_exactly_one_scene() -> None:
    assert sorted(SCENES) == sorted(commands())


def test_rows_name_policies_that_there_are_and_regions_that_have_them() -> None:
    for row in rows():
        assert row.policies == (ADMINISTRATORS,) or set(row.policies) <= set(ROLES), row
        assert row.of in (EVERYWHERE, OWN, EMULATOR), row
        assert row.of != EMULATOR or row.policies == (ADMINISTRATORS,), row


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_for_operators_names_has_a_row(page: str) -> None:
    found = mentioned((DOCS / page).read_text(encoding="utf-8"))
    assert len(found) > 3
    assert found - {row.command for row in rows()} == set()


def test_commands_are_found_in_spans_and_blocks_and_nowhere_else() -> None:
    text = "run `replicator verify --deep`\n```sh\nreplicator init && replicator append a\nfrom replicator import x\n```\n"
    text += "the replicator copies; `replicator.handlers`; `make replicator thing` `projectors\nrebuild NAME`"
    expected = {("replicator", "verify"), ("replicator", "init"), ("replicator", "append"), ("projectors", "rebuild")}
    assert mentioned(text) - {("replicator", "thing")} == expected
