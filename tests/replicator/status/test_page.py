"""The page: valid, self-contained, everything on it and everything escaped, and what is wrong marked where it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.ops.status import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.status.page import page
from tests.replicator.status.scenes import NOW, SCENES, all_well, one_down, rebuilding

VOID = {"meta", "br", "hr", "img", "link", "input"}
ALONE = {"path", "polygon", "rect"}  # elements of SVG that close themselves


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self) -> list[Element]:
        return [self, *(found for child in self.children for found in child.all())]

    def words(self) -> str:
        return " ".join([self.text, *(child.words() for child in self.children)])

    def classes(self) -> set[str]:
        return set((self.attributes.get("class") or "").split())


class Document(HTMLParser):
    """Reads a page, and refuses elements that are not closed in order, and attributes that are given twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = [Element("document", {})]
        self.declaration = ""
        self.feed(text)
        self.close()
        assert len(self.open) == 1, f"not closed: {[element.tag for element in self.open]}"
        self.elements = self.open[0].all()

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALONE, f"<{tag}/> does not close itself in HTML"
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data

    def find(self, tag: str, kind: str = "") -> list[Element]:
        return [each for each in self.elements if each.tag == tag and (not kind or kind in each.classes())]


def read(status: Status) -> Document:
    return Document(page(status))


@pytest.mark.parametrize("status", SCENES.values(), ids=SCENES)
def test_it_is_one_valid_file_that_needs_nothing_from_anywhere(status: Status) -> None:
    text, document = page(status), read(status)
    assert document.declaration == "DOCTYPE html"
    assert [each.tag for each in document.elements[1].children] == ["head", "body"]
    assert not {each.tag for each in document.elements} & {"script", "img", "iframe", "object", "use", "image", "base"}
    names = {name for each in document.elements for name in each.attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "style"}
    assert not any(name.startswith("on") for name in names)
    assert not any(word in text for word in ("http:", "https:", "url(", "@import", "javascript:"))
    ids = [each.attributes["id"] for each in document.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("status", SCENES.values(), ids=SCENES)
def test_every_region_and_every_link_is_in_the_picture_and_in_words(status: Status) -> None:
    document = read(status)
    cards = [each.children[0].text for each in document.find("section", "region")]
    assert cards == [region.region for region in status.regions]
    assert sorted(each.children[1].text for each in document.find("g", "node")) == sorted(cards)
    links = {f"{link.source} → {link.target}" for link in status.links}
    assert {row.children[0].text for row in document.find("tr")[1:]} == links
    assert {each.children[0].text.partition(":")[0] for each in document.find("g", "arrow")} == links


def banner(document: Document) -> Element:
    (said,) = document.find("div", "said")
    return said


def test_one_glance_says_that_all_is_well() -> None:
    document = read(all_well())
    assert banner(document).classes() == {"said", "well"}
    assert "All is well: 3 regions, 6 links" in banner(document).words()
    assert document.find("title")[0].text == "✓ meridian: All is well: 3 regions, 6 links"
    assert not [each for each in document.elements if each.classes() & {"act", "watch"} and each.tag not in ("span", "i")]


def test_one_glance_says_what_is_wrong_and_where() -> None:
    document = read(one_down())
    said = banner(document)
    assert said.classes() == {"said", "act"}
    assert "2 things to act on" in said.words()
    assert [each.children[1].text for each in document.find("li", "act")] == ["us-east-1", "eu-west-1 → ap-southeast-2"]
    assert document.find("title")[0].text.startswith("✗ meridian: 2 things to act on")
    assert [each.children[0].text for each in document.find("section", "act")] == ["us-east-1"]
    assert [each.children[1].text for each in document.find("g", "node") if "act" in each.classes()] == ["us-east-1"]
    (row,) = document.find("tr", "act")
    assert row.children[0].text == "eu-west-1 → ap-southeast-2"
    assert [cell.text for cell in row.children[1:]] == ["18,402", "731", "6 min", "12", "0", "–", "1 s ago"]
    assert document.find("tr")[1] is row, "the worst link comes first"


def test_links_that_nobody_can_know_of_are_not_shown_as_well() -> None:
    document = read(one_down())
    unknown = [row for row in document.find("tr")[1:] if "us-east-1" in row.children[0].text]
    assert len(unknown) == 4
    assert all(row.children[0].children[0].text == "?" for row in unknown)
    assert len(document.find("g", "unknown")) == 4


def test_the_later_a_link_the_thicker_its_arrow() -> None:
    def thickness(seconds: float) -> float:
        links = (LinkStatus("us-east-1", "eu-west-1", 5, 1, seconds, 0, NOW),)
        (arrow,) = read(replace(all_well(("us-east-1", "eu-west-1")), links=links)).find("g", "arrow")
        (path,) = [each for each in arrow.children if each.tag == "path"]
        return float(path.attributes["stroke-width"] or "")

    widths = [thickness(seconds) for seconds in (0.0, 5.0, 90.0, 400.0, 90_000.0, 9e9)]
    assert widths == sorted(widths)
    assert widths[0] < 2 < widths[2] < widths[3] <= widths[-1] == 7.0


def test_a_rebuild_and_its_runs_are_to_be_watched_and_a_quarantine_acted_on() -> None:
    document = read(rebuilding())
    assert "1 thing to act on, 5 to watch" in banner(document).words()
    assert [each.children[0].text for each in document.find("section", "watch")] == ["us-east-1"]
    assert [each.children[0].text for each in document.find("section", "act")] == ["eu-west-1"]
    runs = [" ".join(each.words().split()) for each in document.find("section", "run")]
    assert len(runs) == 2, "the run that has ended is not open"
    assert runs[0].startswith("failover 2026-09-21-a3f1 ! at step: steer writers us-east-1 to eu-west-1 begun 60 min ago")


TEXTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a & b </style></title>",
    "' onload='x",
    "two\nlines\x1b[31m",
]


@pytest.mark.parametrize("text", TEXTS)
def test_whatever_somebody_wrote_is_text(text: str) -> None:
    region = RegionStatus(text, True, text, 1, NOW, text, 1, 1, 1)
    link = LinkStatus(text, "eu-west-1", 1, 1, 1e6, 1, NOW, 1)
    run = RunStatus(text, text, text, NOW, text)
    status = Status(NOW, text, (region, RegionStatus("eu-west-1", True)), (link,), (run,))
    document = read(status)
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    body = document.elements[1].children[1]
    assert body.words().count(shown) >= 8
    assert not {each.tag for each in document.elements} & {"script", "img"}
    assert "onerror" not in {name for each in document.elements for name in each.attributes}
    assert "\x1b" not in page(status)


counts = st.none() | st.integers(0, 10**15)
names = st.sampled_from(["us-east-1", "eu-west-1", "ap-southeast-2", "sa-east-1", "<&>'\""])
links = st.builds(
    LinkStatus,
    names,
    names,
    counts,
    counts,
    st.none() | st.floats(0, 1e12),
    counts,
    st.integers(0, 10**15),
    st.integers(0, 99),
)
roles = st.sampled_from(["active", "draining", "fenced", "rebuilding", "unknown", "new"])
times, sizes = st.integers(0, 10**18), st.integers(0, 10**15)
regions = st.builds(
    RegionStatus, names, st.booleans(), roles, st.integers(0, 99), times, st.text(max_size=20), sizes, sizes, sizes
)
runs = st.builds(
    RunStatus, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.integers(0, 10**15), st.text(max_size=9)
)


@given(
    st.lists(regions, max_size=5, unique_by=lambda each: each.region),
    st.lists(links, max_size=8),
    st.lists(runs, max_size=2),
)
def test_every_status_makes_a_valid_page(
    some: list[RegionStatus], between: list[LinkStatus], open_: list[RunStatus]
) -> None:
    document = read(Status(NOW, "meridian", tuple(some), tuple(between), tuple(open_)))
    assert len(document.find("section", "region")) == len(some)
    assert len(document.find("tr")) == (len(between) + 1 if between else 0)


@pytest.mark.parametrize("count", range(1, 13))
def test_regions_in_the_picture_do_not_cover_each_other_and_lie_inside(count: int) -> None:
    document = read(all_well(tuple(f"us-east-{number}" for number in range(1, count + 1))))
    (drawing,) = document.find("svg")
    _, _, width, height = (float(each) for each in (drawing.attributes["viewbox"] or "").split())
    boxes = [
        tuple(float(each.children[0].attributes[name] or "") for name in ("x", "y", "width", "height"))
        for each in document.find("g", "node")
    ]
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for index, (x, y, w, h) in enumerate(boxes):
        assert all(abs(x - u) >= w or abs(y - v) >= h for u, v, _, _ in boxes[:index])
