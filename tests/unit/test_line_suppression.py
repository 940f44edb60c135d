"""Alarms that are not shown: shelved, suppressed by design, out of service; judged on, and never a halt less."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from line_kit import HOUSE, LINE, OPERATOR, QA, RECIPE, STOPPED, TECHNICIAN, Kit

from gateway.config.reading import load
from gateway.errors import Refused
from gateway.model import Principal, Priority, Severity
from gateway.verdicts import Verdict

pytestmark = pytest.mark.looptime(start=1000)

MAINTENANCE = Principal("max", frozenset({"maintenance"}), "http", "Max Maintenance")
MORE = """\
  seen:  {kind: stale, input: oven, after: 1s, alarm: high}
  high:  {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 80}, alarm: low, latched: true}
  idle:  {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 70}, suppressed_unless: filler/state}
  under: {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 68}, suppressed_by: high}
  twice: {kind: limit, input: double/twice, limits: {unit: K, high: 1000}, alarm: medium}
  dead:  {kind: stale, input: oven, after: 2s, halt: filler}
derived:
  double: {tags: {twice: {kind: expr, expr: t - u, inputs: {t: oven/temperature, u: oven/temperature}, unit: K}}}
"""


def line(folder: Path, more: str = MORE) -> Any:
    """The kit's line with more rules."""
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    (folder / "line.yaml").write_text(LINE + more)
    return load(folder / "line.yaml", house=HOUSE)


async def heat(kit: Kit, degrees: float | None, seconds: float = 0.5) -> None:
    kit.oven["temperature"] = degrees
    await asyncio.sleep(seconds)


def shown(kit: Kit) -> dict[str, str]:
    return {name: alarm.state.value for name, alarm in kit.line.alarms.standing.items()}


def hidden(kit: Kit) -> dict[str, str]:
    return {name: alarm.state.value for name, alarm in kit.line.alarms.hidden.items()}


def under(kit: Kit) -> set[str]:
    """Rules that a lost link explains, and that show nothing of their own."""
    return set(kit.line.alarms.dependents)


async def until(holds: Callable[[], bool]) -> None:
    """At most ten seconds."""
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


async def shelve(kit: Kit, alarm: str, seconds: float = 60, who: Principal = OPERATOR) -> None:
    await kit.ask("alarm.shelve", who, alarm=alarm, seconds=seconds, reason="sensor is being moved")


# -- shelves ------------------------------------------------------------------------------------------


async def test_a_shelf_ends_by_itself_and_the_alarm_is_what_it_is_then(tmp_path: Path) -> None:
    """Put aside with reason and time, recorded and shown as such; then what stands is a new occurrence."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        await shelve(kit, "warm", 60)
        assert (shown(kit), hidden(kit)) == ({}, {"warm": "shelved"})
        document = kit.board.get("alarms/hidden")["warm"]
        assert (document["shelved"]["by"], document["shelved"]["reason"]) == ("olga", "sensor is being moved")
        assert kit.board.get("alarms") == {}

        await asyncio.sleep(59)
        assert hidden(kit) == {"warm": "shelved"}
        await asyncio.sleep(2)
        assert (shown(kit), hidden(kit)) == ({"warm": "unack"}, {})
        assert kit.line.alarms.standing["warm"].occurrence == 2
        kinds = [record["kind"] for record in kit.records() if record["kind"].startswith("alarm.")]
        assert kinds == ["alarm.raised", "alarm.shelved", "alarm.unshelved", "alarm.raised"]
        assert kit.records("alarm.unshelved")[-1]["body"]["why"] == "its time is over"


async def test_the_condition_is_judged_on_the_shelf(tmp_path: Path) -> None:
    """It ends while shelved: recorded, and taken back there is nothing to show."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        await shelve(kit, "warm")
        await heat(kit, 62.0)
        assert kit.records("alarm.changed")[-1]["body"]["active"] is False
        await kit.ask("alarm.unshelve", OPERATOR, alarm="warm")
        assert (shown(kit), hidden(kit)) == ({}, {})
        assert kit.records("alarm.unshelved")[-1]["by"] == "olga"


async def test_a_shelf_survives_a_kill(tmp_path: Path) -> None:
    """Who, why and until when are there after kill -9, and its time goes on."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await heat(first, 67.0)
        await shelve(first, "warm", 30)
        kit = await first.again()
        assert kit.line.alarms.hidden["warm"].shelf == first.line.alarms.hidden["warm"].shelf
        assert kit.board.get("alarms/hidden")["warm"]["state"] == "shelved"
        await asyncio.sleep(31)
        assert hidden(kit) == {}
        assert shown(kit)["warm"] == "unack"


async def test_a_shelf_has_a_longest_time_a_reason_and_a_rule(tmp_path: Path) -> None:
    """Eight hours where nothing is configured; no reason, no shelf; no name that is not there; not by qa."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        cases: list[tuple[str, Principal, dict[str, Any]]] = [
            ("too_long", OPERATOR, {"alarm": "warm", "seconds": 8 * 3600 + 1, "reason": "x"}),
            ("too_long", OPERATOR, {"alarm": "warm", "seconds": 0, "reason": "x"}),
            ("reason_missing", OPERATOR, {"alarm": "warm", "seconds": 60, "reason": " "}),
            ("no_such_alarm", OPERATOR, {"alarm": "worm", "seconds": 60, "reason": "x"}),
            ("not_allowed", QA, {"alarm": "warm", "seconds": 60, "reason": "x"}),
        ]
        for code, who, arguments in cases:
            with pytest.raises(Refused) as refused:
                await kit.ask("alarm.shelve", who, **arguments)
            assert refused.value.code == code
        assert hidden(kit) == {}


# -- a halt is never hidden ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["shelved", "out of service"])
async def test_hiding_an_alarm_suppresses_no_halt(tmp_path: Path, how: str) -> None:
    """The filler is held as ever, and the alarm that halts is shown again, to be acknowledged before the release."""
    async with Kit(tmp_path) as kit:
        if how == "shelved":
            await shelve(kit, "hot", 3600)
        else:
            await kit.ask("alarm.remove", MAINTENANCE, alarm="hot", reason="sensor is being replaced")
        assert hidden(kit).keys() == {"hot"}
        await heat(kit, 95.0, 1)
        assert kit.filler.held
        assert list(kit.holds.standing) == ["filler:hot"]
        assert (shown(kit)["hot"], hidden(kit)) == ("unack", {})
        with pytest.raises(Refused, match="has halted"):
            await shelve(kit, "hot")
        with pytest.raises(Refused) as refused:
            await kit.ask("halt.release", TECHNICIAN, halt="filler:hot", version=1, reason="cooled")
        assert refused.value.code == "not_acknowledged"


async def test_a_lost_link_suppresses_no_halt(tmp_path: Path) -> None:
    """A silent device that halts holds the filler, shown beside the link's own alarm."""
    async with Kit(tmp_path, settings=line(tmp_path)) as kit:
        kit.oven.link = False
        await asyncio.sleep(4)
        assert kit.filler.held
        assert "filler:dead" in kit.holds.standing
        assert shown(kit) == {"link:oven": "unack", "dead": "unack"}


# -- out of service -----------------------------------------------------------------------------------


async def test_out_of_service_until_maintenance_returns_it(tmp_path: Path) -> None:
    """Only maintenance; over a kill -9; back by what holds then."""
    async with Kit(tmp_path) as first:
        await first.begin()
        with pytest.raises(Refused) as refused:
            await first.ask("alarm.remove", OPERATOR, alarm="warm", reason="x")
        assert refused.value.code == "not_allowed"
        await first.ask("alarm.remove", MAINTENANCE, alarm="warm", reason="sensor is being replaced")
        kit = await first.again()
        await heat(kit, 67.0, 2)
        assert (shown(kit), hidden(kit)) == ({}, {"warm": "out_of_service"})
        await kit.ask("alarm.return", MAINTENANCE, alarm="warm")
        assert (shown(kit), hidden(kit)) == ({"warm": "unack"}, {})
        assert [kit.records(kind)[-1]["by"] for kind in ("alarm.removed", "alarm.returned")] == ["max", "max"]


# -- latched ------------------------------------------------------------------------------------------


async def test_a_latched_alarm_wants_acknowledgement_and_reset(tmp_path: Path) -> None:
    """The condition came and went: it stands until both were done."""
    async with Kit(tmp_path, settings=line(tmp_path)) as kit:
        await heat(kit, 81.0)
        with pytest.raises(Refused) as refused:
            await kit.ask("alarm.reset", TECHNICIAN, alarm="high", occurrence=1)
        assert refused.value.code == "condition_stands"
        await heat(kit, 62.0)
        assert shown(kit)["high"] == "latched_unack"
        await kit.ask("alarm.acknowledge", TECHNICIAN, alarm="high", occurrence=1)
        assert shown(kit)["high"] == "latched_acked"
        await kit.ask("alarm.reset", TECHNICIAN, alarm="high", occurrence=1)
        assert "high" not in shown(kit)
        assert kit.records("alarm.reset")[-1]["by"] == "tom"


# -- suppressed by design -----------------------------------------------------------------------------


async def test_one_communication_alarm_for_one_lost_device(tmp_path: Path) -> None:
    """Missing input is suppressed under the link's alarm, which is as grave; over when the link is back."""
    quiet = MORE.replace(
        "dead:  {kind: stale, input: oven, after: 2s", "dead:  {kind: stale, input: balance, after: 2s"
    )
    async with Kit(tmp_path, settings=line(tmp_path, quiet)) as kit:
        await kit.begin()
        kit.oven.link = False
        await asyncio.sleep(5)
        assert shown(kit) == {"link:oven": "unack"}
        assert kit.line.alarms.standing["link:oven"].priority is Priority.HIGH
        assert hidden(kit) == {"under": "suppressed"}, "by another alarm as well, so it is told by itself"
        assert under(kit) == {"seen", "warm", "hot", "high", "twice", "idle"}
        shows = kit.board.get("alarms")["link:oven"]
        assert shows["dependents"]["names"] == sorted(under(kit))
        assert shows["text"].endswith("; 6 alarm(s) are suppressed under it")
        told = [record["body"] for record in kit.records("alarm.dependents")]
        assert {body["alarm"] for body in told} == {"link:oven"}
        assert told[-1]["rules"] == dict.fromkeys(under(kit), 1)
        assert sum(body["new"] for body in told) == told[-1]["count"] == 6

        kit.oven.link = True
        await asyncio.sleep(8)
        assert (shown(kit), hidden(kit), under(kit)) == ({"link:oven": "rtn_unack"}, {}, set())
        over = kit.records("alarm.dependents")[-1]["body"]
        assert (over["over"], over["count"], over["left"]) == (True, 6, 0)
        assert "dependents" not in kit.board.get("alarms")["link:oven"]
        raised = {record["body"]["alarm"] for record in kit.records("alarm.raised")}
        assert raised == {"link:oven"}, "no dependent was ever shown, not even for a moment"


async def test_what_is_bad_when_the_link_is_back_is_shown(tmp_path: Path) -> None:
    """Back by current condition: a value beyond its limit at once, a tag that stays bad a little later."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.oven.link = False
        await asyncio.sleep(3)
        assert {"warm", "hot"} <= under(kit)
        kit.oven["temperature"] = None
        kit.oven.link = True
        await until(lambda: not kit.line.alarms.holds("link:oven"))
        assert shown(kit) == {"link:oven": "rtn_unack"}
        await asyncio.sleep(1.5)
        assert shown(kit)["hot"] == "unack"
        assert kit.board.get("alarms/hidden")["warm"]["suppressed_by"] == ["hot"], "one dead tag is one alarm"
        await heat(kit, 62.0)
        kit.oven.link = False
        await asyncio.sleep(3)
        kit.oven["temperature"] = 67.0
        kit.oven.link = True
        await until(lambda: kit.line.latest["oven"].values[0] is not None)
        assert shown(kit)["warm"] == "unack", "a value beyond its limit waits for nothing"


async def test_what_was_shown_and_not_seen_is_owed(tmp_path: Path) -> None:
    """Too warm, nobody acknowledged it, then the cable is pulled: back and well, it still wants to be seen."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        kit.oven.link = False
        await asyncio.sleep(3)
        assert hidden(kit)["warm"] == "suppressed"
        kit.oven["temperature"] = 62.0
        kit.oven.link = True
        await asyncio.sleep(8)
        assert shown(kit)["warm"] == "rtn_unack"


async def test_suppression_survives_a_kill(tmp_path: Path) -> None:
    """Killed while the link is down: nothing is shown but the link, and all of it is over when that is back."""
    async with Kit(tmp_path) as first:
        await first.begin()
        first.oven.link = False
        await asyncio.sleep(3)
        kit = await first.again()
        await asyncio.sleep(3)
        assert shown(kit) == {"link:oven": "unack"}
        assert {"warm", "hot"} <= under(kit)
        kit.oven.link = True
        await asyncio.sleep(8)
        assert hidden(kit) == {}


async def test_suppressed_unless_the_machine_runs(tmp_path: Path) -> None:
    """Hidden while the filler is not in Execute, shown by current condition when it is; unknown hides nothing."""
    async with Kit(tmp_path, settings=line(tmp_path)) as kit:
        kit.filler["state"] = STOPPED
        await heat(kit, 75.0, 1)
        assert hidden(kit)["idle"] == "suppressed"
        assert kit.board.get("alarms/hidden")["idle"]["suppressed_by"] == ["filler/state"]
        kit.filler["state"] = 6
        await asyncio.sleep(1)
        assert shown(kit)["idle"] == "unack"
        kit.filler["state"] = STOPPED
        await asyncio.sleep(1)
        assert hidden(kit)["idle"] == "suppressed"
        kit.filler["state"] = None
        await asyncio.sleep(1)
        assert shown(kit)["idle"] == "unack"


async def test_suppressed_by_another_alarm_while_its_condition_holds(tmp_path: Path) -> None:
    """Also while that one is acknowledged; a latch that waits for its reset is no condition that holds."""
    async with Kit(tmp_path, settings=line(tmp_path)) as kit:
        await heat(kit, 69.0)
        assert shown(kit)["under"] == "unack"
        await heat(kit, 81.0)
        assert hidden(kit)["under"] == "suppressed"
        await kit.ask("alarm.acknowledge", TECHNICIAN, alarm="high", occurrence=1)
        await asyncio.sleep(1)
        assert hidden(kit)["under"] == "suppressed"
        await heat(kit, 69.0)
        assert (shown(kit)["high"], shown(kit)["under"]) == ("latched_acked", "unack")


async def test_a_hidden_alarm_of_a_rule_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    """After a restart without it its condition is over; it stays where a person put it until taken back."""
    async with Kit(tmp_path) as first:
        first.line.alarms.take(Verdict("old", Severity.ALARM, "x", "trouble"))
        await shelve(first, "old", 60)
        kit = await first.again()
        assert not kit.line.alarms.holds("old")
        await asyncio.sleep(61)
        assert (shown(kit), hidden(kit)) == ({}, {})


WHILE = """\
  idle:  {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 70}, suppressed_unless: filler/state}
  slow:  {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 70}, suppressed_unless: filler/state,
          suppressed_unless_states: [6, 3]}
"""


async def test_two_rules_shown_in_different_states_of_one_machine_are_each_shown_in_their_own(tmp_path: Path) -> None:
    """That one of them stays hidden by the machine's state hides no other one."""
    async with Kit(tmp_path, settings=line(tmp_path, WHILE)) as kit:
        kit.filler["state"] = STOPPED
        await heat(kit, 75.0, 1)
        assert {"idle", "slow"} <= hidden(kit).keys()
        kit.filler["state"] = 3
        await asyncio.sleep(1)
        assert (hidden(kit)["idle"], shown(kit)["slow"]) == ("suppressed", "unack")
        kit.filler["state"] = STOPPED
        await asyncio.sleep(1)
        assert {"idle", "slow"} <= hidden(kit).keys()


UNDER = """\
  high:  {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 80}}
  under: {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 68}, suppressed_by: high}
"""


async def test_what_suppressed_is_out_of_the_configuration_at_the_next_start(tmp_path: Path) -> None:
    """An alarm that nothing suppresses any more is shown, though nothing has begun or ended since the start."""
    async with Kit(tmp_path, settings=line(tmp_path, UNDER)) as first:
        await first.begin()
        await heat(first, 69.0)
        await heat(first, 81.0)
        assert hidden(first)["under"] == "suppressed"
        await first.journal.durable()
        kit = await first.again(settings=line(tmp_path, UNDER.replace(", suppressed_by: high", "")))
        await asyncio.sleep(2)

        assert "under" not in hidden(kit)
        assert shown(kit)["under"] == "unack"


async def test_a_restart_raises_nothing_that_the_machine_s_state_hides(tmp_path: Path) -> None:
    """Before the machine has said anything, what it suppressed at the last stop stays where it was."""
    async with Kit(tmp_path, settings=line(tmp_path, WHILE)) as first:
        first.filler["state"] = STOPPED
        await heat(first, 75.0, 1)
        await first.journal.durable()
        before = len(first.records("alarm.unsuppressed"))
        kit = await first.again()
        await asyncio.sleep(3)

        assert {"idle", "slow"} <= hidden(kit).keys()
        assert len(kit.records("alarm.unsuppressed")) == before
