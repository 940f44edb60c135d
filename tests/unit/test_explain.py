"""`linegate check --explain`: rules in plain language, every kind, and the demonstration line's to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from backtest_kit import line
from rules_kit import CONTEXT
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.config.derived import KINDS as DERIVED
from gateway.config.kinds import House
from gateway.config.reading import load
from gateway.explain import explanation
from gateway.rules.base import Judge, RuleConfig, RuleContext
from gateway.rules.explained import EXPLAINED, Said, explained
from gateway.rules.match import MatchConfig
from gateway.rules.sampling import SamplingConfig

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "explain_line.txt"


def said(folder: Path, rules: str) -> str:
    """One line, however it was wrapped."""
    return " ".join(explanation(load(line(folder, rules))).split())


def test_every_kind_of_rule_explains_itself() -> None:
    """A built-in kind without a sentence of its own does not pass."""
    assert set(EXPLAINED) == set(House().rules.all())


def test_the_demonstration_line_to_the_letter() -> None:
    """What QA signs: a change of a word of it is a change somebody reads.

    Write it anew: `linegate check config/line.yaml --explain | sed '/^worst-case/,$d'`.
    """
    now = explanation(load(ROOT / "config" / "line.yaml"))

    assert now.splitlines() == GOLDEN.read_text(encoding="utf-8").rstrip().splitlines()


OWN = "{kind: stale, input: oven/power, after: 9s}"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "{kind: limit, input: oven/temperature, limits: {unit: Cel, warn_high: 60, high: 70}, halt: press}",
            "above 70 Cel halts press (medium); above 60 Cel is a warning (low). Clears at the limit itself.",
        ),
        (
            "{kind: limit, input: oven/temperature, limits: {unit: Cel, high: 70}, halt: press}",
            "Reaction at worst: 1s period + 500ms poll + 500ms halt = 2s from oven until press stands.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, bad_input: halt, halt: press, bad_for: 2s}",
            "If its input dies: no good value for 2s halts press.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, bad_input: ignore, on_delay: 3s}",
            "below 5 % for 3s is an alarm (medium). Clears at the limit itself.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, bad_input: ignore}",
            "If its input dies: nothing is said: another rule has to watch it",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}}",
            "If its input dies: no good value for 3s is an alarm (medium).",
        ),
        (
            "{kind: limit, input: '*/force', limits: {unit: V, high: 5}}",
            "A rule for each of 1: press/force.",
        ),
        ("{kind: stale, input: oven, after: 5s, severity: warn}", "of whichever tag, for 5s is a warning (medium)."),
        (
            "{kind: stale, input: oven, after: 5s, halt: press}",
            "500ms poll + 5s silence + 100ms tick + 500ms halt = 6100ms from oven until press stands.",
        ),
        (
            "{kind: condition, input: oven/open, on_delay: 2s, off_delay: 1s, bad_input: warn}",
            "oven/open: true for 2s is an alarm (medium). Clears when it is not so for 1s.",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 1, chart: i-mr, process: {center: 50, sigma: 2}}",
            "a value to a point, each 10s after the last: centre 50, sigma 2, given. A signal is a warning (low): a",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 1, chart: i-mr, process: {center: 50, sigma: 2}}",
            "Control limits: single value 44 to 56 %; moving range up to 7.372 %. Speaks at worst: 1s period + 500ms",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 1, chart: i-mr, process: {center: 50, sigma: 2}}",
            "after the last value of a point, and a point takes 10s; its longest pattern takes 8 points.",
        ),
        (
            "{kind: spc, input: oven/power, n: 4, chart: xbar-s, process: {center: 50, sigma: 2}, runs: we1}",
            "(we1); the standard deviation beyond its limits. It goes with the next point that completes none.",
        ),
        (
            "{kind: spc, input: oven/power, n: 4, chart: xbar-s, process: {center: 50, sigma: 2}, runs: we1}",
            "Control limits: mean of 4, 47 to 53 %; standard deviation up to 4.175 %. Speaks at worst: 1s period",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 4, chart: ewma, process: {center: 50, sigma: 2}}",
            "completes none. Control limits: average 49.013 to 50.987 %, narrower at first.",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 4, chart: cusum, process: {center: 50, sigma: 2}}",
            "Control limits: target 50 %, sums of what is beyond 0.5 % of it; each up to 5 %.",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 4, chart: xbar-r, phase: {name: trial}, runs: [we4]}",
            "limits found in phase 'trial' over 25 points (silent until then), then frozen. A signal is",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, latched: true}",
            "Its alarm latches: it stands until it was acknowledged and reset, also when the condition is gone.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, suppressed_by: [other, 'link:press']}",
            "Its alarm is recorded and not shown while other stands, or press is away.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, suppressed_unless: oven/open, halt: press}",
            "unless oven/open is true, or 6. That hides no halt: press is held all the same, and then",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}, bad_input: ignore}",
            "Watched by other, if all of oven is dead. If only oven/power is dead, no other rule says so.",
        ),
        (
            "{kind: limit, input: '*/power', limits: {unit: '%', low: 5}, bad_input: ignore}\n  own: " + OWN,
            "and what stood goes on standing. Watched by own. Watched by other, if all of oven is dead. own (",
        ),
        (
            "{kind: spc, input: oven/power, every: 10s, n: 4, chart: xbar-r, process: {center: 50, sigma: 2}}",
            "Chart xbar-r of oven/power, 4 values to a point, each 10s after the last: centre 50",
        ),
        (
            "{kind: limit, input: press/force, limits: {unit: V, low: 5}, bad_input: ignore}",
            "and what stood goes on standing. Of press only a lost link is told.",
        ),
        (
            "{kind: limit, input: oven/power, limits: {unit: '%', low: 5}}",
            "A person may shelve an alarm for at most 8h, maintenance may take one out of service",
        ),
    ],
)
def test_a_rule_in_a_sentence(tmp_path: Path, rule: str, expected: str) -> None:
    """Limits with their units, delays, what it means, how long it takes, what a dead input does."""
    other = "other: {kind: stale, input: oven, after: 60s}"
    assert expected in said(tmp_path, f"rules:\n  it: {rule}\n  {other}\n")


def test_a_rule_that_waits_for_its_recipe_still_stands_by_the_device_it_halts(tmp_path: Path) -> None:
    """Unexplained it is, but never among those that halt nothing."""
    rules = "rules:\n  it: {kind: limit, input: oven/power, limits: recipe.windows.power, halt: press}\n"
    text = said(tmp_path, rules)

    assert "Halts press it (limit) There is no recipe to explain it with" in text
    assert "Halts nothing" not in text


def test_rules_stand_by_the_device_they_halt(tmp_path: Path) -> None:
    """What can stop a machine stands together, before what only tells."""
    rules = """\
rules:
  told: {kind: stale, input: oven, after: 5s}
  held: {kind: stale, input: press, after: 5s, halt: press}
"""
    text = explanation(load(line(tmp_path, rules)))

    assert [each for each in text.splitlines() if each and not each.startswith(" ")] == [
        "Halts press",
        "Halts nothing: warnings and alarms",
        "All alarms",
    ]
    assert text.index("held (stale)") < text.index("Halts nothing") < text.index("told (stale)")


def test_every_kind_of_derived_tag_is_explained(tmp_path: Path) -> None:
    """Each says what it computes; none only of what."""
    text = said(
        tmp_path,
        """\
derived:
  more:
    on: oven
    tags:
      over: {kind: expr, expr: "t - q(60, 'Cel')", inputs: {t: oven/temperature}, unit: K}
      rising: {kind: rate, input: oven/temperature, over: 20s, unit: K/min}
      still: {kind: unchanged, input: oven/temperature, by: 0.5}
      hot: {kind: time-above, input: oven/temperature, above: {unit: Cel, value: 70}}
rules:
  over: {kind: limit, input: more/over, limits: {unit: K, high: 5}}
""",
    )

    assert "more/over (expr, K): t - q(60, 'Cel'), where t is oven/temperature." in text
    assert "more/rising (rate, K/min): the slope of oven/temperature over the last 20s" in text
    assert "more/still (unchanged, s): how long oven/temperature has not moved by more than 0.5." in text
    assert "more/hot (time-above, min): how long oven/temperature was above 70 Cel in this batch." in text
    assert "older than 3s: a bad value with the input's name and reason." in text
    assert DERIVED.names() == {"expr", "rate", "unchanged", "time-above", "viscosity"}


LABEL = MatchConfig.model_validate(
    {
        "on": "labeller/labels",
        "expect": {"labeller/batch": "B-1", "labeller/offset": {"window": {"unit": "mm", "low": -1.5, "high": 1.5}}},
        "halt": "labeller",
        "bad_input": "alarm",
        "uids": {"tag": "labeller/batch", "per": "unit"},
        "trend": {"tag": "labeller/offset", "window": {"unit": "mm", "low": -1, "high": 1}},
    }
)


def test_labels_in_sentences() -> None:
    """What a label must say, its UID, its trend, what a wrong and an unreadable one mean."""
    told = explained(LABEL, CONTEXT)

    assert "labeller/batch = B-1; labeller/offset -1.5 to 1.5 mm. A label that does not say so halts" in told.what
    assert "halts labeller (high), at once. Labels that went by unread are a warning (low)." in told.what
    assert "Its UID in labeller/batch is of a METRC tag's form; each label has one of its own, none twice." in told.what
    assert "labeller/offset (weight 0.2) below -1 mm or above 1 mm is a warning (low)." in told.what
    assert told.dies.startswith("a field that cannot be read is an alarm (high);")


def test_keys_no_sentence_speaks_of_are_told_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that comes later is never left out of a review."""
    say, spoken = EXPLAINED[MatchConfig]
    monkeypatch.setattr("gateway.rules.explained.EXPLAINED", {MatchConfig: (say, spoken - {"trend"})})

    assert "Also: trend {tag: labeller/offset, window: " in explained(LABEL, CONTEXT).what


@pytest.mark.parametrize(
    ("tare", "expected"),
    [
        (
            {"mode": "paired"},
            "on balance/net, each empty and full, target 1 g, action 0.9 to 1.1 g, mean 0.98 to 1",
        ),
        (
            {"mode": "fixed", "weight": 12.345, "spread": 0.002},
            "less a fixed tare of 12.345 g (standard deviation 0.002 g), target 1 g, action 0.9 to 1.1 g, mean 0.98 to",
        ),
        (
            {"mode": "group", "n": 5},
            "5 together empty and full, of which only the mean is judged, target 1 g, mean 0.98 to 1.02 g. A check",
        ),
    ],
)
def test_how_a_weight_is_tared(tare: dict[str, object], expected: str) -> None:
    """With the numbers it is taken off by; of a group nothing is said of each, because nothing is judged."""
    weight = {
        "name": "fill",
        "kind": "variable",
        "source": "weighing",
        "window": {"unit": "g", "target": 1, "low": 0.9, "high": 1.1},
        "mean": {"low": 0.98, "high": 1.02},
        "tare": tare,
    }
    plan = {"every": "15min", "n": 1, "characteristics": [weight]}
    config = SamplingConfig.model_validate({"plan": plan, "weight": "balance/net"})

    assert expected in explained(config, CONTEXT).what


class Documented(RuleConfig):
    """Watches the moon.

    Nothing of this paragraph is shown.
    """

    kind: Literal["moon"] = "moon"

    def inputs(self) -> tuple[str, ...]:
        return ("oven/temperature",)

    def build(self, name: str, context: RuleContext) -> Judge:
        raise NotImplementedError


class Speaking(Documented):
    def explain(self, context: RuleContext) -> Said:
        return Said(f"The moon over {context.tray_size} units.", "it is new moon.")


def test_a_third_partys_kind_speaks_by_its_docstring_or_for_itself() -> None:
    """The first paragraph of its docstring; its own `explain` where it has one."""
    assert explained(Documented(), CONTEXT).what == "Watches the moon. It looks at oven/temperature."
    assert explained(Speaking(), CONTEXT) == Said("The moon over 100 units.", "it is new moon.")


def test_the_command_prints_it(tmp_path: Path) -> None:
    """`check --explain` prints the rules, then what check prints."""
    result = CliRunner().invoke(app, ["check", str(line(tmp_path)), "--explain"])

    assert result.exit_code == 0
    assert result.stdout.startswith("Halts press\n")
    assert result.stdout.rstrip().endswith("good")


def test_a_file_with_errors_is_not_explained(tmp_path: Path) -> None:
    """First the errors: nothing is explained that could not run."""
    wrong = line(tmp_path, "rules:\n  it: {kind: limt}\n")

    result = CliRunner().invoke(app, ["check", str(wrong), "--explain"])

    assert result.exit_code == 2
    assert "Halts" not in result.stdout
