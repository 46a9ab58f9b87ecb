"""Statuses to look at: all well, a region down, many regions, a rebuild with open runs."""

from __future__ import annotations

from dataclasses import replace

from replicator.ops.status import LinkStatus, RegionStatus, RunStatus, Status

NOW = 1_790_000_000_000
THREE = ("us-east-1", "eu-west-1", "ap-southeast-2")
SIX = (*THREE, "sa-east-1", "eu-central-1", "us-west-2")


def region(name: str) -> RegionStatus:
    return RegionStatus(name, True, "active", 3, NOW - 9 * 86_400_000, "", 48_211, 1_204_882)


def link(source: str, target: str) -> LinkStatus:
    return LinkStatus(source, target, 0, 0, 0.0, 0, NOW - 1_400)


def all_well(names: tuple[str, ...] = THREE) -> Status:
    links = tuple(link(source, target) for source in names for target in names if source != target)
    return Status(NOW, "meridian", tuple(map(region, names)), links)


def one_down() -> Status:
    """us-east-1 does not answer; what others have for it is not known, and one link of the rest is late."""
    well = all_well()
    down = RegionStatus("us-east-1", False)
    links = []
    for each in well.links:
        if "us-east-1" in (each.source, each.target):
            backlog = 1_204 if each.target == "us-east-1" else None
            each = LinkStatus(each.source, each.target, None, None, None, backlog, NOW - 240_000)
        elif each.source == "eu-west-1":
            each = replace(each, behind_events=18_402, behind_lanes=731, behind_seconds=412.0, backlog=12)
        links.append(each)
    return replace(well, regions=(down, *well.regions[1:]), links=tuple(links))


def rebuilding() -> Status:
    """us-east-1 lost its events and gets them back; a failover and a bootstrap are open, and an event is in quarantine."""
    well = all_well()
    why = "restored from the backup of 03:00 <b>& being brought up to date</b>"
    mended = replace(region("us-east-1"), role="rebuilding", epoch=5, since=NOW - 1_260_000, why=why, events=880_213)
    forked = replace(region("eu-west-1"), quarantined=2)
    links = []
    for each in well.links:
        if each.target == "us-east-1":
            each = replace(each, behind_events=324_669, behind_lanes=12_004, behind_seconds=86_400.0, backlog=804)
        if (each.source, each.target) == ("eu-west-1", "ap-southeast-2"):
            each = replace(each, quarantined=2)
        links.append(each)
    runs = (
        RunStatus("2026-09-21-a3f1", "failover", "us-east-1 to eu-west-1", NOW - 3_600_000, "steer writers"),
        RunStatus(
            "2026-09-21-b7c2", "bootstrap", "us-east-1 from eu-west-1 and ap-southeast-2", NOW - 1_260_000, "copy lanes"
        ),
        RunStatus("2026-09-20-0001", "switchover", "eu-west-1 to us-east-1", NOW - 86_400_000, "", NOW - 86_000_000),
    )
    return replace(well, regions=(mended, forked, *well.regions[2:]), links=tuple(links), runs=runs)


def six_with_one_down() -> Status:
    well = all_well(SIX)
    down = RegionStatus("sa-east-1", False)
    links = tuple(
        LinkStatus(each.source, each.target, None, None, None, 40 if each.target == "sa-east-1" else None, NOW - 240_000)
        if "sa-east-1" in (each.source, each.target)
        else each
        for each in well.links
    )
    return replace(well, regions=tuple(down if each.region == "sa-east-1" else each for each in well.regions), links=links)


SCENES = {
    "well": all_well(),
    "two": all_well(THREE[:2]),
    "down": one_down(),
    "rebuilding": rebuilding(),
    "six": all_well(SIX),
    "six-down": six_with_one_down(),
    "one": all_well(THREE[:1]),
}
