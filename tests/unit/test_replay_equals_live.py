"""Whatever happens at a line, its replay says the same of it, at the same times."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_kit import EXECUTE, LINE, SUPERVISOR, Kit
from test_backtest_checks import keep

from gateway.backtest.run import play
from gateway.backtest.terms import Wish
from gateway.rules.engine import Engine
from gateway.verdicts import CheckChange, Finding, Verdict

MORE = """\
  slow: {kind: limit, input: oven/temperature, limits: {unit: Cel, warn_high: 64, high: 70}, deadband: 1,
         on_delay: 1s, off_delay: 1s}
  silent: {kind: stale, input: oven, after: 2s}
  apart: {kind: limit, input: oil/above, limits: {unit: K, high: 8}, on_delay: 700ms, bad_input: warn}
  rate: {kind: limit, input: oil/rate, limits: {unit: K/s, low: -3, high: 3}, bad_input: ignore}
  still: {kind: limit, input: oil/still, limits: {unit: s, high: 4}, bad_input: ignore}
  terpenes: {kind: limit, input: oil/hot_for, limits: {unit: s, warn_high: 4, high: 8}}
  too-hot: {kind: condition, input: oil/hot, on_delay: 1500ms, off_delay: 900ms}
  chart: {kind: spc, of: weight, characteristic: weight, chart: i-mr, process: {center: 1, sigma: 0.01}}
  oil-chart: {kind: spc, input: oven/temperature, every: 1s, n: 3, chart: xbar-s, anew_after: weight,
              process: {center: 64, sigma: 3}}
derived:
  oil:
    tags:
      above: {kind: expr, expr: "t - q(60, 'Cel')", inputs: {t: oven/temperature}, unit: K}
      rate: {kind: rate, input: oven/temperature, over: 2s, unit: K/s}
      still: {kind: unchanged, input: oven/temperature, by: 0.5}
      hot_for: {kind: time-above, input: oven/temperature, above: {unit: Cel, value: 70}, unit: s}
      hot: {kind: expr, expr: "t > q(69, 'Cel')", inputs: {t: oven/temperature}, truth: true}
"""
RULES = ("slow", "silent", "apart", "rate", "still", "terpenes", "too-hot", "oil-chart", "chart", "label", "weight")
TOLD_NS = 350_000_000
"""A tick; what somebody entered is heard with the next scan."""

Heard = list[tuple[int, Finding]]


def listen(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    """To whatever an engine says."""
    judge, ticks = Engine.judge, Engine.tick_in_parts
    inside = [False]

    def judged(engine: Engine, event: Any, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        inside[0] = True
        found = judge(engine, event, now_ns, wall_ns)
        inside[0] = False
        heard.extend((now_ns, each) for each in found)
        return found

    def ticked(engine: Engine, now_ns: int, wall_ns: int) -> Iterator[Sequence[Finding]]:
        for found in ticks(engine, now_ns, wall_ns):
            if not inside[0]:
                heard.extend((now_ns, each) for each in found)
            yield found

    monkeypatch.setattr(Engine, "judge", judged)
    monkeypatch.setattr(Engine, "tick_in_parts", ticked)


async def live(kit: Kit, dice: random.Random) -> None:
    """Two minutes of anything, a batch in the middle."""
    await anything(kit, dice, 12)
    await kit.begin()
    await check(kit, "1.000")
    await anything(kit, dice, 40)
    await kit.ask("batch.complete", SUPERVISOR, batch="B1")
    await anything(kit, dice, 12)


async def anything(kit: Kit, dice: random.Random, times: int) -> None:
    for _ in range(times):
        await dice.choice([warm, warm, warm, broken, lost, made, weighed, weighed, mislabelled])(kit, dice)
        await asyncio.sleep(dice.choice([0.25, 0.5, 1, 2]))
        await let_go(kit)


async def warm(kit: Kit, dice: random.Random) -> None:
    kit.oven["temperature"] = dice.choice([62.0, 63.5, 64.0, 65.0, 69.5, 70.0, 72.0, 75.0])


async def broken(kit: Kit, dice: random.Random) -> None:
    kit.oven["temperature"] = None
    await asyncio.sleep(dice.choice([0.3, 1, 3]))
    kit.oven["temperature"] = 65.0


async def lost(kit: Kit, dice: random.Random) -> None:
    oven = kit.machines["oven"]
    oven.link = False
    await asyncio.sleep(dice.choice([0.3, 1, 3, 6]))
    oven.link = True
    await asyncio.sleep(3)


async def made(kit: Kit, dice: random.Random) -> None:
    kit.make(1)


async def mislabelled(kit: Kit, dice: random.Random) -> None:
    label = kit.filler.values["label"]
    kit.filler["label"] = "another"
    kit.make(1)
    await asyncio.sleep(0.5)
    kit.filler["label"] = label


async def weighed(kit: Kit, dice: random.Random) -> None:
    if "weight" in kit.line.run.rules:
        kit.make(10)
        await asyncio.sleep(0.5)
        await check(kit, dice.choice(["1.000", "1.012", "1.021", "0.985", "1.035", "0.930"]))


async def check(kit: Kit, grams: str) -> None:
    await kit.ask("check.take", rule="weight")
    await kit.weigh(grams)
    kit.balance["net"] = Decimal("0.000")
    await asyncio.sleep(0.5)


async def let_go(kit: Kit) -> None:
    """Whoever sees a halt corrects what it asks for."""
    for halt in list(kit.holds.standing.values()):
        await asyncio.sleep(0.5)
        name = halt.rule
        alarm = kit.line.alarms.standing[name]
        await kit.ask("alarm.acknowledge", alarm=name, occurrence=alarm.occurrence)
        await kit.ask("halt.release", halt=halt.id, version=halt.version, reason="mended", recalibration="set anew")
    kit.filler.held = False
    kit.filler["state"] = EXECUTE


def story(heard: Heard, rule: str) -> list[tuple[int, Any]]:
    """(when, how grave), and checks as they were judged."""
    found: list[tuple[int, Any]] = []
    for at_ns, each in heard:
        if isinstance(each, Verdict) and each.rule == rule:
            found.append((at_ns, each.severity))
        elif isinstance(each, CheckChange) and each.what in ("judged", "missed") and each.check.rule == rule:
            found.append((at_ns, (each.check.id, each.check.why, each.check.state)))
    return found


@pytest.mark.looptime(start=1000)
@pytest.mark.parametrize("seed", range(4))
async def test_a_replay_says_what_the_line_said_whatever_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Heat, broken sensors, lost links, wrong labels, checks, recalibrations: the same verdicts, within a tick."""
    then, again = Heard(), Heard()
    listen(monkeypatch, then)
    async with Kit(tmp_path, line=LINE + MORE) as kit:
        kit.filler["label"] = "trial"
        await live(kit, random.Random(seed))
        kept, records, payloads, settings = kit.telemetry.kept, kit.records(), list(kit.disk.payloads), kit.settings
    monkeypatch.undo()
    keep(tmp_path, kept, records, payloads)
    shift_ns = kept[0].mono_ns - kept[0].time_ns

    play(settings, Wish([tmp_path]), tell=lambda ns, each: again.append((ns + shift_ns, each)))

    for rule in RULES:
        was, is_now = story(then, rule), story(again, rule)
        assert [each for _, each in is_now] == [each for _, each in was], f"{rule}: {was} and {is_now}"
        assert all(abs(a[0] - b[0]) <= TOLD_NS for a, b in zip(was, is_now, strict=True)), f"{rule}: {was} and {is_now}"
