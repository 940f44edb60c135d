"""Results as JUnit XML: a suite for each scenario, a case for each expectation with its measured time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from gateway.hil.results import Outcome, Result

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, production 2: what a document may hold; a log may hold anything."""


def junit_xml(outcomes: Sequence[Outcome]) -> str:
    """The document."""
    root = ET.Element("testsuites", name="linegate hil", time=f"{sum(each.lasted_s for each in outcomes):.3f}")
    for outcome in outcomes:
        _suite(root, outcome)
    _count(root, [result for outcome in outcomes for result in outcome.results])
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _count(element: ET.Element, results: Sequence[Result]) -> None:
    element.set("tests", str(len(results)))
    element.set("failures", str(sum(not each.ok and each.reached for each in results)))
    element.set("skipped", str(sum(not each.reached for each in results)))
    element.set("errors", "0")


def _suite(root: ET.Element, outcome: Outcome) -> None:
    suite = ET.SubElement(root, "testsuite", name=_clean(outcome.title), time=f"{outcome.lasted_s:.3f}")
    _count(suite, outcome.results)
    if outcome.began:
        suite.set("timestamp", outcome.began)
    for number, result in enumerate(outcome.results, 1):
        name = f"{number:02d} {result.step}: {result.sentence}" if result.step else f"{number:02d} {result.sentence}"
        case = ET.SubElement(
            suite, "testcase", classname=outcome.name, name=_clean(name), time=f"{result.measured_s or 0.0:.3f}"
        )
        if not result.reached:
            ET.SubElement(case, "skipped", message="not reached: the story ended before")
        elif not result.ok:
            failure = ET.SubElement(case, "failure", message=_clean(result.said or "not seen"), type=result.kind)
            failure.text = _clean(f"{outcome.file} {result.where}\n{result.said}")
    if outcome.logs:
        text = "\n\n".join(f"== {name} ==\n{log}" for name, log in outcome.logs.items())
        ET.SubElement(suite, "system-out").text = _clean(text)


def _clean(text: str) -> str:
    return _NOT_XML.sub("�", text)
