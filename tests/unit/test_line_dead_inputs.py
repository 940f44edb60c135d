"""An input that gave out is one trouble, however many rules look at it: one alarm, the others on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_kit import EXECUTE, HOUSE, OPERATOR, RECIPE, Kit, Machine

from gateway.config.reading import load

pytestmark = pytest.mark.looptime(start=1000)

LINE = """\
gateway: {id: gw1, path: acme/denver/filling/line3/cell1}
devices:
  oven:
    driver: kit
    period: 250ms
    timeout: 200ms
    tags: {temperature: {unit: Cel}, viscosity: {unit: mPa.s}}
  balance: {driver: kit, period: 250ms, timeout: 200ms, tags: {net: {unit: g, kind: decimal}}}
  filler: {driver: kit, can_halt: true, period: 250ms, timeout: 200ms, halt_budget: 200ms, tags: {state: {}}}
derived:
  oil:
    tags:
      at_60:
        kind: viscosity
        viscosity: oven/viscosity
        temperature: oven/temperature
        at: {unit: Cel, value: 60}
        model: {kind: andrade, a: -12, b: 6000, from: 40, to: 80}
  again:
    tags: {thin: {kind: expr, expr: "v / q(1, 'mPa.s')", inputs: {v: oil/at_60}}}
rules:
"""
THICK = "thick: {kind: limit, input: oven/viscosity, limits: {unit: mPa.s, high: 500}, alarm: medium}"
OTHER = "other: {kind: limit, input: oil/at_60, limits: {unit: mPa.s, high: 500}, alarm: medium}"
THIN = "thin: {kind: limit, input: again/thin, limits: {unit: '1', high: 500}, alarm: medium}"
COLD = "cold: {kind: limit, input: oven/temperature, limits: {unit: Cel, low: 58}, alarm: medium}"
SILENT = "silent: {kind: stale, input: oven, after: 3s, alarm: medium}"


@asynccontextmanager
async def kit(folder: Path, *rules: str) -> AsyncIterator[Kit]:
    """An oven of two values, and these rules."""
    (folder / "recipes").mkdir()
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    (folder / "line.yaml").write_text(LINE + "".join(f"  {rule}\n" for rule in rules))
    machines = {
        "oven": Machine({"temperature": 62.0, "viscosity": 400.0}, []),
        "balance": Machine({"net": Decimal("0.000")}, []),
        "filler": Machine({"state": EXECUTE}, []),
    }
    async with Kit(folder, machines=machines, settings=load(folder / "line.yaml", house=HOUSE)) as made:
        yield made


async def show(kit: Kit, seconds: float = 6.0, **values: Any) -> None:
    for tag, value in values.items():
        kit.oven[tag] = value
    await asyncio.sleep(seconds)


def shown(kit: Kit) -> list[str]:
    return sorted(kit.line.alarms.standing)


def raised(kit: Kit) -> list[str]:
    """Each occurrence once: after a restart the same one says anew how long it lasts."""
    bodies = [record["body"] for record in kit.records("alarm.raised")]
    return [name for name, _ in dict.fromkeys((body["alarm"], body["occurrence"]) for body in bodies)]


async def test_a_sensor_break_of_a_whole_device_is_one_alarm(tmp_path: Path) -> None:
    """Every value bad, the link well: the first rule that is blind says so; the others are records under it."""
    async with kit(tmp_path, THICK, OTHER, THIN, SILENT) as line:
        await show(line, temperature=None, viscosity=None)
        assert (shown(line), raised(line)) == (["thick"], ["thick"])
        hidden = line.board.get("alarms/hidden")
        assert {name: each["suppressed_by"] for name, each in hidden.items()} == {
            "other": ["thick"], "thin": ["thick"], "silent": ["thick"],
        }  # fmt: skip
        assert {record["body"]["alarm"] for record in line.records("alarm.suppressed")} == {"other", "thin", "silent"}

        await show(line, temperature=62.0, viscosity=400.0)
        assert line.line.alarms.hidden == {}
        assert (shown(line), raised(line)) == (["thick"], ["thick"])  # over, and wants to be acknowledged


async def test_one_dead_tag_that_two_rules_look_at_is_one_alarm(tmp_path: Path) -> None:
    """The one that is told first tells it; a graver one is told all the same, and then the lesser is under it."""
    twin = COLD.replace("cold:", "chill:").replace("medium", "high")
    async with kit(tmp_path, COLD, COLD.replace("cold:", "cool:"), twin) as line:
        await show(line, temperature=None)
        assert shown(line) == ["chill"]
        assert raised(line) == ["cold", "chill"]


async def test_another_dead_tag_is_another_trouble(tmp_path: Path) -> None:
    """Two sensors of one device, each its own alarm; and one that is well again leaves the other's to be told."""
    async with kit(tmp_path, THICK, COLD, OTHER) as line:
        await show(line, viscosity=None)
        assert shown(line) == ["thick"]
        await show(line, temperature=None)
        assert shown(line) == ["cold", "thick"]
        await show(line, viscosity=400.0)
        assert line.board.get("alarms/hidden")["other"]["suppressed_by"] == ["cold"]
        assert line.line.alarms.holds("cold")


async def test_a_value_beyond_its_limit_explains_no_dead_input(tmp_path: Path) -> None:
    """Cold oil hides nothing of a dead viscometer; and what is hidden itself explains nothing."""
    thick = THICK.replace("alarm: medium", "alarm: medium, suppressed_by: [cold]")
    async with kit(tmp_path, COLD, thick, SILENT.replace("oven,", "oven/viscosity,")) as line:
        await show(line, temperature=50.0)
        assert shown(line) == ["cold"]
        await show(line, viscosity=None)
        assert shown(line) == ["cold", "silent"]


async def test_what_a_person_put_aside_explains_nothing(tmp_path: Path) -> None:
    """The alarm that told it is shelved: the next one tells it, and the shelf hides no silent device."""
    async with kit(tmp_path, THICK, SILENT) as line:
        await show(line, temperature=None, viscosity=None)
        await line.ask("alarm.shelve", OPERATOR, alarm="thick", seconds=60, reason="sensor is being moved")
        await asyncio.sleep(1)
        assert shown(line) == ["silent"]


async def test_a_dead_input_that_halts_is_hidden_by_nothing(tmp_path: Path) -> None:
    """The filler is held, and both say so."""
    halts = "stop: {kind: stale, input: oven, after: 2s, halt: filler}"
    async with kit(tmp_path, THICK, halts) as line:
        await show(line, temperature=None, viscosity=None)
        assert line.filler.held
        assert "stop" in shown(line)


async def test_it_is_told_once_over_a_restart(tmp_path: Path) -> None:
    """Killed while the sensor is broken: the same alarm stands, the others are still under it."""
    async with kit(tmp_path, THICK, OTHER, SILENT) as first:
        await show(first, temperature=None, viscosity=None)
        second = await first.again()
        await asyncio.sleep(6)
        assert (shown(second), raised(second)) == (["thick"], ["thick"])
        assert sorted(second.line.alarms.hidden) == ["other", "silent"]
