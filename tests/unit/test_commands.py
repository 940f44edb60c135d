"""Who may ask for what, by which door, and what stands in the record of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from line_kit import MES, OPERATOR, QA, TECHNICIAN, Kit, order

from gateway.commands.commands import COMMANDS, execute
from gateway.errors import Refused
from gateway.model import Principal
from gateway.people import ROLES
from gateway.recording import Recording
from gateway.store.commits import NOT_RECORDING

pytestmark = pytest.mark.looptime(start=1000)

AT_THE_DOOR = {"wrong_door", "not_allowed", "password_needed"}
DOORS = ("http", "mqtt", "cli", "first-run")


async def code_of(asked: Any) -> str:
    """The refusal's code; empty where it was carried out."""
    try:
        await asked
    except Refused as refusal:
        return refusal.code
    return ""


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_by_every_door_in_every_role(tmp_path: Path, name: str) -> None:
    """Let in exactly where the table says so: door, role and password each on their own; arguments come after."""
    command = COMMANDS[name]
    async with Kit(tmp_path) as kit:
        for door in DOORS:
            for role in (*ROLES, ""):
                for proven in (True, False):
                    who = Principal("pat" if role else "", frozenset({role} - {""}), door)
                    code = await code_of(execute(kit.desk, name, {"odd": 1}, who, proven=proven))
                    let_in = (
                        door in command.doors
                        and (not command.roles or role in command.roles)
                        and (proven or not command.signed)
                    )
                    assert (code not in AT_THE_DOOR) is let_in, (door, role, proven, code)
                    assert code, "no command takes an argument it does not know"


def test_what_comes_by_mqtt_is_a_short_list() -> None:
    """Whoever can publish is the broker's word for who it is: orders, counts, acknowledgement and a look."""
    by_mqtt = {name for name, command in COMMANDS.items() if "mqtt" in command.doors}

    assert by_mqtt == {"batch.order", "batch.enter", "alarm.acknowledge", "status"}
    assert not any(COMMANDS[name].signed for name in by_mqtt)


def test_what_decides_is_signed() -> None:
    """Signatures, dispositions, releases and people need the password in that very request (21 CFR 11.200)."""
    signed = {name for name, command in COMMANDS.items() if command.signed}

    assert signed == {
        "batch.sign",
        "batch.close",
        "batch.abort",
        "batch.tray",
        "alarm.remove",
        "alarm.return",
        "gate.override",
        "halt.release",
        "people.add",
        "people.change",
        "people.password",
    }

    assert {name for name, command in COMMANDS.items() if command.ever} == {each for each in signed if "people" in each}


async def test_a_signed_command_without_its_password_is_refused(tmp_path: Path) -> None:
    """A session is not enough; with the password it is carried out."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        await kit.ask("batch.order", MES, order=order())
        arguments = {"batch": "B1", "step": "clearance"}
        assert await code_of(execute(kit.desk, "batch.sign", arguments, OPERATOR)) == "password_needed"
        assert await code_of(execute(kit.desk, "batch.sign", arguments, OPERATOR, proven=True)) == ""


async def test_a_refusal_is_recorded_where_somebody_stands_behind_it(tmp_path: Path) -> None:
    """Command, door, code and words, by name; a nobody at the door leaves no record."""
    async with Kit(tmp_path) as kit:
        nobody = Principal("", frozenset(), "http")
        assert await code_of(execute(kit.desk, "batch.start", {"batch": "B1"}, nobody)) == "not_allowed"
        assert await code_of(execute(kit.desk, "batch.start", {"batch": "B1"}, OPERATOR)) == "no_such_batch"
        assert await code_of(execute(kit.desk, "halt.release", {}, MES)) == "wrong_door"
        assert await code_of(execute(kit.desk, "fire.torpedo", {}, QA)) == "unknown_command"
        await kit.journal.durable()

        told = [(each["by"], each["body"]["command"], each["body"]["code"]) for each in kit.records("command.refused")]
        assert told == [
            ("olga", "batch.start", "no_such_batch"),
            ("mes", "halt.release", "wrong_door"),
            ("quinn", "fire.torpedo", "unknown_command"),
        ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, ["rule: Field required"]),
        ({"rule": "weight", "chekc": "w#1"}, ["chekc: Extra inputs"]),
        ({"rule": 7}, ["rule: Input should be a valid string"]),
        ({"rule": "weight", "unit_no": "x"}, ["unit_no: Input should be a valid integer"]),
        ({"unit_no": [], "tray": 1}, ["rule:", "unit_no:", "tray:"]),
    ],
)
async def test_bad_arguments_are_each_named(tmp_path: Path, arguments: dict[str, Any], told: list[str]) -> None:
    """Every argument that is wrong, missing or unknown."""
    async with Kit(tmp_path) as kit:
        with pytest.raises(Refused) as refused:
            await kit.ask("check.take", TECHNICIAN, **arguments)

        assert refused.value.code == "bad_arguments"
        assert all(each in str(refused.value) for each in told)


@pytest.mark.parametrize("odd", [2**60, float("nan"), float("inf"), "\ud800", {"a": ["\udfff"]}, {"deep": 2**54}])
async def test_what_could_not_be_recorded_is_not_even_tried(tmp_path: Path, odd: Any) -> None:
    """Numbers that are none, integers beyond JSON's and broken text are refused before anything happens."""
    async with Kit(tmp_path) as kit:
        assert await code_of(kit.ask("check.take", rule="weight", unit_no=odd)) == "bad_arguments"
        assert await code_of(kit.ask("batch.order", MES, order=order(quantity=odd))) == "bad_arguments"
        assert not kit.run.batches


async def test_the_answer_comes_after_the_commit(tmp_path: Path) -> None:
    """Not before, however long the disk takes."""
    async with Kit(tmp_path) as kit:
        kit.evidence.hold = True
        asking = asyncio.ensure_future(kit.ask("batch.order", MES, order=order()))
        await asyncio.sleep(10)
        assert not asking.done()
        kit.evidence.let()
        assert (await asking)["batch"] == "B1"
        assert kit.records("batch.ordered")


async def test_what_could_not_be_recorded_was_not_done(tmp_path: Path) -> None:
    """The store fails under it: the answer says so."""
    async with Kit(tmp_path) as kit:
        kit.evidence.hold = True
        asking = asyncio.ensure_future(kit.ask("batch.order", MES, order=order()))
        await asyncio.sleep(0.1)
        kit.evidence.break_down()
        assert await code_of(asking) == "not_recorded"


async def test_nothing_is_done_while_nothing_can_be_recorded(tmp_path: Path) -> None:
    """A full disk: commands are refused at once, status is answered, and with room again all is well."""
    async with Kit(tmp_path) as kit:
        Recording(kit.line, kit.evidence, ["filler"], hold=True).attend()
        kit.evidence.turn(NOT_RECORDING)
        assert await code_of(kit.ask("batch.order", MES, order=order())) == "not_recorded"
        assert not kit.run.batches
        assert (await kit.ask("status", MES))["alarms"]["gateway:store"]["state"] == "unack"

        kit.evidence.turn("")
        assert await code_of(kit.ask("batch.order", MES, order=order())) == ""


@pytest.mark.parametrize("hold", [True, False])
async def test_no_record_no_run(tmp_path: Path, hold: bool) -> None:
    """By policy the line is held while nothing is recorded, and released by a person once there is room; or runs on."""
    async with Kit(tmp_path) as kit:
        Recording(kit.line, kit.evidence, ["filler"], hold=hold).attend()
        kit.evidence.turn("disk full: recording into the ballast")
        await asyncio.sleep(0.5)
        assert not kit.filler.held, "the ballast is there to record into"

        kit.evidence.turn(NOT_RECORDING)
        await asyncio.sleep(0.5)
        assert kit.filler.held is hold
        kit.evidence.turn("")
        await asyncio.sleep(0.5)
        assert kit.line.alarms.standing["gateway:store"].state == "rtn_unack"
        if not hold:
            return
        halt = kit.holds.standing["filler:no-record"]
        alarm = kit.line.alarms.standing["no-record"]
        await kit.ask("alarm.acknowledge", alarm="no-record", occurrence=alarm.occurrence)
        await kit.ask("halt.release", halt=halt.id, version=halt.version, reason="room was made")
        assert not kit.holds.standing


async def test_a_store_that_failed_before_the_start_is_lived_with(tmp_path: Path) -> None:
    """Never a crash loop: the line is judged and held, it is said, and nothing ends by itself."""
    async with Kit(tmp_path) as kit:
        kit.evidence.break_down()
        recording = Recording(kit.line, kit.evidence, ["filler"], hold=True)
        recording.attend()
        waiting = asyncio.ensure_future(recording.fail())
        await asyncio.sleep(60)

        assert not waiting.done()
        assert kit.filler.held
        assert kit.line.alarms.standing["gateway:store"].priority == "critical"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_store_that_fails_in_the_run_ends_it(tmp_path: Path) -> None:
    """With its reason: the next start examines the file."""
    async with Kit(tmp_path) as kit:
        recording = Recording(kit.line, kit.evidence, ["filler"], hold=True)
        recording.attend()
        waiting = asyncio.ensure_future(recording.fail())
        await asyncio.sleep(1)
        kit.evidence.break_down()

        with pytest.raises(Exception, match="the disk is gone"):
            await waiting


async def test_nobody_is_told_how_to_be_somebody(tmp_path: Path) -> None:
    """Without a name the refusal says what to do next; with one it says what is missing."""
    async with Kit(tmp_path) as kit:
        with pytest.raises(Refused, match="say who you are"):
            await execute(kit.desk, "batch.start", {"batch": "B1"}, Principal("", frozenset(), "http"))
        with pytest.raises(Refused, match="tom does not have it"):
            await execute(kit.desk, "batch.start", {"batch": "B1"}, TECHNICIAN)
