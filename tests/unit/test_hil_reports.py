"""What a run leaves behind: JUnit XML for machines, one page for people; both from hostile words."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from gateway.batch.plots import Limit
from gateway.hil.junit import junit_xml
from gateway.hil.lanes import lanes, span_ns
from gateway.hil.page import page
from gateway.hil.progress import Plain, measured
from gateway.hil.results import Drawn, Outcome, Result, Stroke

NASTY = '<script>alert("1")</script> & \x00 ]]>'


def outcome(*, ok: bool = True, words: str = "oil & heat") -> Outcome:
    """One scenario with a result of each sort."""
    results = [
        Result("hot", "see", f"record {words}", ok=True, within_s=2.0, measured_s=0.5),
        Result("hot", "never", words, ok=True, measured_s=4.0),
    ]
    if not ok:
        results += [
            Result("end", "see", "alarm x", ok=False, within_s=1.0, said=words, where="steps[1].see[0]"),
            Result("end", "see", "halt y", ok=False, reached=False),
        ]
    strokes = [
        Stroke("steps", 0.0, 0.0, words),
        Stroke("faults", 0.5, 3.0, words, grave=True),
        Stroke("alarms", 1.0, 2.0, words),
        *(Stroke("records", 0.01 * number, 0.01 * number, f"alarm.raised {words}") for number in range(40)),
    ]
    drawn = [Drawn(words, [(0, 60.0), (10**9, None), (2 * 10**9, 61.0)], [Limit(66.0, "high 66")])]
    logs = {} if ok else {"gateway.log": words}
    return Outcome(
        "hot_oil", words, words, "hot_oil.yaml", "2026-01-02T03:04:05+00:00", 5.0, results, strokes, drawn, logs
    )


def test_junit_counts_what_was_met_and_what_was_not() -> None:
    """A suite for a scenario, a case for an expectation, its measured time; what was not reached is skipped."""
    root = ET.fromstring(junit_xml([outcome(), outcome(ok=False)]).encode())

    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("6", "1", "1")
    first = root[0].findall("testcase")[0]
    assert (first.get("classname"), first.get("time")) == ("hot_oil", "0.500")
    failure = root.find(".//failure")
    assert failure is not None
    assert "hot_oil.yaml steps[1].see[0]" in str(failure.text)


def test_junit_takes_any_words() -> None:
    """What a device or a log said cannot break the document."""
    root = ET.fromstring(junit_xml([outcome(ok=False, words=NASTY)]).encode())

    assert "<script>" in str(root[0].get("name"))


class Tags(HTMLParser):
    """Every tag and every address of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_needs_nothing_else_and_escapes_everything() -> None:
    """No script, no style, no picture from elsewhere; hostile words are words."""
    text = page([outcome(), outcome(ok=False, words=NASTY)])
    seen = Tags()
    seen.feed(text)

    assert {"svg", "table", "style"} <= seen.tags
    assert not {"script", "img", "link", "iframe"} & seen.tags
    assert all(link.startswith("#") for link in seen.links)
    assert "1 of 2 failed" in text
    assert "not reached" in text
    assert not re.search(r"url\(|@import", text)


def test_an_empty_run_has_a_page_too() -> None:
    """Nothing was drawn and nothing came: still a page and a document."""
    bare = Outcome("a", "a", results=[Result("", "begin", "the line", ok=False, said="mosquitto is not installed")])

    assert "mosquitto is not installed" in page([bare])
    assert ET.fromstring(junit_xml([bare]).encode()).get("failures") == "1"
    assert span_ns(bare)[1] > 0


def test_lanes_never_lose_a_mark() -> None:
    """Forty records in a moment have forty marks, however few names find room."""
    drawing = lanes(outcome())

    assert drawing.count('class="moment plain"') == 41
    assert ">faults<" in drawing
    assert ">halts<" not in drawing


def test_a_line_tells_what_was_measured() -> None:
    """`0.50 s of 2 s`; a failure says what was there instead."""
    said: list[str] = []
    tell = Plain(said.append).teller("hot_oil")
    bad = Result("a", "see", "alarm x", ok=False, within_s=1.0, said="none came")
    tell("the oil is hot")
    tell(bad.sentence, bad)

    assert measured(outcome().results[0]) == "0.50 s of 2 s"
    assert said[0] == "hot_oil: the oil is hot"
    assert said[1].endswith("alarm x (none came)")
