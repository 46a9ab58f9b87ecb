"""The tables: everything in them within 100 columns, what is wrong marked with and without colours, nothing obeyed."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.live import Live

from replicator.ops.status import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.status.page import page
from replicator.ops.status.table import show
from tests.replicator.status.scenes import NOW, SCENES, all_well, one_down, rebuilding

RED, YELLOW = "\x1b[1;31m", "\x1b[33m"


def shown(status: Status, width: int = 100, *, colours: bool = False) -> list[str]:
    """The lines that a terminal of this width gets."""
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colours, color_system="standard" if colours else None, legacy_windows=False
    )
    console.print(show(status, console))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("status", SCENES.values(), ids=SCENES)
def test_every_region_and_link_is_there_within_100_columns(status: Status) -> None:
    lines = shown(status)
    assert all(len(line) <= 100 for line in lines)
    for region in status.regions:
        assert any(line[3:].startswith(f"{region.region} ") for line in lines)
    for link in status.links:
        assert any(f"{link.source} → {link.target} " in line for line in lines)
    assert not any("…" in line for line in lines if "more, marked below" not in line), "nothing is cut off"


def test_all_well_is_one_line_and_nothing_is_marked() -> None:
    lines = shown(all_well(), colours=True)
    assert "✓ All is well: 3 regions, 6 links" in lines[0]
    assert not any(RED in line or YELLOW in line for line in lines)


def test_what_is_wrong_comes_first_and_is_marked_where_it_is() -> None:
    lines = shown(one_down())
    assert lines[0].startswith("✗ 2 things to act on")
    assert lines[1] == "  ✗ us-east-1 does not answer".ljust(len(lines[1]))
    assert next(line for line in lines if line[3:].startswith("us-east-1 ") and "→" not in line).startswith("✗")
    late = next(line for line in lines if "eu-west-1 → ap-southeast-2 " in line and "731" in line)
    said = ["✗", "eu-west-1", "→", "ap-southeast-2", "18,402", "731", "6", "min", "12", "0", "–", "1", "s", "ago"]
    assert late.split() == said
    assert next(line for line in lines if "us-east-1 → eu-west-1" in line).startswith("?")


def test_colours_say_the_same_as_the_marks() -> None:
    lines = shown(rebuilding(), colours=True)
    assert any(RED in line and "eu-west-1" in line for line in lines)
    assert any(YELLOW in line and "rebuilding" in line for line in lines)
    assert any(YELLOW in line and "2026-09-21-a3f1" in line for line in lines)


def test_open_runs_are_listed_and_ended_ones_are_not() -> None:
    text = "\n".join(shown(rebuilding()))
    assert "2026-09-21-a3f1  failover   60 min ago  steer writers  us-east-1 to eu-west-1" in text
    assert "2026-09-20-0001" not in text
    assert "open run" not in "\n".join(shown(all_well()))


def test_a_narrow_terminal_still_gets_every_region() -> None:
    text = "\n".join(shown(one_down(), 60))
    assert "✗" in text
    assert all(region in text for region in ("us-east-1", "eu-west-1", "ap-southeast-2"))


def test_what_somebody_wrote_is_neither_markup_nor_an_escape() -> None:
    text = "[red]x[/red] [/] \x1b[2J\x07 <b>"
    region = RegionStatus("us-east-1", True, "fenced", 1, NOW, text)
    status = Status(NOW, "meridian", (region,), (), (RunStatus("r1", "failover", text, NOW, text),))
    lines = "\n".join(shown(status, 160))
    assert lines.count("[red]x[/red] [/]") == 4  # why it is fenced, the run's step (twice) and text
    assert "\x1b" not in lines
    assert "\x07" not in lines


def test_it_can_be_watched() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Live(show(all_well(), console), console=console, auto_refresh=False) as live:
        live.update(show(one_down(), console), refresh=True)
    assert "2 things to act on" in console.file.getvalue()  # type: ignore[attr-defined]


LINK = LinkStatus("us-east-1", "eu-west-1", 7, 1, 0.0, 0, NOW)


@pytest.mark.parametrize(
    ("link", "mark"),
    [
        (LINK, "✓"),
        (replace(LINK, behind_seconds=60.0), "✓"),
        (replace(LINK, behind_seconds=61.0), "!"),
        (replace(LINK, behind_seconds=300.0), "!"),
        (replace(LINK, behind_seconds=301.0), "✗"),
        (replace(LINK, behind_events=0, behind_seconds=9999.0), "✓"),
        (replace(LINK, behind_seconds=None), "!"),
        (replace(LINK, behind_events=None, behind_lanes=None, behind_seconds=None), "!"),
        (replace(LINK, backlog=3), "!"),
        (replace(LINK, backlog=None), "✓"),
        (replace(LINK, quarantined=1), "✗"),
    ],
)
def test_a_link_is_marked_by_how_late_it_is_and_by_what_it_brought(link: LinkStatus, mark: str) -> None:
    lines = shown(replace(all_well(("us-east-1", "eu-west-1")), links=(link,)))
    assert lines[-1].startswith(f"{mark}  us-east-1 → eu-west-1")
    assert lines[0].startswith(mark)


def test_a_region_that_was_never_written_is_well() -> None:
    well = all_well(("us-east-1",))
    assert shown(replace(well, regions=(RegionStatus("us-east-1", True, "new"),)))[0].startswith("✓ All is well")


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("draining", "takes no more writes and sends its remaining events"),
        ("fenced", "takes no writes"),
        ("rebuilding", "is being rebuilt and takes no writes"),
        ("unknown", "does not report its role"),
        ("odd", "is odd"),
    ],
)
def test_a_region_that_takes_no_writes_is_to_be_watched(role: str, said: str) -> None:
    well = all_well(("us-east-1",))
    lines = shown(replace(well, regions=(replace(well.regions[0], role=role),)))
    assert lines[0].startswith("! 1 thing to watch, none to act on")
    assert lines[1].strip() == f"! us-east-1 {said}"


def test_a_region_that_refuses_events_says_so_once() -> None:
    lines = shown(rebuilding())
    assert sum("quarantine" in line for line in lines[:8]) == 1


def test_lanes_that_were_read_a_while_ago_say_so() -> None:
    well = all_well()
    old = replace(well, regions=tuple(replace(each, read=NOW - 185_000) for each in well.regions))
    assert "lanes read 3 min ago" in shown(old)[0]
    assert "lanes read 3 min ago" in page(old)
    fresh = replace(well, regions=tuple(replace(each, read=NOW - 2_000) for each in well.regions))
    assert "lanes read" not in shown(fresh)[0] + page(fresh) + page(well)
