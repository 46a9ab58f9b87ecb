"""The page of a run: what it says, that it takes nothing from elsewhere, and how it looks in a browser, wide and narrow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from chaos.checker.verdict import PROMISES
from chaos.report.charts import Axis, Line, ceiling, lines
from chaos.report.page import again, describe, page, write_report

REGIONS = ["us-east-1", "eu-west-1", "ap-southeast-2"]
HOSTILE = '<script>document.title = "taken"</script><img src="http://example.com/x">"\'&'


def result(**other: Any) -> dict[str, Any]:
    """What came of a scenario: a freeze from 5 to 10 s, a rate and a lag."""
    seconds = range(-2, 20)
    looked_at = {"looked": 12_345, "broken": 0, "examples": []}
    looks = [second + 0.25 for second in range(-2, 21)]
    behind = [max(0.0, min(at - 5, 5.0)) if at < 12 else 0.0 for at in looks]
    lag = {
        region: {
            "at": looks,
            "answered": [True for _ in looks],
            "events": {source: behind for source in REGIONS if source != region},
            "views": dict.fromkeys(REGIONS, behind),
        }
        for region in REGIONS
    }
    counts = {str(second): 40 + second for second in seconds}
    found = {
        "scenario": "freeze", "title": "A region freezes", "description": "It stops.", "seed": 3, "regions": REGIONS,
        "endpoints": {}, "kept": True, "broken": {}, "not_looked_at": [], "expected_untested": [], "converge_within": 60,
        "promises": {name: {"promise": text, **looked_at} for name, text in PROMISES.items()},
        "calls": {"ok": 800, "fail": 3, "unknown": 0}, "unknown_at_first": 2, "acknowledged_events": 2_500, "gone_events": 0,
        "load_seconds": 18.0, "converge_seconds": 1.5, "seconds": 30.0,
        "timeline": [
            {"action": "freeze", "arguments": {"region": "second"}, "from": 5.0, "until": 10.0, "said": "", "struck": True},
            {"action": "fail", "from": 6.0, "until": 16.0, "said": "struck 12 of 40", "struck": True,
             "arguments": {"rules": [{"service": "dynamodb", "operation": "TransactWriteItems", "region": "first",
                                      "probability": 0.2, "meridian": {"effect": "answer-lost"}}]}},
        ],
        "series": {
            "calls": {region: {"events": counts, "ok": counts, "fail": {}, "unknown": {}} for region in REGIONS},
            "lag": lag,
        },
    }  # fmt: skip
    return found | other


NOT_RUN = {"scenario": "kill", "title": "A region is killed", "seed": 3, "kept": None, "not_run": "nobody can do that there"}
FAILED = {"scenario": "mine", "title": "Mine", "seed": 3, "kept": False, "error": f"arrives did not hold {HOSTILE}"}


def broken() -> dict[str, Any]:
    found = result(scenario="broken", kept=False, not_looked_at=["claims"], gone_events=7, converge_seconds=None)
    found["promises"]["lost"] |= {"broken": 2, "examples": [f"us-east-1#thing#1 4: {HOSTILE}"]}
    found["promises"]["claims"] |= {"looked": 0}
    found["timeline"][1]["struck"] = False
    return found


# -- what it says --------------------------------------------------------------------------------------------------------


def test_a_run_that_kept_its_promises_says_so_with_its_evidence_and_how_to_run_it_again() -> None:
    text = page([result()])
    assert "1 of 1 run kept every promise" in text
    assert "chaos run freeze --seed 3" in text
    assert [promise for promise in PROMISES.values() if escape(promise) not in text] == []
    assert text.count("12,345") == len(PROMISES)
    assert "answer-lost 20%: dynamodb TransactWriteItems in us-east-1" in text
    assert "the RPO" not in text
    assert "freeze eu-west-1" in text
    assert not set(text.split("<body>")[1].split()) & {"broken", "act", "failed"}


def test_a_run_with_a_runbook_says_what_the_outage_cost() -> None:
    outage = {"region": HOSTILE, "rpo_events": 1_414, "rto_seconds": 3.79, "failback_seconds": None}
    text = page([result(outage=outage)])
    for said in ("<b>1,414</b>", "the RPO", "<b>3.8 s</b>", "the RTO", "<b>never</b><span>from the end of the outage"):
        assert said in text
    assert "<script>" not in text


def test_what_was_broken_not_looked_at_not_run_or_failed_is_never_shown_as_kept() -> None:
    text = page([result(), broken(), NOT_RUN, FAILED])
    assert "1 of 4 runs kept every promise; 2 did not; 1 could not be run" in text
    assert "There was nothing to check." in text
    assert "without effect" in text
    assert "never" in text
    assert "Not run: nobody can do that there." in text
    assert "It failed: arrives did not hold" in text
    assert text.count('class="mark well">✓</span> freeze') == 1
    assert "7</b><span>events gone" in text
    closed, opened = text.count('<details class="run" id='), text.count('<details class="run" id="run-1" open')
    assert (closed, opened) == (4, 1)


def test_text_from_elsewhere_is_text() -> None:
    found = result(scenario=HOSTILE, title=HOSTILE, description=HOSTILE)
    found["timeline"][0] |= {"said": HOSTILE, "arguments": {"region": HOSTILE, "loss": 1}}
    found["regions"] = [HOSTILE, *REGIONS[1:]]
    text = page([found, broken(), FAILED | {"not_run": HOSTILE}])
    assert "<script" not in text
    assert "<img" not in text


def test_the_command_names_where_regions_were() -> None:
    assert again(result(endpoints={"eu-west-1": "http://h:1"})) == (
        "chaos run freeze --seed 3 --endpoint eu-west-1=http://h:1"
    )
    assert again(result(scenario="my file.yaml")) == "chaos run 'my file.yaml' --seed 3"


@pytest.mark.parametrize(
    ("action", "arguments", "says"),
    [
        ("kill-worker", {"region": "first", "worker": "replicator"}, "kill-worker replicator us-east-1"),
        ("hole", {"from": "first", "both-ways": True}, "hole both ways from us-east-1"),
        ("slow", {"latency": 0.1}, "slow latency 0.1"),
        ("fail", {"rules": [{}]}, "503 ServiceUnavailable: everything"),
        ("fail", {"rules": [{"region": "second"}, {"service": "sqs"}]},
         "503 ServiceUnavailable: everything in eu-west-1; 503 ServiceUnavailable: sqs"),
    ],
)  # fmt: skip
def test_an_action_is_told_in_words(action: str, arguments: dict[str, Any], says: str) -> None:
    assert describe(action, arguments, {"first": "us-east-1", "second": "eu-west-1"}) == says


@pytest.mark.parametrize(
    ("value", "top"), [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.01, 2.0), (5.0, 5.0), (51.0, 100.0), (1e6, 1e6)]
)
def test_a_value_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


def test_that_nothing_is_missing_where_nobody_could_look_is_not_drawn() -> None:
    found = result()
    for lag in found["series"]["lag"].values():
        lag["answered"] = [False] * len(lag["at"])
        for values in (*lag["events"].values(), *lag["views"].values()):
            values[:] = [0.0] * len(values)
    text = page([found])
    assert text.count("<polyline") == len(REGIONS)  # what was acknowledged, and nothing else
    assert "of us-east-1 never readable" in text


def test_what_was_missing_grows_older_while_nobody_can_look() -> None:
    found = result()
    for lag in found["series"]["lag"].values():
        lag["answered"] = [False] * len(lag["at"])
    assert page([found]).count("<polyline") > len(REGIONS)


def test_where_nobody_could_look_a_curve_has_a_gap() -> None:
    axis = Axis(0.0, 4.0, [], {})
    drawn = lines(axis, "t", "s", [Line("a", 0, [(0.0, 1.0), (1.0, 1.0), (2.0, None), (3.0, 1.0), (4.0, 0.0)])])
    assert drawn.count("<polyline") == 2


# -- how it looks --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        install = "there is no Chromium; on Debian: apt-get install -y chromium"
        if os.environ.get("CI"):
            pytest.fail(install)
        pytest.skip(install)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=quiet)
        yield started
        started.close()


SIZES = {"wide": (1160, 900), "phone": (390, 844), "narrow": (320, 640)}


@pytest.fixture(params=SIZES)
def shown(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page of four runs, all of them opened, in a window of that size. Fails on whatever it asks of anybody."""
    file = tmp_path / "report.html"
    write_report(file, [result(), broken(), NOT_RUN, FAILED])
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 500)
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda each: asked.append(each.url))
    opened.on("console", lambda each: asked.append(each.text))
    opened.goto(file.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    yield opened
    assert asked == [file.as_uri()]
    context.close()


def test_nothing_is_wider_than_the_window(shown: Page) -> None:
    wide = shown.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right >
        document.documentElement.clientWidth + 1 && !each.closest('.faults, svg')).map(each => each.outerHTML)"""
    )
    assert wide == []
    assert shown.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_words_are_large_enough_and_none_is_drawn_over_another(shown: Page) -> None:
    sizes = shown.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(each => each.childNodes.length &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()) && each.offsetParent)
        .map(each => parseFloat(getComputedStyle(each).fontSize))"""
    )
    assert len(sizes) > 100
    assert min(sizes) >= 10.5
    for place in (".seconds", ".scale"):
        overlaps = shown.evaluate(
            """(place) => [...document.querySelectorAll(place)].flatMap(one => { const boxes = [...one.children]
            .map(each => each.getBoundingClientRect()); return boxes.filter((box, n) => n &&
            !(box.left >= boxes[n - 1].right || box.bottom <= boxes[n - 1].top)) }).length""",
            place,
        )
        assert overlaps == 0, place


def test_a_fault_is_shaded_where_the_seconds_say(shown: Page) -> None:
    """The freeze lasts from 5 to 10 s; the ticks of the same chart tell where that is on the screen."""
    charts = shown.evaluate(
        """() => [...document.querySelectorAll('figure')].map(figure => ({
        ticks: [...figure.querySelectorAll('.seconds span')].map(each => { const box = each.getBoundingClientRect();
          return [parseFloat(each.textContent), (box.left + box.right) / 2] }),
        shade: (box => [box.left, box.right])(figure.querySelector('.shade').getBoundingClientRect()),
        plot: (box => [box.left, box.right, box.height])(figure.querySelector('.plot').getBoundingClientRect()),
        curves: [...figure.querySelectorAll('.curve')].map(each => (box => [box.left, box.right, box.top, box.bottom])(
          each.getBoundingClientRect())), top: figure.querySelector('.plot').getBoundingClientRect().top }))"""
    )
    assert len(charts) == 2 * 5
    for chart in charts:
        (first, left), (last, right) = chart["ticks"][0], chart["ticks"][-1]
        pixels = (right - left) / (last - first)
        assert chart["shade"] == pytest.approx([left + (5 - first) * pixels, left + (10 - first) * pixels], abs=1.5)
        assert chart["plot"][2] >= 100
        assert chart["curves"]
        for begins, ends, top, bottom in chart["curves"]:
            assert begins >= chart["plot"][0] - 2
            assert ends <= chart["plot"][1] + 2
            assert top >= chart["top"] - 2
            assert bottom <= chart["top"] + chart["plot"][2] + 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    """WCAG 2's contrast of 4.5 to 1, of each text against the first ground behind it that is painted."""
    file = tmp_path / "report.html"
    write_report(file, [broken()])
    shown = browser.new_page(color_scheme=scheme)
    shown.goto(file.as_uri())
    worst = shown.evaluate(
        """() => { const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
        const ground = each => { for (; each; each = each.parentElement) { const c = getComputedStyle(each).backgroundColor;
          if (!/, 0\\)|transparent/.test(c)) return c } return 'rgb(255, 255, 255)' };
        return [...document.querySelectorAll('body *')].filter(each => each.offsetParent &&
          [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())).map(each => {
          const a = light(getComputedStyle(each).color), b = light(ground(each));
          return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.outerHTML.slice(0, 80)] })
          .sort((a, b) => a[0] - b[0])[0] }"""
    )
    assert worst[0] >= 4.5, worst
    shown.close()
