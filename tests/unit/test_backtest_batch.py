"""What belongs to a batch begins and ends with it in a replay, as it did at the line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from line_kit import LINE, Kit
from test_backtest_checks import keep, replayed

from gateway.verdicts import Finding, Verdict

MORE = """\
  terpenes: {kind: limit, input: oil/hot_for, limits: {unit: s, high: 6}}
derived:
  oil:
    tags:
      hot_for: {kind: time-above, input: oven/temperature, above: {unit: Cel, value: 70}, unit: s}
"""


async def heat(kit: Kit, seconds: float) -> None:
    kit.oven["temperature"] = 75.0
    await asyncio.sleep(seconds)
    kit.oven["temperature"] = 62.0
    await asyncio.sleep(1)


def said(found: list[Finding], rule: str) -> list[Any]:
    """How grave, in turn; from the first that is not normal."""
    return [each.severity for each in found if isinstance(each, Verdict) and each.rule == rule and each.severity]


@pytest.mark.looptime(start=1000)
async def test_heat_and_labels_before_and_after_a_batch_are_not_its_own(tmp_path: Path) -> None:
    """A trial run with another label, oil that was hot before the batch and is after it: nothing was said of them."""
    async with Kit(tmp_path, line=LINE + MORE) as kit:
        kit.filler["label"] = "trial"
        await heat(kit, 5)
        kit.make(1)
        await asyncio.sleep(1)
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("1.001")
        await heat(kit, 4)
        alarms = [each["body"]["alarm"] for each in kit.records("alarm.raised")]
        kept, records, payloads = kit.telemetry.kept, kit.records(), list(kit.disk.payloads)
        settings = kit.settings
    keep(tmp_path, kept, records, payloads)

    _, heard = replayed(settings, tmp_path)

    assert not {"terpenes", "label"} & set(alarms)
    assert (said(heard, "terpenes"), said(heard, "label")) == ([], [])
