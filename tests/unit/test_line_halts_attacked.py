"""Halts as somebody would break them who knows machines: many at once, restarts in between, releases in the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from line_kit import LINE, OPERATOR, TECHNICIAN, Kit, KitDevice, order

from gateway.commands.commands import COMMANDS
from gateway.errors import Refused
from gateway.halts import HaltState
from gateway.model import Principal, Reading, Severity
from gateway.verdicts import Verdict

pytestmark = pytest.mark.looptime(start=1000)

HOT = "filler:hot"
FITTER = Principal("mia", frozenset({"maintenance"}), "http", "Mia Fitter")
SIX = LINE + "".join(
    f"  hot{at}: {{kind: limit, input: oven/temperature, limits: {{unit: Cel, high: 9{at}}}, halt: filler}}\n"
    for at in range(5)
)
"""Six rules that hold one machine for one heat."""


async def heat(kit: Kit, degrees: float = 99.0, seconds: float = 0.5) -> None:
    kit.oven["temperature"] = degrees
    await asyncio.sleep(seconds)


async def let_go(kit: Kit, rule: str) -> None:
    """Acknowledged and released by somebody who did everything right."""
    alarm = kit.line.alarms.standing[rule]
    if alarm.state.endswith("unack"):
        await kit.ask("alarm.acknowledge", alarm=rule, occurrence=alarm.occurrence)
    halt = kit.holds.standing[f"filler:{rule}"]
    await kit.ask("halt.release", TECHNICIAN, halt=halt.id, version=halt.version, reason="looked at")


# -- many at once ---------------------------------------------------------------------------------------


async def test_six_rules_that_hold_one_machine_ask_it_once(tmp_path: Path) -> None:
    """A slow machine's one proof is every latch's proof: nobody waits for five attempts more."""
    async with Kit(tmp_path, line=SIX) as kit:
        kit.filler.thinks_s = 0.15
        await heat(kit, seconds=0.6)

        assert len(kit.holds.standing) == 6
        assert {halt.state for halt in kit.holds.standing.values()} == {HaltState.CONFIRMED}
        assert len(kit.filler.halts) == 1
        assert len(kit.records("halt.confirmed")) == 6


async def test_six_rules_on_a_machine_that_does_not_obey_are_six_halts_failed_in_time(tmp_path: Path) -> None:
    """Each says three tries or more; the attempts at one do not keep the others, the polls and the beats waiting."""
    async with Kit(tmp_path, line=SIX) as kit:
        kit.filler.obeys, kit.filler.thinks_s = False, 0.19
        await heat(kit, seconds=0.3)
        polls = kit.filler.polls
        await asyncio.sleep(1.8)

        failed = kit.records("halt.failed")
        assert len(failed) == 6
        assert all(record["body"]["tries"] >= 3 for record in failed)
        assert kit.filler.polls - polls >= 4
        tries = len(kit.filler.halts)
        await asyncio.sleep(10)
        assert 9 <= len(kit.filler.halts) - tries <= 11, "a try each second, whoever asks"


async def test_a_later_rule_does_not_lean_on_an_earlier_proof(tmp_path: Path) -> None:
    """Held for one rule, unheld by hand a moment ago, and then another rule asks: the machine is asked again."""
    async with Kit(tmp_path, line=SIX) as kit:
        await heat(kit, 90.5)
        assert list(kit.holds.standing) == ["filler:hot", "filler:hot0"]
        kit.filler.held = False
        kit.oven["temperature"] = 99.0
        await asyncio.sleep(1)

        assert kit.filler.held
        assert {halt.state for halt in kit.holds.standing.values()} == {HaltState.CONFIRMED}


async def test_with_one_of_two_released_the_machine_stays_held(tmp_path: Path) -> None:
    """Our hold output is withdrawn with the last latch, and not before."""
    async with Kit(tmp_path, line=SIX) as kit:
        await heat(kit, 90.5)
        await heat(kit, 62.0)
        await let_go(kit, "hot")
        await asyncio.sleep(1)
        assert kit.filler.withdrawn == 0
        assert kit.holds.standing["filler:hot0"].state is HaltState.CONFIRMED

        await let_go(kit, "hot0")
        await asyncio.sleep(1)
        assert kit.filler.withdrawn == 1
        assert kit.filler.held, "the operator restarts at the machine"


# -- releases in the way --------------------------------------------------------------------------------


async def test_a_halt_that_comes_while_the_last_one_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawal is on its way to a slow machine: it is given up, the machine is held, and it is due again."""
    begun, ended = [], []

    async def withdraw(device: KitDevice) -> None:
        begun.append(device)
        await asyncio.sleep(0.19)
        ended.append(device)
        device.machine.withdrawn += 1

    monkeypatch.setattr(KitDevice, "withdraw", withdraw)
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await heat(kit, 62.0)
        await let_go(kit, "hot")
        kit.filler.held = False  # the operator was quick
        await asyncio.sleep(0.02)
        assert begun
        ordered = asyncio.get_running_loop().time()
        kit.line.demand(Verdict("x", Severity.HALT, "filler", "x", halts=("filler",)))
        await asyncio.sleep(0.05)
        assert kit.filler.halts[-1][0] - ordered < 0.01
        assert not ended

        await asyncio.sleep(1)
        assert kit.filler.withdrawn == 0
        kit.stations["filler"].release("filler:x")
        await asyncio.sleep(1)
        assert kit.filler.withdrawn == 1


# -- restarts in between --------------------------------------------------------------------------------


async def test_killed_between_order_and_proof(tmp_path: Path) -> None:
    """The machine had the write, nobody heard its answer: the next process asks again, before it beats."""
    async with Kit(tmp_path) as first:
        first.filler.thinks_s = 5.0
        await heat(first, seconds=0.35)
        assert first.holds.standing[HOT].state is HaltState.COMMANDED
        first.filler.writes.clear()
        kit = await first.again()
        kit.filler.thinks_s = 0.0
        await asyncio.sleep(0.5)

        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert kit.filler.held
        assert kit.filler.writes[0] == "halt"


async def test_a_failed_halt_is_failed_after_a_restart_too(tmp_path: Path) -> None:
    """No beat goes out meanwhile: a restart is no reason to believe in a controller that did not obey."""
    async with Kit(tmp_path) as first:
        first.filler.obeys = False
        await heat(first, seconds=3)
        beats, failures = len(first.filler.beats), len(first.records("halt.failed"))
        await first.ask("alarm.acknowledge", alarm="halt-failed:filler", occurrence=1)
        kit = await first.again()
        await asyncio.sleep(5)

        alarm = kit.line.alarms.standing["halt-failed:filler"]
        assert (alarm.state, alarm.occurrence) == ("acked", 1)
        assert "after 0 tries" not in alarm.text
        assert len(kit.filler.beats) == beats
        assert kit.holds.standing[HOT].state is HaltState.FAILED
        assert len(kit.records("halt.failed")) == failures, "told once"
        kit.filler.obeys = True
        await asyncio.sleep(2)
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert len(kit.filler.beats) > beats


async def test_nobody_puts_a_failed_halt_aside(tmp_path: Path) -> None:
    """HALT FAILED is shown until the machine stands: it is not shelved, and not taken out of service."""
    async with Kit(tmp_path) as kit:
        kit.filler.obeys = False
        await heat(kit, seconds=3)
        alarm = {"alarm": "halt-failed:filler", "reason": "too loud"}
        for who, command, more in (
            (OPERATOR, "alarm.shelve", {"seconds": 600.0}),
            (FITTER, "alarm.remove", {}),
        ):
            with pytest.raises(Refused) as refused:
                await kit.ask(command, who, **alarm, **more)
            assert refused.value.code == "it_halts"

        kit.filler.obeys = True
        await asyncio.sleep(2)
        assert kit.line.alarms.standing["halt-failed:filler"].state == "rtn_unack"
        await kit.ask("alarm.acknowledge", alarm="halt-failed:filler", occurrence=1)
        assert "halt-failed:filler" not in kit.line.alarms.standing


async def test_a_machine_that_cannot_be_seen_is_not_shown_as_seen(tmp_path: Path) -> None:
    """Its link is lost while it is held: the latch says so until the machine says again that it stands."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        kit.filler.link = False
        await asyncio.sleep(2)
        halt = kit.holds.standing[HOT]
        assert "not been seen" in halt.trouble
        assert "not been seen" in str(kit.board.get("halts"))

        kit.filler.link = True
        await asyncio.sleep(8)
        assert kit.holds.standing[HOT].trouble == ""
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED


async def test_a_held_machine_that_says_nothing_of_itself_any_more_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is up, but the tag that confirms has gone bad: nobody knows whether it stands, and that is said."""
    poll, quiet = KitDevice.poll, False

    async def says_nothing(device: KitDevice) -> Reading:
        reading = await poll(device)
        return msgspec.structs.replace(reading, held=None) if quiet else reading

    monkeypatch.setattr(KitDevice, "poll", says_nothing)
    async with Kit(tmp_path) as kit:
        await heat(kit)
        quiet = True
        await asyncio.sleep(9)
        assert kit.holds.standing[HOT].trouble == ""
        await asyncio.sleep(2)
        assert "does not say any more" in kit.holds.standing[HOT].trouble
        assert kit.line.alarms.standing["unseen:filler"].priority == "high"
        assert len(kit.records("alarm.raised")) == 2, "told once"

        quiet = False
        await asyncio.sleep(1)
        assert kit.holds.standing[HOT].trouble == ""
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED


# -- a word that is not true ----------------------------------------------------------------------------


async def count(kit: Kit, seconds: int) -> None:
    """A unit each second, whatever the machine says of itself."""
    for _ in range(seconds):
        kit.filler["units"] = int(str(kit.filler.values["units"])) + 1
        await asyncio.sleep(1)


async def test_a_machine_that_always_says_it_stands_is_found_out(tmp_path: Path) -> None:
    """The confirm tag is wired to the wrong place: a running machine counts, and that is told before any halt."""
    async with Kit(tmp_path) as kit:
        kit.filler.held = True
        await asyncio.sleep(1)
        await count(kit, 9)
        assert "counts-standing:filler" not in kit.line.alarms.standing, "what was on its way may be counted"
        await count(kit, 5)

        alarm = kit.line.alarms.standing["counts-standing:filler"]
        assert alarm.priority == "high"
        assert "filler/units goes on counting" in alarm.text


async def test_a_halt_that_only_the_wrong_word_confirms_is_shouted(tmp_path: Path) -> None:
    """Believed held, it goes on making units: critical, and somebody has to stop it by hand."""
    async with Kit(tmp_path) as kit:
        kit.filler.held = True
        await heat(kit)
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert not kit.filler.halts, "it was believed"
        await count(kit, 14)

        assert kit.line.alarms.standing["counts-standing:filler"].priority == "critical"


async def test_a_machine_that_runs_and_rests_contradicts_nothing(tmp_path: Path) -> None:
    """Units counted while it runs, a few that come late, and a count that is set back to zero."""
    async with Kit(tmp_path) as kit:
        for _ in range(3):
            kit.filler.held = False
            await count(kit, 20)
            kit.filler.held = True
            await count(kit, 3)
            await asyncio.sleep(20)
            kit.filler["units"] = 0
            await asyncio.sleep(5)

        assert "counts-standing:filler" not in kit.line.alarms.standing


# -- every door -----------------------------------------------------------------------------------------

WORDS: dict[str, Any] = {
    "batch": "B1", "order": order("B2"), "step": "clearance", "name": "oil_used", "value": "1.0", "unit": "g",
    "roll": "R1", "labels": "100", "code": "1A4FF0100000022000000250", "disposition": "released", "reason": "try it",
    "tray": "T1", "gate": "clock", "instrument": "scale", "rule": "weight", "device": "filler", "alarm": "hot",
    "occurrence": 1, "seconds": 60.0, "halt": HOT, "version": 99, "person": "eve", "roles": ["qa"],
    "password": "long enough 1", "passed": True, "values": ["1.0"], "what": "pump", "text": "more",
}  # fmt: skip
"""Something for every argument there is."""


async def test_no_command_moves_a_machine_that_is_held(tmp_path: Path) -> None:
    """Every command, by every role and door, in a batch with the filler latched: it hears nothing but our heartbeat."""
    everybody = frozenset().union(*(command.roles for command in COMMANDS.values()))
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit)
        kit.filler.writes.clear()
        answers = Counter[str]()
        changing = {name: each for name, each in COMMANDS.items() if each.changes and name != "batch.report"}
        for name, command in changing.items():
            known = {key: word for key, word in WORDS.items() if key in command.arguments.model_fields}
            for door in ("http", "mqtt"):
                try:
                    await kit.ask(name, Principal("eve", everybody, door, "Eve Everybody"), **known)
                    answers["done"] += 1
                except Refused as refusal:
                    answers[refusal.code] += 1
                await asyncio.sleep(0.3)

        assert answers["done"] > 5, answers
        assert set(kit.filler.writes) <= {"beat", "show"}
        assert kit.filler.held
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
