"""The wall clock (BARS R11, R22): set back while the gateway was down, and stepped while people and timeouts wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from line_kit import HOUSE, LINE, MES, OPERATOR, RECIPE, SUPERVISOR, Kit, order

from gateway.batch.complete import findings
from gateway.config.reading import Settings, load
from gateway.console.sessions import AGE_S, IDLE_S, Sessions
from gateway.errors import Refused
from gateway.sinks.influx_lines import Lines
from gateway.testing import VirtualWorld

pytestmark = pytest.mark.looptime(start=1000)

S_NS = 10**9
YEAR_S = 365 * 86400
STEPS_S = (3600.0, -7200.0, 10.0 * YEAR_S)
"""BARS R22."""


def gated(folder: Path, gates: str = "{clock: {override: [supervisor]}}") -> Settings:
    """The small line, with a recipe that asks for the clock."""
    (folder / "recipes").mkdir()
    (folder / "recipes" / "cart.yaml").write_text(f"{RECIPE}gates: {gates}\n")
    (folder / "line.yaml").write_text(LINE)
    return load(folder / "line.yaml", house=HOUSE)


async def restarted(kit: Kit, step_ns: int, seed: int = 2) -> Kit:
    """Kill -9, and the next process on a clock that was set meanwhile."""
    await kit.kill()
    after = Kit(kit.folder, disk=kit.disk, machines=kit.machines, settings=kit.settings, seed=seed)
    after.world.offset_ns = kit.world.offset_ns + step_ns
    kit._next = after
    return after.start()


async def waiting(kit: Kit) -> None:
    """A batch that only waits for its start."""
    for name, role in (("olga", "operator"), ("sue", "supervisor")):
        await kit.people.add(name, name, [role], "correct horse")
    await kit.ask("batch.order", MES, order=order())
    await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
    await asyncio.sleep(1)


async def refused(awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value


def stands(kit: Kit) -> str:
    """State of the clock's alarm."""
    alarm = kit.line.alarms.standing.get("gateway:clock")
    return alarm.state.value if alarm is not None else ""


async def test_a_clock_set_back_while_the_gateway_was_down_shuts_the_gate(tmp_path: Path) -> None:
    """A record before any other, an alarm that stands, no start; over another restart, until the clock is past it."""
    async with Kit(tmp_path, settings=gated(tmp_path)) as first:
        await waiting(first)
        newest = first.records()[-1]
        kit = await restarted(first, -60 * S_NS)
        await asyncio.sleep(2)

        record = kit.records()[newest["index"] + 1]
        assert (record["kind"], record["body"]["down"]) == ("clock.stepped", True)
        assert int(record["body"]["step"]) == int(record["time"]) - int(newest["time"]) < -50 * S_NS
        assert stands(kit) == "unack"
        told = await refused(kit.ask("batch.start", OPERATOR, batch="B1"))
        assert (told.code, "clock: the clock was set back while the gateway was down" in str(told)) == (
            "gates_blocked", True,
        )  # fmt: skip

        again = await restarted(kit, 0, seed=3)
        await asyncio.sleep(25)
        assert len(again.records("clock.stepped")) == 1, "told once"
        assert (await refused(again.ask("batch.start", OPERATOR, batch="B1"))).code == "gates_blocked"
        await asyncio.sleep(35)
        assert stands(again) == "rtn_unack"
        await again.ask("batch.start", OPERATOR, batch="B1")

        last = await restarted(again, 0, seed=4)
        assert (last.line.clock.until_ns, last.evidence.load_state("clock")) == (0, {})


async def test_a_person_with_the_role_answers_for_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Ten years ahead by mistake, then set right: nobody waits ten years, and only who may says so, once."""
    async with Kit(tmp_path, settings=gated(tmp_path)) as first:
        await waiting(first)
        kit = await restarted(first, -10 * YEAR_S * S_NS)
        await asyncio.sleep(2)
        ask = {"batch": "B1", "gate": "clock", "reason": "it was ten years ahead"}
        assert (await refused(kit.ask("gate.override", OPERATOR, **ask))).code == "role_missing"
        assert (await refused(kit.ask("batch.start", OPERATOR, batch="B1"))).code == "gates_blocked"
        await kit.ask("gate.override", SUPERVISOR, **ask)
        assert stands(kit) == "rtn_unack"
        assert "was set back" in kit.records("gate.overridden")[-1]["body"]["problems"][0]

        again = await restarted(kit, 0, seed=3)
        await asyncio.sleep(2)
        assert (again.line.clock.until_ns, len(again.records("clock.stepped"))) == (0, 1)
        await again.ask("batch.start", OPERATOR, batch="B1")


@pytest.mark.parametrize("step_ns", [0, -S_NS, 3600 * S_NS])
async def test_a_clock_that_was_not_set_back_shuts_nothing(tmp_path: Path, step_ns: int) -> None:
    """As it was, back within a second, or forward, which nobody can tell from a long rest: no record, no alarm."""
    async with Kit(tmp_path, settings=gated(tmp_path)) as first:
        await waiting(first)
        kit = await restarted(first, step_ns)
        await asyncio.sleep(2)
        assert (kit.records("clock.stepped"), stands(kit)) == ([], "")
        await kit.ask("batch.start", OPERATOR, batch="B1")


async def test_a_clock_set_back_in_mid_batch_hides_no_restart(tmp_path: Path) -> None:
    """The record belongs to the batch that runs, and the review says how far, and that it may be further."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await asyncio.sleep(20)
        kit = await restarted(first, -3600 * S_NS)
        await asyncio.sleep(2)

        assert [record["batch"] for record in kit.records("clock.stepped")] == ["B1"]
        assert kit.records("alarm.raised")[-1]["batch"] == "B1"
        found = findings([{**each, "context": {}} for each in kit.records()])
        told = next(each.text for each in found if each.kind == "clock.stepped")
        assert told.endswith(" s or more, while the gateway was down")


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_sessions_end_in_their_time_whatever_the_clock_says(step_s: float) -> None:
    """A step ends none and prolongs none: by idle time, and by age however busy."""
    world = VirtualWorld()
    sessions = Sessions(world)
    idle, busy = sessions.open(SUPERVISOR), sessions.open(OPERATOR)
    began = asyncio.get_running_loop().time()
    world.offset_ns += round(step_s * S_NS)
    await asyncio.sleep(IDLE_S - 1)
    assert (sessions.person(idle), sessions.person(busy)) == (SUPERVISOR, OPERATOR)
    await asyncio.sleep(IDLE_S / 2)
    sessions.person(busy)
    world.offset_ns -= round(step_s * S_NS)
    await asyncio.sleep(IDLE_S / 2 + 1)
    assert (await refused(_asked(sessions, idle))).code == "bad_login"

    while asyncio.get_running_loop().time() - began <= AGE_S:
        assert sessions.person(busy) == OPERATOR
        await asyncio.sleep(600)
    await refused(_asked(sessions, busy))


async def _asked(sessions: Sessions, token: str) -> Any:
    return sessions.person(token)


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_points_of_a_clock_that_was_stepped_say_so(tmp_path: Path, step_s: float) -> None:
    """In InfluxDB: none before, each after with how far, none of another process; and the step itself is an event."""
    async with Kit(tmp_path) as kit:
        lines = Lines(kit.desk.identity, kit.world.steady_ns)
        await asyncio.sleep(1)
        assert [line for scan in kit.telemetry.kept if "clock_stepped" in (line := lines.scan(scan))] == []
        before = len(kit.telemetry.kept)
        kit.world.offset_ns += round(step_s * S_NS)
        await asyncio.sleep(1)
        after = kit.telemetry.kept[before:]
        assert {f",clock_stepped={step_s:.3f} " in lines.scan(scan) for scan in after} == {True}
        assert "clock_stepped" not in lines.scan(msgspec.structs.replace(after[0], boot="another's"))
        record = next(each for each in await kit.evidence.read(-1, 100) if each.kind == "clock.stepped")
        assert ",kind=clock.stepped " in (lines.record(record) or "")


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_timeouts_are_what_they_were_over_a_step(tmp_path: Path, step_s: float) -> None:
    """Silence, disobedience and a check that nobody does are told when they are told without a step."""
    told = [await _told_after(tmp_path / name, by) for name, by in (("still", 0.0), ("stepped", step_s))]
    assert told[0] == pytest.approx(told[1], abs=0.15), "within one turn of the line's timer"
    assert [least < each for least, each in zip((1, 0, 4), told[0], strict=True)] == [True] * 3, "they were waited for"


TOLD = ("halt-failed:filler", "link:balance", "weight")
"""What came of each: a machine that does not obey, a device that does not answer, a check nobody does in its grace."""


async def _told_after(folder: Path, step_s: float) -> list[float]:
    """Seconds of the loop from a step in the middle of it all to each of these alarms."""
    folder.mkdir()
    async with Kit(folder) as kit:
        await kit.begin()
        kit.make(10)
        kit.machines["filler"].obeys = False
        kit.machines["balance"].answers = False
        kit.oven["temperature"] = 95.0
        await asyncio.sleep(0.3)
        kit.world.offset_ns += round(step_s * S_NS)
        since = asyncio.get_running_loop().time()
        seen: dict[str, float] = {}
        for _ in range(500):
            await asyncio.sleep(0.02)
            for name in kit.line.alarms.standing.keys() & set(TOLD):
                seen.setdefault(name, asyncio.get_running_loop().time() - since)
        return [seen[name] for name in TOLD]
