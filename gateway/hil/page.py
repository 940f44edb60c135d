"""Results as one self-contained HTML page: verdict, expectations with their times, timeline, plots.  For print too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from gateway.batch.plots import Mark, Span, trend
from gateway.hil.lanes import lanes, span_ns
from gateway.hil.progress import measured
from gateway.hil.results import Outcome, Result


def page(outcomes: Sequence[Outcome]) -> str:
    """The page.  Everything that came from outside is escaped."""
    import jinja2  # noqa: PLC0415  # only a run that writes a page needs it

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("gateway.hil"), jinja2.PackageLoader("gateway.batch")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("hil.html").render(
        outcomes=[_shown(outcome) for outcome in outcomes],
        passed=sum(outcome.ok for outcome in outcomes),
        total=len(outcomes),
        met=sum(result.ok for outcome in outcomes for result in outcome.results),
        expected=sum(len(outcome.results) for outcome in outcomes),
        played_s=sum(outcome.lasted_s for outcome in outcomes),
        began=min((outcome.began for outcome in outcomes if outcome.began), default=""),
        lines=sorted({outcome.line for outcome in outcomes if outcome.line}),
    )


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "rows": [_row(result) for result in outcome.results],
        "failure": outcome.first_failure,
        "lanes": Markup(lanes(outcome)) if outcome.strokes else "",  # noqa: S704  # escaped where it is drawn
        "plots": [{"title": one.title, "svg": svg} for one, svg in zip(outcome.drawn, _plots(outcome), strict=True)],
    }


def _row(result: Result) -> dict[str, Any]:
    """`share`: how much of its time it needed, percent, for the little bar."""
    share = None
    if result.measured_s is not None and result.within_s:
        share = min(100.0, 100.0 * result.measured_s / result.within_s)
    return {"result": result, "measured": measured(result), "share": share}


def _plots(outcome: Outcome) -> list[Markup]:
    """Each named tag, with the halts and faults of the story at their times."""
    span = span_ns(outcome)
    held = [
        Span(round(each.since_s * 1e9), round(each.until_s * 1e9), each.text)
        for each in outcome.strokes
        if each.lane == "halts"
    ]
    marks = [
        Mark(round(each.since_s * 1e9), each.text, each.text, grave=True)
        for each in outcome.strokes
        if each.lane == "faults"
    ]
    return [
        Markup(trend(one.title, one.points, one.limits, span, halts=held, marks=marks))  # noqa: S704  # escaped there
        for one in outcome.drawn
    ]
