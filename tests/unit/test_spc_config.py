"""A chart that could never say anything is refused when the line is checked, at its place and with what would do."""

from __future__ import annotations

from pathlib import Path

import pytest
from line_kit import HOUSE, LINE, RECIPE

from gateway.config.reading import check

GIVEN = "process: {center: 1, sigma: 0.01}"
SEVERAL = "{name: torque, kind: variable, window: {unit: N.m, low: 1, high: 2}}"


def problems(folder: Path, chart: str, recipe: str = RECIPE) -> list[str]:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "cart.yaml").write_text(recipe)
    (folder / "line.yaml").write_text(f"{LINE.rstrip()}\n  drift: {{kind: spc, {chart}}}\n")
    return [problem.message for problem in check(folder / "line.yaml", house=HOUSE).problems]


@pytest.mark.parametrize(
    ("chart", "wrong"),
    [
        ("of: weight, chart: p, share: 0.05", "weight is measured: chart p counts defects"),
        (f"of: leaks, chart: xbar-r, {GIVEN}", "brings 1 value(s) of leaks; chart xbar-r takes 2 to 100"),
        (f"of: weight, chart: xbar-s, {GIVEN}", "brings 1 value(s) of weight; chart xbar-s takes 2 to 100"),
        (f"of: weight, characteristic: wieght, chart: i-mr, {GIVEN}", "no characteristic 'wieght'; it has: weight"),
        (f"of: weight, chart: cusum, runs: nelson, {GIVEN}", "`runs` means nothing to chart cusum"),
        ("of: weight, chart: i-mr, ewma: {weight: 0.3}, " + GIVEN, "`ewma` means nothing to chart i-mr"),
        ("of: weight, chart: ewma, cusum: {fast: true}, " + GIVEN, "`cusum` means nothing to chart ewma"),
        (f"of: weight, chart: i-mr, n: 1, {GIVEN}", "`n` means nothing to a chart of checks: the plan says it"),
        (f"of: weight, chart: i-mr, every: 3s, {GIVEN}", "`every` means nothing to a chart of checks"),
        (
            f"input: oven/temperature, characteristic: x, n: 1, chart: i-mr, {GIVEN}",
            "means nothing to a chart of a tag",
        ),
        ("of: weight, chart: i-mr, phase: {name: ' '}", "should match pattern"),
    ],
)
def test_a_chart_that_would_stay_silent_is_refused(tmp_path: Path, chart: str, wrong: str) -> None:
    """No check of the plan would ever be a point of it, or a key would do nothing."""
    found = problems(tmp_path, chart)
    assert any(wrong in each for each in found), found


def test_a_plan_with_several_characteristics_wants_one_named(tmp_path: Path) -> None:
    """Else the chart would follow whichever the plan names first."""
    recipe = RECIPE.replace("low: 0.95, high: 1.05}}]", f"low: 0.95, high: 1.05}}}}, {SEVERAL}]")
    (said,) = problems(tmp_path, f"of: weight, chart: i-mr, {GIVEN}", recipe)
    assert "has several characteristics; name one: characteristic: weight" in said


@pytest.mark.parametrize(
    "chart",
    [
        f"of: weight, characteristic: weight, chart: i-mr, {GIVEN}",
        "of: weight, chart: cusum, cusum: {fast: true}, phase: {name: setup}",
        "of: leaks, chart: p, share: 0.02",
        f"of: leaks, chart: i-mr, {GIVEN}",
    ],
)
def test_a_chart_that_fits_its_plan_is_taken(tmp_path: Path, chart: str) -> None:
    """Each with the values that its checks bring."""
    assert problems(tmp_path, chart) == []
