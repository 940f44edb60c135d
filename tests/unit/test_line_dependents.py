"""One alarm for a device that is gone: what its rules say then is told with it, and holds a machine once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from line_kit import HOUSE, OPERATOR, TECHNICIAN, Kit, Machine

from gateway.alarms.stats import Tally
from gateway.config.reading import load
from gateway.errors import Refused

pytestmark = pytest.mark.looptime(start=1000)

TAGS = 30
ROW = [f"t{at}" for at in range(TAGS)]
LINE = f"""\
gateway: {{id: gw1, path: acme/denver/filling/line3/cell1}}
devices:
  bank:
    driver: kit
    period: 250ms
    timeout: 200ms
    tags: {{{", ".join(f"{tag}: {{unit: Cel}}" for tag in ROW)}}}
  press: {{driver: kit, can_halt: true, period: 250ms, timeout: 200ms, halt_budget: 200ms, tags: {{state: {{}}}}}}
  other: {{driver: kit, can_halt: true, period: 250ms, timeout: 200ms, halt_budget: 200ms, tags: {{mode: {{}}}}}}
rules:
"""
ALARMS = "  within: {kind: limit, input: 'bank/*', limits: {unit: Cel, high: 90}, alarm: medium}\n"
HALTS = ALARMS.replace("alarm: medium", "bad_input: halt, halt: press, alarm: high")
ONE = "  near: {kind: limit, input: bank/t0, limits: {unit: Cel, high: 90}, bad_input: halt, halt: [press, other]}\n"


def kit(folder: Path, rules: str) -> Kit:
    (folder / "line.yaml").write_text(LINE + rules)
    machines = {"bank": Machine(dict.fromkeys(ROW, 20.0), [])}
    machines |= {"press": Machine({"state": 6}, []), "other": Machine({"mode": 6}, [])}
    return Kit(folder, machines=machines, settings=load(folder / "line.yaml", house=HOUSE))


async def pull(one: Kit, seconds: float = 3) -> None:
    one.machines["bank"].link = False
    await asyncio.sleep(seconds)


async def plug(one: Kit, seconds: float = 8) -> None:
    one.machines["bank"].link = True
    await asyncio.sleep(seconds)


async def until(holds: Callable[[], bool]) -> None:
    """At most six seconds."""
    for _ in range(120):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


def told(one: Kit) -> list[dict[str, Any]]:
    return [record["body"] for record in one.records("alarm.dependents")]


def kinds(one: Kit) -> Counter[str]:
    return Counter(record["kind"] for record in one.records())


async def test_thirty_rules_are_one_alarm_and_three_records(tmp_path: Path) -> None:
    """Lost: the loss, its alarm, what is under it.  Back: the same.  A pattern stands for all that it made."""
    async with kit(tmp_path, ALARMS) as one:
        before = kinds(one)
        await pull(one)
        assert kinds(one) - before == Counter({"device.lost": 1, "alarm.raised": 1, "alarm.dependents": 1})
        assert one.line.alarms.standing.keys() == {"link:bank"}
        assert not one.line.alarms.hidden
        assert (told(one)[0]["rules"], "named" in told(one)[0]) == ({"within": TAGS}, False)
        assert len(one.board.get("alarms")["link:bank"]["dependents"]["names"]) == 10
        assert one.line.alarms.holds("within.bank.t7")

        before = kinds(one)
        await plug(one)
        assert kinds(one) - before == Counter({"device.connected": 1, "alarm.cleared": 1, "alarm.dependents": 1})
        assert (told(one)[-1]["over"], told(one)[-1]["turns"], told(one)[-1]["left"]) == (True, TAGS, 0)
        assert not len(one.line.alarms.dependents)


async def test_what_has_an_alarm_of_its_own_keeps_it(tmp_path: Path) -> None:
    """A bad tag before, too hot before, shelved before: each its own record; the rest is named, for it is not all."""
    async with kit(tmp_path, ALARMS) as one:
        one.machines["bank"]["t1"] = None
        one.machines["bank"]["t2"] = 95.0
        await one.ask("alarm.shelve", OPERATOR, alarm="within.bank.t3", seconds=600, reason="sensor is being moved")
        await asyncio.sleep(2)
        assert one.line.alarms.standing.keys() == {"within.bank.t1", "within.bank.t2"}
        await pull(one)
        own = {"within.bank.t1", "within.bank.t2", "within.bank.t3"}
        assert one.line.alarms.hidden.keys() == own
        assert one.line.alarms.hidden["within.bank.t2"].owed
        named = told(one)[-1]["named"]["within"]
        assert (len(named), own & set(named)) == (TAGS - 3, set())


async def test_a_tag_that_stays_bad_speaks_for_itself(tmp_path: Path) -> None:
    """The link is back, its first values had their time: one alarm, of the tag, as a new one."""
    async with kit(tmp_path, ALARMS) as one:
        await pull(one)
        one.machines["bank"]["t5"] = None
        await plug(one)
        assert told(one)[-1]["left"] == 1
        assert one.line.alarms.standing["within.bank.t5"].occurrence == 1
        assert [record["body"]["alarm"] for record in one.records("alarm.raised")] == ["link:bank", "within.bank.t5"]


async def test_a_value_beyond_its_limit_waits_for_no_link(tmp_path: Path) -> None:
    """The first good value is too hot: its alarm is shown at once, while the others are still under the link."""
    async with kit(tmp_path, ALARMS) as one:
        await pull(one)
        one.machines["bank"]["t5"] = 95.0
        one.machines["bank"].link = True
        await until(lambda: "within.bank.t5" in one.line.alarms.standing)
        assert "within.bank.t5" not in one.line.alarms.dependents


async def test_thirty_rules_that_halt_hold_the_machine_once(tmp_path: Path) -> None:
    """One order, one latch by the name of the first; it says for how many, and is released when none needs it."""
    async with kit(tmp_path, HALTS) as one:
        await pull(one)
        assert one.machines["press"].held
        assert one.log.count("halt press:within.bank.t0") == 1
        assert list(one.holds.standing) == ["press:within.bank.t0"]
        assert one.line.alarms.standing.keys() == {"link:bank", "within.bank.t0"}
        assert told(one)[-1]["holds"] == {"press": {"halt": "press:within.bank.t0", "rules": TAGS - 1}}
        await plug(one)
        alarm = one.line.alarms.standing["within.bank.t0"]
        await one.ask("alarm.acknowledge", TECHNICIAN, alarm=alarm.rule, occurrence=alarm.occurrence)
        await one.ask("halt.release", TECHNICIAN, halt="press:within.bank.t0", version=1, reason="the plug is in again")
        assert not one.holds.standing


async def test_a_latch_is_not_released_while_one_that_joined_it_needs_it(tmp_path: Path) -> None:
    """t9 is dead although the link is back: refused while it is content with the latch, then it has its own."""
    async with kit(tmp_path, HALTS) as one:
        await pull(one)
        one.machines["bank"]["t9"] = None
        one.machines["bank"].link = True
        await until(lambda: not one.line.alarms.holds("link:bank"))
        await asyncio.sleep(0.4)
        one.line.asked().acknowledge("within.bank.t0", 1, "tom", "")
        asked = {"halt": "press:within.bank.t0", "version": 1, "reason": "it is back"}
        with pytest.raises(Refused, match="t9"):
            await one.ask("halt.release", TECHNICIAN, **asked)
        await asyncio.sleep(3)
        assert set(one.holds.standing) == {"press:within.bank.t0", "press:within.bank.t9"}
        assert "within.bank.t9" in one.line.alarms.standing
        await one.ask("halt.release", TECHNICIAN, **asked)
        assert list(one.holds.standing) == ["press:within.bank.t9"]
        assert one.machines["press"].held


async def test_each_machine_is_held(tmp_path: Path) -> None:
    """A rule that holds two of them, of which no other rule holds one, holds both itself, and needs nobody for it."""
    async with kit(tmp_path, HALTS + ONE) as one:
        await pull(one)
        assert (one.machines["press"].held, one.machines["other"].held) == (True, True)
        assert {halt.device for halt in one.holds.standing.values()} == {"press", "other"}
        own = {"press:near", "other:near"}
        assert own < set(one.holds.standing)
        one.machines["bank"]["t0"] = None
        await plug(one)
        assert own < set(one.holds.standing)
        assert "near" in one.line.alarms.standing


async def test_what_joined_a_halt_cannot_be_put_aside(tmp_path: Path) -> None:
    """Of a rule that only alarms a person may: then it has an alarm of its own, under the link."""
    async with kit(tmp_path, HALTS) as one:
        await pull(one)
        with pytest.raises(Refused) as refused:
            await one.ask("alarm.shelve", OPERATOR, alarm="within.bank.t4", seconds=60, reason="x")
        assert refused.value.code == "it_halts"
    (tmp_path / "b").mkdir()
    async with kit(tmp_path / "b", ALARMS) as one:
        await pull(one)
        with pytest.raises(Refused, match="under link:bank"):
            await one.ask("alarm.acknowledge", OPERATOR, alarm="within.bank.t4", occurrence=1)
        await one.ask("alarm.shelve", OPERATOR, alarm="within.bank.t4", seconds=60, reason="x")
        assert one.line.alarms.hidden["within.bank.t4"].state == "shelved"
        assert "within.bank.t4" not in one.line.alarms.dependents
        await plug(one)
        assert not one.line.alarms.holds("within.bank.t4")


async def test_killed_while_it_is_gone(tmp_path: Path) -> None:
    """The next run holds what was held, tells again what is under the link, and forgets it when that is back."""
    async with kit(tmp_path, HALTS) as first:
        await pull(first)
        one = await first.again()
        await asyncio.sleep(3)
        assert one.machines["press"].held
        assert list(one.holds.standing) == ["press:within.bank.t0"]
        assert len(one.line.alarms.dependents) == TAGS - 1
        assert len([body for body in told(one) if not body["over"]]) == 2
        await plug(one)
        assert (len(one.line.alarms.dependents), told(one)[-1]["over"]) == (0, True)


async def test_the_figures_count_what_is_under_a_link(tmp_path: Path) -> None:
    """One alarm raised; thirty suppressed, by the name of the pattern while it lasts, and none when it is over."""
    async with kit(tmp_path, ALARMS) as one:
        await pull(one)
        now = figures(one)
        assert (now.raised, now.hidings["suppressed"]) == (1, TAGS)
        assert now.hidden["suppressed"] == [f"within ({TAGS} under link:bank)"]
        await plug(one)
        now = figures(one)
        assert (now.raised, now.hidings["suppressed"], now.hidden["suppressed"]) == (1, TAGS, [])


def figures(one: Kit) -> Any:
    tally = Tally(0, 2**62)
    for record in one.records():
        if record["kind"].startswith("alarm."):
            tally.take(record["kind"], record["body"], int(record["time"]))
    return tally.figures()
