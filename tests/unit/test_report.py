"""The report: one self-contained page that shows what the records say, gaps as gaps, everything escaped."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from html.parser import HTMLParser
from multiprocessing import get_context
from typing import Any

import pytest
from batch_story import S, Story, at, clean, order, recipe, series, told

from gateway.batch.complete import findings
from gateway.batch.histogram import histogram
from gateway.batch.plots import Limit, Mark, Span, gaps, trend
from gateway.batch.report import ReportData, render

NOTE = "gw1.example/ledger\n1195\nq0h6l0Xo2mJc6H1x2c3mW8Z9yq3fJ8g9b0b1c2d3e4=\n\n\N{EM DASH} gw1 c2lnbmF0dXJl\n"
VOID = {"meta", "br", "input", "link", "img"}


class Page(HTMLParser):
    """Counts tags, gathers text, and notices what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of every element whose class holds that word."""
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


def data(story: Story, **changes: Any) -> ReportData:
    ledger = {"ledger": "9f2c1be07d4a6c55", "checkpoint": NOTE, "gateway": "gw1"}
    facts: dict[str, Any] = {"records": story.records, "series": series(), "recipe": recipe(), "ledger": ledger}
    return ReportData(**(facts | changes))


@pytest.fixture(scope="module")
def html() -> str:
    return render(data(told()))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_is_whole_and_alone(html: str, page: Page) -> None:
    """Every tag is closed; no script, no style sheet, font or picture from elsewhere."""
    assert page.open == []
    assert not any(tag in {"script", "link", "img", "iframe"} for tag, _ in page.tags)
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert "url(" not in html
    assert "@import" not in html


def test_every_reference_to_a_record_leads_somewhere(page: Page) -> None:
    """Each record index on the page is a link to that record's hash."""
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {(attrs["href"] or "")[1:] for tag, attrs in page.tags if tag == "a"}

    assert len(anchors) == len(told().records)
    assert links <= anchors


def test_the_head_says_who_decided_what(page: Page) -> None:
    """Disposition, signer, batch, UID, time zone and ledger identity stand on the page."""
    for said in (
        "released Quinn Adeyemi, qa 2026-03-14 09:20:26.0 UTC", "B-2026-0314-02", "1A4010300003F86000017700",
        "UTC (offset +00:00)", "9f2c1be07d4a6c55", "q0h6l0Xo2mJc6H1x2c3mW8Z9yq3fJ8g9b0b1c2d3e4=", "index 1040 to 1194",
    ):  # fmt: skip
        assert said in page.text


def test_review_by_exception_comes_first(page: Page) -> None:
    """Findings stand before everything else, each with QA's reason."""
    review, run = page.text.index("For review"), page.text.index("The run")

    head = page.text[review:run]
    assert "check one-in-100#3" in head
    assert "was missed" in head
    assert head.count("Explained: Investigated under DEV-0318") == 4


def test_a_clean_open_batch_says_so() -> None:
    """Nothing to review is said in words; no disposition is invented."""
    page = Page(render(data(clean())))

    assert "Nothing. Every check was done in time" in page.text
    assert "Not yet given" in page.text


def test_halts_show_four_stamps_and_the_reaction(page: Page) -> None:
    """Sampled, judged, commanded, confirmed, and what the machine itself said."""
    for said in ("09:01:57.6000", "09:01:57.6003", "09:01:57.6014", "09:01:57.6487", "48.7 ms", "PackML Held (11)"):
        assert said in page.text
    assert "not a safety function" in page.text


def test_checks_show_each_raw_weight(page: Page) -> None:
    """Each judged weighing stands in the table with its unit, the failed one marked."""
    weights = [
        sample["value"]
        for record in told().records
        if record["kind"] == "check.judged"
        for sample in record["body"]["samples"]
    ]
    shown = re.findall(r"(\d\.\d{3}) g u\d+", page.text)
    assert sorted(shown) == sorted(weights)


def test_what_was_weighed_again_says_so_and_why() -> None:
    """The first weighing stays on the page as one that counts no more, the second with its reason and who gave it."""
    story = told()
    for record in story.records:
        if record["body"].get("id") == "five-in-15#1" and record["body"].get("samples"):
            first = record["body"]["samples"][0]
            again = {**first, "value": "1.003", "reweigh": 1, "why": "a <sleeve> touched the pan"}
            record["body"]["samples"] = [{**first, "value": "0.971", "superseded": True}, again]
    text = Page(render(data(story))).text
    assert re.search(r"0\.971 g u\d+ set aside, counts no more", text)
    assert re.search(r"1\.003 g u\d+ weighed again by tom: a <sleeve> touched the pan", text)


def test_the_control_chart_marks_what_failed(page: Page) -> None:
    """One dot a sample, one cross a failed one, one square a missed check (each once more in the legend)."""
    samples = [r for r in told().records if r["kind"] == "check.taken"]

    assert len(page.of("dot")) == len(samples) + 2
    assert len(page.of("failed")) == 1
    assert len(page.of("cross")) == 1 + 1
    assert len(page.of("missed")) == 1 + 1


def test_halts_and_alarms_stand_in_every_plot(page: Page) -> None:
    """Both halts are shaded and all five alarms marked in each of the three plots."""
    assert len(page.of("plot")) == 3
    assert len(page.of("halt")) == 3 * 2 + 1
    assert len(page.of("mark")) == 3 * 5 + 2


def test_equations_stand_with_their_numbers(page: Page) -> None:
    """The reconciliation shows inputs, sources and limits."""
    for said in ("issued 720 entered by Ana Ruiz", "within 1.0 % of issued", "actual 651, theory 655.00", "(99.39 %)"):
        assert said in page.text
    assert "corrects entry 5, which said 54" in page.text


def test_a_missing_input_is_said_on_the_page() -> None:
    """What was not counted is missing, not zero."""
    story = clean()
    for record in story.records:
        for equation in record["body"].get("reconciliation", ()):
            equation.update(missing=["issued"], left=None, right=None, difference=None, percent=None, ok=False)
            equation["inputs"][0] |= {"value": None, "source": "not entered"}

    assert "cannot be computed issued missing not entered" in Page(render(data(story))).text


def test_everything_from_outside_is_escaped() -> None:
    """A name, a comment, a tag or a label text with markup in it stays text."""
    evil = '<script>alert("x")</script>'
    story = told()
    for record in story.records:
        for key in ("comment", "reason", "text", "full_name", "tray"):
            if isinstance(record["body"].get(key), str):
                record["body"][key] = evil
        record["by"] = evil
    story.records[0]["body"]["identity"] = {evil: evil}
    ledger = {"ledger": evil, "checkpoint": evil, "gateway": evil}
    html = render(data(story, series={evil: series()["reservoir/temperature"]}, ledger=ledger))

    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 50
    assert Page(html).open == []


def test_a_batch_that_never_ran_still_has_a_page() -> None:
    """An order alone is a page with what is missing, not a traceback."""
    story = clean()
    story.records = [record for record in story.records if record["kind"] == "batch.ordered"]
    page = Page(render(data(story)))

    assert "The batch was not started" in page.text
    assert "line-clearance" in page.text


def given_up(units: str = "180", **master: Any) -> Story:
    """The clean batch, aborted where it was complete."""
    story = clean()
    end = next(at for at, record in enumerate(story.records) if record["kind"] == "batch.completed")
    del story.records[end:]
    ordered = next(record for record in story.records if record["kind"] == "batch.ordered")
    ordered["body"]["recipe"]["document"] |= master
    story.add(60, "batch.aborted", {"reason": "oil ran out", "units_filled": units, "state": "aborted"}, "sue")
    return story


def test_an_aborted_batch_says_what_was_made_and_that_nothing_was_reconciled() -> None:
    """Units that stand in the record are on the page; nothing is said of counts that nobody compared."""
    text = Page(render(data(given_up(before_close=[])))).text
    assert "180 units filled aborted: not reconciled" in text
    assert "Nothing else than the abort itself" in text
    assert "Nothing was reconciled: the batch was aborted." in text
    assert "all counts reconcile" not in text


def test_an_order_without_steps_has_no_counts_that_reconcile() -> None:
    """Before the start nothing is missing, and nothing was counted either."""
    story = clean()
    story.records = [record for record in story.records if record["kind"] == "batch.ordered"]
    story.records[0]["body"]["recipe"]["document"] |= {"before_start": [], "before_close": []}
    text = Page(render(data(story))).text
    assert "Nothing so far. The batch is not complete" in text
    assert "all counts reconcile" not in text


def test_checks_an_aborted_batch_should_have_had_are_missed() -> None:
    """399 units and one check of each hundredth: given up or not, two were never asked for."""
    told = [one.text for one in findings(given_up("399").records) if one.kind == "check.absent"]
    assert told == ["the recipe's plan every_100 asked for 1 checks; 399 units call for 3"]


def test_a_record_with_a_field_less_leaves_a_blank() -> None:
    """An older record without an optional field is shown without it."""
    story = told()
    for record in story.records:
        for key in ("proof", "comment", "suspects", "identity", "reason", "covers"):
            record["body"].pop(key, None)

    assert "Batch production record" in render(data(story))


def test_hashes_are_those_given_or_those_of_the_bytes() -> None:
    """A hash that came with a record is shown; without one, the RFC 6962 leaf hash of its canonical bytes."""
    story = clean()
    story.records[0]["hash"] = "ab" * 32
    html = render(data(story))

    assert "ab" * 32 in html
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", html))) >= len(story.records)


def test_it_renders_in_another_process(html: str) -> None:
    """Data and page go through a pool of processes unchanged."""
    assert pickle.loads(pickle.dumps(data(told()))) == data(told())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(render, data(told())).result(timeout=60) == html


def test_it_renders_from_a_shell(html: str) -> None:
    """`python -m gateway.batch.report` reads the data as JSON and writes the page."""
    given = data(told())
    document = {
        "records": given.records,
        "series": given.series,
        "recipe": given.recipe.model_dump(mode="json", by_alias=True),
        "ledger": given.ledger,
    }
    command = [sys.executable, "-m", "gateway.batch.report"]
    done = subprocess.run(command, input=json.dumps(document).encode(), capture_output=True, check=True, timeout=60)

    assert done.stdout.decode() == html


# -- plots ------------------------------------------------------------------------------------------


def test_a_gap_is_a_gap() -> None:
    """No line is drawn over ten seconds without data, nor over a bad value."""
    points = [(at(t), 60.0) for t in range(60) if not 20 <= t < 30]
    points[5] = (points[5][0], None)
    html = trend("t", points, [], (at(0), at(59)))

    assert html.count("<polyline") == 3
    assert "no data 11.0 s" in html


def test_a_series_that_ends_early_has_a_gap_at_its_end() -> None:
    """A device that did not come back leaves a gap to the end of the run."""
    found = gaps([(at(t), 1.0) for t in range(10)], (at(0), at(60)))

    assert [(gap.since_ns, gap.until_ns) for gap in found] == [(at(9), at(60))]


def test_no_good_value_at_all_is_said() -> None:
    """An empty plot says that it is empty."""
    assert "no good value in the run" in trend("t", [(at(1), None)], [], (at(0), at(9)))
    assert "no good value in the run" in trend("t", [], [Limit(1.0, "low 1", "limit")], (at(0), at(9)))


def test_a_peak_survives_thinning() -> None:
    """A shift of readings is drawn with fewer points, and the one peak in it is still there."""
    points = [(at(0) + t * S // 2, 60.0) for t in range(57_600)]
    points[31_234] = (points[31_234][0], 95.0)
    html = trend("t", points, [], (points[0][0], points[-1][0]))

    (line,) = re.findall(r'<polyline class="series" points="([^"]+)"', html)
    drawn = [float(pair.split(",")[1]) for pair in line.split()]
    assert len(drawn) <= 1700
    assert min(drawn) < 50 < max(drawn)


def test_a_flat_line_and_a_single_point_are_drawn() -> None:
    """No spread and no neighbour divide by nothing."""
    assert "<polyline" in trend("t", [(at(1), 5.0), (at(2), 5.0)], [], (at(1), at(2)))
    assert "series-dot" in trend("t", [(at(1), 0.0)], [], (at(0), at(2)), marks=[Mark(at(1), "A1", "x")])


def test_marks_and_spans_are_escaped_in_the_picture() -> None:
    """Texts inside the drawing are text."""
    html = trend(
        "<a>",
        [],
        [Limit(1, "<b>")],
        (at(0), at(9)),
        halts=[Span(at(1), at(2), "<c>")],
        marks=[Mark(at(1), "<d>", "<e>")],
    )

    assert not re.search(r"<[abcde]>", html)


def test_what_the_recipe_has_a_window_for_is_drawn_first() -> None:
    """A reviewer looks for temperature and viscosity, not for whatever comes first in the alphabet."""
    story = clean()
    values = {"oil/hot_for": series()["reservoir/temperature"], **series()}
    html = render(data(story, series=values))
    at = {tag: html.index(f">{tag}") for tag in values}
    assert max(at, key=at.__getitem__) == "oil/hot_for"


def test_the_order_in_the_story_is_the_order_on_the_page(page: Page) -> None:
    """Lots, certificates and UIDs of all materials are shown."""
    for lot in order().materials:
        assert lot.lot in page.text
        assert lot.uid in page.text
    assert "COA-88213, Front Range Analytics, 2026-03-02: passed, THC 84.20 %" in page.text


# -- what a person would stumble on ----------------------------------------------------------------------


def places(svg: str, name: str) -> list[tuple[float, float, str]]:
    """(x, y, words) of every text whose class begins with the name."""
    found = re.findall(rf'<text class="{name}[^"]*" x="([-\d.]+)" y="([-\d.]+)">([^<]*)<', svg)
    return [(float(x), float(y), words) for x, y, words in found]


def test_names_of_alarms_never_stand_on_each_other() -> None:
    """Five alarms in one second: five names, each with room for itself, and as much chart as ever."""
    span = (at(0), at(600))
    marks = [Mark(at(100 + number * 0.2), f"A{number}", "hot") for number in range(1, 6)]
    crowded, single = (trend("t", [(at(1), 1.0)], [], span, marks=some) for some in (marks, marks[:1]))
    spots = places(crowded, "mark-text")
    assert [words for _, _, words in spots] == ["A1", "A2", "A3", "A4", "A5"]
    assert all(abs(a[0] - b[0]) > 18 or abs(a[1] - b[1]) > 9 for a in spots for b in spots if a != b)
    assert min(y for _, y, _ in spots) > 8
    heights = [re.search(r'class="frame"[^>]*height="([\d.]+)"', svg) for svg in (crowded, single)]
    assert len({height[1] for height in heights if height}) == 1


def test_a_flood_of_alarms_is_drawn_whole() -> None:
    """Forty in one second: forty marks, each named by its title, though not all beside it."""
    marks = [Mark(at(100), f"A{number}", f"alarm {number}") for number in range(40)]
    svg = trend("t", [(at(1), 1.0)], [], (at(0), at(600)), marks=marks)
    assert svg.count('class="mark mild"') == 40
    assert "<title>alarm 39</title>" in svg
    assert len(places(svg, "mark-text")) == 6


def test_names_of_limits_never_stand_on_each_other_nor_outside() -> None:
    """Five limits within a hair of each other at the lower edge: five names, apart, inside the picture, in order."""
    limits = [Limit(10.0 + number / 100, f"limit {number}") for number in range(5)]
    svg = trend("t", [(at(1), 10.0), (at(2), 90.0)], limits, (at(0), at(600)))
    spots = places(svg, "level-text")
    heights = [y for _, y, _ in spots]
    assert [words for _, _, words in spots] == [f"limit {number}" for number in (4, 3, 2, 1, 0)]
    assert all(below - above >= 10 for above, below in itertools.pairwise(heights))
    assert max(heights) < 166


def test_what_is_written_at_the_rim_stays_inside() -> None:
    """A halt that begins in the last second is named to its left; a gap at the end, inside the frame."""
    span = (at(0), at(600))
    svg = trend("t", [(at(1), 1.0), (at(2), 1.0)], [], span, halts=[Span(at(599), at(600), "H2 labeller held")])
    ((x, _, _),) = places(svg, "halt-text left")
    assert x < 1000 - 122
    early = trend("t", [(at(1), 1.0), (at(2), 1.0)], [], span, halts=[Span(at(10), at(20), "H1 filler held")])
    assert places(early, "halt-text left") == []


def test_names_of_halts_never_stand_on_each_other() -> None:
    """Three machines held within two seconds, at the rim and away from it: each name on a line of its own."""
    for second in (100, 598):
        held = [Span(at(second + n * 0.7), at(600), f"H{n} filler held") for n in range(3)]
        svg = trend("t", [(at(1), 1.0), (at(2), 1.0)], [], (at(0), at(600)), halts=held)
        assert len({y for _, y, _ in places(svg, "halt-text")}) == 3
    apart = [Span(at(second), at(second + 5), "H filler held") for second in (100, 300)]
    svg = trend("t", [(at(1), 1.0), (at(2), 1.0)], [], (at(0), at(600)), halts=apart)
    assert len({y for _, y, _ in places(svg, "halt-text")}) == 1


def test_two_short_gaps_side_by_side_are_named_once() -> None:
    """Both are drawn, with their lengths in the title; no words over words."""
    times = [t for t in range(600) if not 300 <= t < 306 and not 308 <= t < 314]
    svg = trend("t", [(at(t), 1.0) for t in times], [], (at(0), at(600)))
    assert svg.count('class="gap"') == 2
    assert len(places(svg, "gap-text")) == 1


def test_bars_end_at_the_limits_and_what_is_beyond_is_red() -> None:
    """Of 0.98..1.02: 0.979 is beyond, 0.981 is not; both limits stand with their numbers."""
    svg = histogram("weight", ["1.000", "1.001", "0.981", "0.979", "1.0401"], "0.98", "1.02")
    assert svg.count("hist-bar beyond") == 2
    assert svg.count('class="hist-bar"') >= 2
    assert re.findall(r">([\d.]+)</text>", svg) == ["0.98", "1.02"]
    heights = [float(height) for height in re.findall(r'class="hist-bar[^>]*height="([\d.]+)"', svg)]
    assert max(heights) == 52.0


@pytest.mark.parametrize(
    ("low", "high"), [("0.980", "1.020"), ("0.95", "1.05"), ("0.3", "0.9"), ("98.5", "101.5"), ("0.985", "1.015")]
)
def test_a_value_on_its_limit_is_drawn_within_it(low: str, high: str) -> None:
    """It passed: its bar is not red, wherever the others lie; one a hair outside is."""
    for other, red in ((low, 0), (high, 0), (f"{high}1", 1), (str(float(low) * 0.9), 1)):
        svg = histogram("weight", [low, high, other], low, high)
        assert svg.count("hist-bar beyond") == red, other


def test_what_is_beyond_the_only_limit_is_red() -> None:
    """Bars of a one-sided characteristic do not end at its limit; the one that holds what failed is red."""
    values = ["0.985", "0.979", *(f"{1 + step / 50:.3f}" for step in range(20))]
    assert histogram("weight", values, "0.98", None).count("hist-bar beyond") == 1


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([], "1", "2"), (["5"], None, None), (["5", "5"], "5", None), (["1e9", "0"], "0.98", "1.02"), (["1"], "1", "1")],
)
def test_any_values_have_a_histogram(values: list[str], low: str | None, high: str | None) -> None:
    """One value, equal ones, far ones, limits of one side or of no width: bars within the picture, or nothing."""
    svg = histogram("x", values, low, high)
    assert bool(svg) == bool(values)
    assert all(0 <= float(x) <= 250 for x in re.findall(r' x="([-\d.]+)"', svg))


CAPABLE = {
    "variables": [
        {
            "rule": "fill", "plan": "five", "characteristic": "weight", "unit": "g", "limits": "action", "low": "0.98",
            "high": "1.02", "values": "125", "subgroups": "25", "mean": "1.0001", "s_overall": "0.0050",
            "s_within": "0.0049", "estimator": "pooled s / c4", "cp": "1.36", "cpk": "1.35", "no_cp": "", "pp": "1.33",
            "ppk": "1.32", "ppk_at_least": "1.18", "no_pp": "", "signals": [], "each": ["1.000", "1.001"],
        },
        {
            "rule": "torque<", "plan": "five", "characteristic": "cap torque", "unit": "N.m", "limits": "action",
            "low": "0.3", "high": None, "values": "9", "subgroups": "9", "mean": "0.4", "s_overall": "0.01",
            "s_within": "0.01", "estimator": "mean moving range / d2", "cp": None, "cpk": None,
            "no_cp": "too few subgroups: 9 of 20", "pp": None, "ppk": None, "ppk_at_least": None,
            "no_pp": "too few values: 9 of 25", "signals": ["subgroup 3: <high>"], "each": ["0.4"],
        },
    ],
    "attributes": [
        {"rule": "fill", "plan": "five", "characteristic": "leaks", "units": "125", "defects": "0", "percent": "0",
         "percent_at_most": "2.37"},
    ],
}  # fmt: skip


def test_capability_is_shown_where_it_is_true_and_else_the_reason() -> None:
    """Figures with estimator, counts and bound; or why not; a histogram each; attributes with what they may be."""
    html = render(data(told(), capability=CAPABLE))
    page = Page(html)
    start = page.text.index("Capability")
    text = page.text[start : page.text.index("Halts", start)]
    for said in (
        "weight , g", "125 25 subgroups", "Cp 1.36", "Cpk 1.35", "s within 0.0049, pooled s / c4", "Ppk 1.32",
        "Ppk at least 1.18 (95 %)", "Cp, Cpk not shown: too few subgroups: 9 of 20", "too few values: 9 of 25",
        "9 charted singly", "one side only", "leaks fill 125 0 0 % 2.37 %", "subgroup 3: <high>",
    ):  # fmt: skip
        assert said in text, said
    assert len(page.of("hist")) == 2
    assert "torque&lt;" in html
    assert page.open == []


def test_a_page_without_capability_says_so(page: Page) -> None:
    """Who renders a bundle without the figures gets no empty table."""
    assert "Nothing was measured, or the figures were not asked for." in page.text
