"""A point of a chart is made of values that belong together."""

from __future__ import annotations

import pytest
from sampling_kit import EVERY_15_MIN, EVERY_100, Line, rule
from test_spc_rule import chart, verdicts

from gateway.model import Entry, Severity


def half_done() -> Line:
    """A check of five with two high samples in it, and a chart that begins anew after another plan's recalibration."""
    line = Line(
        five=rule(EVERY_15_MIN),
        fill=rule({**EVERY_100, "every_units": 100_000}),
        chart=chart(of="five", chart="xbar-s", anew_after="fill", runs="we1"),
    )
    line.run(902, per_s=1)
    for weight in ("1.045", "1.045"):
        line.weigh(weight, "five")
    return line


def rest(line: Line) -> list[tuple[Severity, str]]:
    """The other three, on target; what the chart said."""
    seen = len(line.found)
    for weight in ("1.000", "1.001", "1.000"):
        line.weigh(weight, "five")
    assert [(each.check.n, each.check.state) for each in line.changes("judged")][-1:] == [(5, "passed")]
    return verdicts(line.found[seen:])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_check_half_done_before_a_recalibration_is_no_point_of_the_chart(restarted: bool) -> None:
    """Another plan over the same filler recalibrates it between the second sample and the third."""
    line = half_done()
    line.judge(Entry("recalibrated", "fill", "anna", text="dose -4 %"))
    if restarted:
        line.restart()
    assert rest(line) == []
    line.run(900, per_s=1)
    for weight in ("1.000", "1.001", "1.000", "0.999"):
        line.weigh(weight, "five")
    seen = len(line.found)
    line.weigh("1.000", "five")
    assert verdicts(line.found[seen:]) == [(Severity.NORMAL, "five: no signal")]


def test_a_check_that_nothing_recalibrated_is_a_point() -> None:
    """The same five samples without it: far above the process's own limits."""
    assert [each[0] for each in rest(half_done())] == [Severity.WARNING]
