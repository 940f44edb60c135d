"""A control chart in the whole line: through kill -9, from batch to batch, over a recalibration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from line_kit import HOUSE, LINE, QA, RECIPE, TECHNICIAN, Kit

from gateway.config.reading import Settings, load

pytestmark = pytest.mark.looptime(start=1000)

CHART = """\
  drift: {kind: spc, of: weight, chart: i-mr, phase: {name: setup, points: 4}, runs: [we1, we4], text: Look at the dose}
"""


def charted(folder: Path, chart: str = CHART) -> Settings:
    """The kit's line with a chart over its weights."""
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    (folder / "line.yaml").write_text(LINE.rstrip() + "\n" + chart)
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    return load(folder / "line.yaml", house=HOUSE)


async def checked(kit: Kit, *weights: str) -> None:
    """Ten units and their check, for each weight."""
    for weight in weights:
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh(weight)
        await asyncio.sleep(0.6)


def signals(kit: Kit) -> list[str]:
    return [each["body"]["text"] for each in kit.records("alarm.raised") if each["body"]["alarm"] == "drift"]


async def test_phase_one_goes_on_over_a_kill_and_its_limits_are_noted_once(tmp_path: Path) -> None:
    """Two points, kill -9, two more: four points, one record of the limits; the next process finds them frozen."""
    async with Kit(tmp_path, settings=charted(tmp_path)) as first:
        await first.begin()
        await checked(first, "1.000", "1.004")
        assert first.records("chart.frozen") == []
        second = await first.again()
        await asyncio.sleep(0.5)
        await checked(second, "0.998", "1.002")
        (frozen,) = second.records("chart.frozen")
        third = await second.again()
        await asyncio.sleep(0.5)
        await checked(third, "1.003")

        assert (frozen["body"]["phase"], frozen["body"]["points"]) == ("setup", "4")
        assert float(frozen["body"]["center"]) == pytest.approx(1.001)
        assert float(frozen["body"]["sigma"]) == pytest.approx((0.004 + 0.006 + 0.004) / 3 / 1.128379, rel=1e-4)
        assert len(third.records("chart.frozen")) == 1
        assert signals(third) == []


async def test_a_pattern_is_completed_by_the_process_after_the_next(tmp_path: Path) -> None:
    """Eight weights a little high, killed after each second one: warned of at the eighth, and of no other."""
    given = CHART.replace("phase: {name: setup, points: 4}", "process: {center: 1.0, sigma: 0.005}")
    async with Kit(tmp_path, settings=charted(tmp_path, given)) as kit:
        now = kit
        await now.begin()
        for _ in range(3):
            await checked(now, "1.004", "1.003")
            now = await now.again()
            await asyncio.sleep(0.5)
        await checked(now, "1.004")
        assert signals(now) == []
        await checked(now, "1.003")

        (said,) = signals(now)
        assert "weight#8: value: 8 points in a row on one side of the centre (we4). Look at the dose" in said


async def test_frozen_limits_judge_the_next_batch(tmp_path: Path) -> None:
    """Found in one batch, through a kill between the two; the next batch's first weight is judged by them."""
    async with Kit(tmp_path, settings=charted(tmp_path)) as first:
        await first.begin("B1")
        await checked(first, "1.000", "1.004", "0.998", "1.002")
        assert len(first.records("chart.frozen")) == 1
        await first.ask("batch.abort", QA, batch="B1", reason="the dose is set anew")
        kit = await first.again()
        await asyncio.sleep(0.5)
        await kit.begin("B2")
        await checked(kit, "1.030")

        assert len(kit.records("chart.frozen")) == 1
        (said,) = signals(kit)
        assert "a point beyond 3 sigma (we1)" in said


async def test_what_the_chart_said_is_in_the_batchs_capability(tmp_path: Path) -> None:
    """The chart follows `weight`: its signal stands among those of the study."""
    given = CHART.replace("phase: {name: setup, points: 4}", "process: {center: 1.0, sigma: 0.005}")
    async with Kit(tmp_path, settings=charted(tmp_path, given)) as kit:
        await kit.begin()
        await checked(kit, "1.000", "1.030")
        found: Any = await kit.ask("batch.capability", TECHNICIAN, batch="B1")

        (row,) = found["variables"]
        assert any(text.startswith("chart drift: weight at weight#2: value: a point") for text in row["signals"])
