"""The report: one self-contained page that shows what the records say, gaps as gaps, everything escaped."""

from __future__ import annotations

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


def test_the_order_in_the_story_is_the_order_on_the_page(page: Page) -> None:
    """Lots, certificates and UIDs of all materials are shown."""
    for lot in order().materials:
        assert lot.lot in page.text
        assert lot.uid in page.text
    assert "COA-88213, Front Range Analytics, 2026-03-02: passed, THC 84.20 %" in page.text
