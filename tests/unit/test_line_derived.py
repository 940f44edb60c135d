"""Derived tags on the line: judged, stored and sent like measured ones; and the section that declares them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from line_kit import HOUSE, LINE, RECIPE, Kit

from gateway.config.reading import check, load
from gateway.model import Severity

DERIVED = """\
derived:
  oil:
    tags:
      off: {kind: expr, expr: "t - q(62, 'Cel')", inputs: {t: oven/temperature}, unit: K}
      too_hot: {kind: expr, expr: "t > q(70, 'Cel')", inputs: {t: oven/temperature}, truth: true}
      hot_for: {kind: time-above, input: oven/temperature, above: {unit: Cel, value: 65}, unit: s}
      still: {kind: unchanged, input: oven/temperature}
  again:
    tags: {twice: {kind: expr, expr: 2 * off, inputs: {off: oil/off}, unit: K}}
rules:
  off: {kind: limit, input: oil/off, limits: {unit: K, low: -3, high: 3}, alarm: medium}
  too-hot: {kind: condition, input: oil/too_hot, on_delay: 1s, off_delay: 1s, halt: filler, bad_input: ignore}
  frozen: {kind: limit, input: oil/still, limits: {unit: s, high: 30}, alarm: low, bad_input: ignore}
"""


def line(folder: Path, derived: str = DERIVED) -> Path:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    base = LINE[: LINE.index("rules:")]
    (folder / "line.yaml").write_text(base + derived)
    return folder / "line.yaml"


def problems(folder: Path, derived: str) -> list[str]:
    return [f"{problem.where}: {problem.message}" for problem in check(line(folder, derived), house=HOUSE).problems]


@pytest.mark.looptime(start=1000)
async def test_a_derived_value_is_judged_stored_and_numbered_like_a_measured_one(tmp_path: Path) -> None:
    """The oven warms: the difference is alarmed, stored with its own number, and one derived from it follows."""
    line(tmp_path)
    async with Kit(tmp_path) as kit:
        kit.oven["temperature"] = 66.0
        await asyncio.sleep(0.5)
        assert kit.line.latest["oil"].values[0] == pytest.approx(4.0)
        assert kit.line.latest["again"].values[0] == pytest.approx(8.0)
        assert kit.line.alarms.standing["off"].state.value == "unack"
        stored = [scan for scan in kit.telemetry.kept if scan.device == "oil"]
        assert stored[-1].values[0] == pytest.approx(4.0)
        assert len({scan.seq for scan in kit.telemetry.kept}) == len(kit.telemetry.kept)


@pytest.mark.looptime(start=1000)
async def test_a_condition_halts_after_its_delay_and_not_before(tmp_path: Path) -> None:
    """True for half a second is nothing; for more than its delay it holds the filler."""
    line(tmp_path)
    async with Kit(tmp_path) as kit:
        kit.oven["temperature"] = 75.0
        await asyncio.sleep(0.6)
        kit.oven["temperature"] = 60.0
        await asyncio.sleep(2)
        assert not kit.filler.held
        kit.oven["temperature"] = 75.0
        await asyncio.sleep(2)
        assert kit.filler.held
        verdict = kit.run.engine.current("too-hot")
        assert verdict is not None
        assert (verdict.severity, verdict.text) == (Severity.HALT, "oil/too_hot is true")


@pytest.mark.looptime(start=1000)
async def test_a_lost_device_makes_its_derived_tags_bad(tmp_path: Path) -> None:
    """No value, with the reason of the input: never the last one that was good."""
    line(tmp_path)
    async with Kit(tmp_path) as kit:
        kit.oven["temperature"] = None
        await asyncio.sleep(1)
        scan = kit.line.latest["oil"]
        assert scan.values == (None, None, None, None)
        assert scan.faults[0].reason == "oven/temperature: no value"


@pytest.mark.looptime(start=1000)
async def test_time_above_is_kept_through_kill_9(tmp_path: Path) -> None:
    """Hot for four seconds, killed: the next process goes on from there, and says what it did not see."""
    line(tmp_path)
    async with Kit(tmp_path) as first:
        await first.begin()
        first.oven["temperature"] = 66.0
        await asyncio.sleep(4)
        kit = await first.again()
        await asyncio.sleep(1)
        scan = kit.line.latest["oil"]
        assert 3.0 < float(scan.values[2]) < 6.0  # type: ignore[arg-type]
        assert "down is unknown" in scan.faults[2].reason


@pytest.mark.looptime(start=1000)
async def test_time_above_that_is_new_in_a_running_batch_does_not_know_what_was_before(tmp_path: Path) -> None:
    """Declared in the middle of a hot batch: its sum is uncertain, and still so after the next start."""
    hot = "      hot_for: {kind: time-above, input: oven/temperature, above: {unit: Cel, value: 65}, unit: s}\n"
    path = line(tmp_path, DERIVED.replace(hot, ""))
    async with Kit(tmp_path) as first:
        await first.begin()
        first.oven["temperature"] = 66.0
        await asyncio.sleep(4)
        path.write_text(path.read_text().replace("      still:", f"{hot}      still:"))
        kit = await first.again(settings=load(path, house=HOUSE))
        await asyncio.sleep(1)
        scan = kit.line.latest["oil"]
        assert float(scan.values[2]) < 2.0  # type: ignore[arg-type]
        assert scan.faults[2].reason == "what was in this batch before the gateway's start is unknown"
        kit = await kit.again()
        await asyncio.sleep(1)
        assert "what was in this batch before" in kit.line.latest["oil"].faults[2].reason


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        ("derived: {oven: {tags: {x: {kind: unchanged, input: oven/temperature}}}}\n", "oven is a device already"),
        ("derived: {oil: {}}\n", "derived.oil: needs tags"),
        ("derived: {oil: {tags: {x: {kind: rat, input: oven/temperature}}}}\n", "'rat'; did you mean 'rate'"),
        ("derived: {oil: {tags: {x: {kind: unchanged, input: oven/temp}}}}\n", "its device has: temperature"),
        ("derived: {oil: {tags: {x: {kind: unchanged, input: filler/label}}}}\n", "filler/label is text"),
        ("derived: {oil: {on: filler, tags: {x: {kind: unchanged, input: oven/temperature}}}}\n", "none of its tags"),
        ("derived: {oil: {when: 1, tags: {x: {kind: unchanged, input: oven/temperature}}}}\n", "unknown key"),
        ("derived: {oil: {tags: {x: {kind: rate, input: oven/temperature, unit: g}}}}\n", "which is not g"),
        ("derived: {oil: {tags: {x: {kind: rate, input: oven/temperature, ovr: 3s}}}}\n", "did you mean 'over'"),
        ("derived: {oil: {tags: {x: {kind: expr, expr: t +, inputs: {t: oven/temperature}}}}}\n", "invalid syntax"),
        (DERIVED.replace("input: oil/off", "input: oil/of"), "no tag 'of'"),
        (DERIVED.replace("oil/too_hot", "oil/off"), "is not true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_derived_tag_is_told_at_its_place(tmp_path: Path, derived: str, said: str) -> None:
    """Nothing starts; the place, the reason, the nearest word."""
    found = problems(tmp_path, derived)
    assert any(said in each for each in found), found


def test_derived_tags_are_part_of_the_configuration_hash(tmp_path: Path) -> None:
    """Another constant in an expression is another configuration."""
    path = line(tmp_path)
    first = load(path, house=HOUSE)
    path.write_text(path.read_text().replace("q(62", "q(63"))
    assert load(path, house=HOUSE).hash != first.hash


def test_the_worst_case_of_a_rule_on_a_derived_tag_is_that_of_what_it_is_made_from(tmp_path: Path) -> None:
    """Poll of the oven, the delay and the tick that ends it, the filler's halt: the virtual device adds nothing."""
    (row,) = [row for row in check(line(tmp_path), house=HOUSE).table if row.rule == "too-hot"]
    assert row.measures == "oven"
    assert row.total_s == pytest.approx(0.25 + 0.2 + 1.0 + 0.1 + 0.2)


DEVICES = """\
gateway: {id: gw1, path: a/b/c/d/e}
devices:
  reservoir: {driver: kit, period: 250ms, timeout: 200ms, tags: {temperature: {unit: Cel}, setpoint: {unit: Cel}}}
  viscometer: {driver: kit, period: 250ms, timeout: 200ms, tags: {viscosity: {unit: mPa.s}, temperature: {unit: Cel}}}
  filler: {driver: kit, can_halt: true, period: 250ms, timeout: 200ms, halt_budget: 200ms, tags: {state: {}}}
"""


def documented() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "derived.md").read_text()
    return [block.split("```", 1)[0] for block in page.split("```yaml\n")[1:]]


@pytest.mark.parametrize("number", range(len(documented())))
def test_the_examples_of_the_page_can_be_loaded(tmp_path: Path, number: int) -> None:
    """Each block as it stands, on a line with its devices: what is documented is not refused."""
    (tmp_path / "line.yaml").write_text(DEVICES + documented()[number])
    (tmp_path / "recipes").mkdir()
    found = [problem.message for problem in check(tmp_path / "line.yaml", house=HOUSE).problems]
    assert not found


def test_a_rate_of_change_can_be_limited(tmp_path: Path) -> None:
    """In its own unit or in another of the same kind; not in one of a temperature."""
    rate = "derived: {oil: {tags: {heating: {kind: rate, input: oven/temperature, unit: K/min}}}}\n"
    rule = "rules: {fast: {kind: limit, input: oil/heating, limits: {unit: UNIT, low: -2, high: 5}}}\n"
    for place, (unit, wrong) in enumerate([("K/min", ""), ("K/h", ""), ("Cel/min", ""), ("K", "does not convert")]):
        folder = tmp_path / str(place)
        folder.mkdir()
        assert wrong in "; ".join(problems(folder, rate + rule.replace("UNIT", unit))) or wrong
        if not wrong:
            assert not check(folder / "line.yaml", house=HOUSE).problems
