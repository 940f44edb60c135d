"""A chart that halts, in the whole line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from line_kit import EXECUTE, LINE, Kit
from test_backtest_checks import keep, replayed

from gateway.model import Severity
from gateway.verdicts import Verdict

CHART = """\
  chart: {kind: spc, of: weight, characteristic: weight, chart: i-mr, process: {center: 1, sigma: 0.01}, runs: we2,
          halt: filler}
"""


async def check(kit: Kit, grams: str) -> None:
    kit.make(10)
    await asyncio.sleep(0.5)
    await kit.ask("check.take", rule="weight")
    await kit.weigh(grams)
    await asyncio.sleep(0.5)


@pytest.mark.looptime(start=1000)
async def test_a_chart_begins_anew_at_the_release_of_its_own_halt(tmp_path: Path) -> None:
    """Two of three high: a halt.  After the correction one high check alone is no two of three, nor in a replay."""
    async with Kit(tmp_path, line=LINE + CHART) as kit:
        await kit.begin()
        for grams in ("1.025", "1.025"):
            await check(kit, grams)
        halt = kit.holds.standing["filler:chart"]
        alarm = kit.line.alarms.standing["chart"]
        await kit.ask("alarm.acknowledge", alarm="chart", occurrence=alarm.occurrence)
        await kit.ask("halt.release", halt=halt.id, version=halt.version, reason="dose set", recalibration="dose -2 %")
        kit.filler.held = False
        kit.filler["state"] = EXECUTE
        await asyncio.sleep(1)
        await check(kit, "1.025")
        assert "filler:chart" not in kit.holds.standing
        await check(kit, "1.000")
        kept, records, payloads, settings = kit.telemetry.kept, kit.records(), list(kit.disk.payloads), kit.settings
    keep(tmp_path, kept, records, payloads)
    _, heard = replayed(settings, tmp_path)
    again = [each.severity for each in heard if isinstance(each, Verdict) and each.rule == "chart"]
    assert again == [Severity.NORMAL, Severity.HALT, Severity.NORMAL]
