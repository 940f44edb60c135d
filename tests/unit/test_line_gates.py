"""Gates at the line, on a virtual clock: shown, recorded where they block, overridden; setpoints watched in the run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from gates_kit import REGISTER, checked, kit_of, refused, returned, signed, written
from line_kit import HOUSE, MES, OPERATOR, QA, SUPERVISOR, TECHNICIAN, Kit, order

from gateway.config.reading import check, load

pytestmark = pytest.mark.looptime(start=1000)


async def test_a_start_that_is_blocked_is_seen_and_recorded(tmp_path: Path) -> None:
    """The board shows what is in the way; asking all the same is a record; the daily check opens the gate."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await asyncio.sleep(1.5)
        shown = {gate["gate"]: gate["state"] for gate in kit.board.get("gates")["gates"]}
        assert shown == {
            "setpoints": "open", "instruments": "blocked", "people": "open", "label": "open", "evidence": "open",
        }  # fmt: skip
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "balance was not checked yet" in str(told)
        await asyncio.sleep(0.2)
        assert kit.records("gate.blocked")[-1]["body"]["gates"][0]["gate"] == "instruments"

        assert (await checked(kit))["passed"] is True
        record = kit.records("instrument.checked")[-1]["body"]
        assert (record["value"], record["source"], record["person"]) == ("20.001", "balance/net", "tom")
        await kit.ask("batch.start", OPERATOR, batch="B1")
        stood = {gate["gate"]: gate["evidence"] for gate in kit.records("batch.started")[-1]["body"]["gates"]}
        assert "balance reads 20.001 g on W-20" in stood["instruments"][0]


async def test_a_failed_check_is_an_alarm_and_outlives_the_process(tmp_path: Path) -> None:
    """A digit too much: recorded, told, and shut after a kill -9 too, until one passes."""
    async with kit_of(tmp_path) as first:
        await signed(first)
        assert (await checked(first, "20.003"))["passed"] is False
        assert "instrument:balance" in first.line.alarms.standing
        kit = await first.again()
        await asyncio.sleep(2)
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "the last check failed" in str(told)
        await checked(kit)
        assert (await kit.ask("batch.gates", batch="B1"))["open"] is True


CALLIPER = (
    REGISTER
    + """\
  calliper: {kind: caliper, serial: C1, due: 2099-12-31, check: {standard: block, value: 10, unit: mm, tolerance: 1}}
"""
)


async def _calliper(kit: Kit, shown: str) -> Any:
    return await kit.ask("instrument.check", TECHNICIAN, instrument="calliper", value=shown, unit="mm")


async def test_a_start_without_line_clearance_is_recorded_too(tmp_path: Path) -> None:
    """What is missing is a signature, and that is told; the gates it shuts stand in the record of who tried."""
    path = written(tmp_path)
    recipe = tmp_path / "recipes" / "cart.yaml"
    recipe.write_text(recipe.read_text().replace("role: operator}", "role: operator, covers: [area-before]}").replace(
        "  people:\n", "  people:\n  clearance:\n"))  # fmt: skip
    async with kit_of(tmp_path, load(path, house=HOUSE)) as kit:
        for name, role in (("olga", "operator"), ("tom", "technician"), ("quinn", "qa")):
            await kit.people.add(name, name, [role], "correct horse")
        await kit.ask("batch.order", MES, order=order())
        told = await refused("not_ready", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "clearance" in str(told)
        await asyncio.sleep(0.2)
        record = kit.records("gate.blocked")[-1]
        assert (record["by"], record["batch"]) == ("olga", "B1")
        assert "clearance" in {gate["gate"] for gate in record["body"]["gates"]}


async def test_an_instrument_without_a_link_keeps_its_alarm_over_a_restart(tmp_path: Path) -> None:
    """A calliper that failed, seen by a person and still wrong, is no device: it stands until one passes."""
    settings = load(written(tmp_path, CALLIPER), house=HOUSE)
    async with kit_of(tmp_path, settings) as first:
        await signed(first)
        assert (await _calliper(first, "12"))["passed"] is False
        await first.ask("alarm.acknowledge", TECHNICIAN, alarm="instrument:calliper", occurrence=1)
        kit = await first.again()
        await asyncio.sleep(2)
        assert kit.line.alarms.standing["instrument:calliper"].state == "acked"
        await _calliper(kit, "10")
        assert "instrument:calliper" not in kit.line.alarms.standing


async def test_an_instrument_that_left_the_register_holds_no_alarm_up(tmp_path: Path) -> None:
    """Nobody could ever check it again; a register that cannot be read clears nothing."""
    settings = load(written(tmp_path, CALLIPER), house=HOUSE)
    async with kit_of(tmp_path, settings) as first:
        await signed(first)
        await _calliper(first, "12")
        (tmp_path / "instruments.yaml").write_text("instruments: [")
        kit = await first.again()
        await asyncio.sleep(0.5)
        assert kit.line.alarms.standing["instrument:calliper"].state == "unack"
        (tmp_path / "instruments.yaml").write_text(REGISTER)
        last = await kit.again()
        await asyncio.sleep(0.5)
        assert last.line.alarms.standing["instrument:calliper"].state == "rtn_unack"


async def test_an_unsteady_balance_is_not_checked(tmp_path: Path) -> None:
    """What swings is no reading, what is silent neither."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        kit.balance.settled = False
        await asyncio.sleep(0.5)
        await refused("not_stable", kit.ask("instrument.check", TECHNICIAN, instrument="balance"))
        kit.balance.settled, kit.balance["net"] = True, None
        await asyncio.sleep(0.5)
        await refused("not_stable", kit.ask("instrument.check", TECHNICIAN, instrument="balance"))
        await refused("no_such_instrument", kit.ask("instrument.check", TECHNICIAN, instrument="ruler"))


async def test_a_wrong_setpoint_is_overridden_with_a_reason(tmp_path: Path) -> None:
    """By whom the recipe lets; another deviation shuts the gate again."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        kit.filler["dose"] = 0.98
        await asyncio.sleep(0.5)
        await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        ask = {"batch": "B1", "gate": "setpoints", "reason": "trial at 0.98 g"}
        await refused("role_missing", kit.ask("gate.override", QA, **ask))
        await kit.ask("gate.override", SUPERVISOR, **ask)
        kit.filler["dose"] = 0.5
        await asyncio.sleep(0.5)
        await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        kit.filler["dose"] = 0.98
        await asyncio.sleep(0.5)
        await kit.ask("batch.start", OPERATOR, batch="B1")
        assert kit.records("gate.overridden")[-1]["body"]["reason"] == "trial at 0.98 g"


async def test_a_setpoint_that_is_changed_in_the_batch_is_told(tmp_path: Path) -> None:
    """Old and new value in a record, an alarm while it is not the recipe's; also when we were dead."""
    async with kit_of(tmp_path) as first:
        await signed(first)
        await checked(first)
        await first.ask("batch.start", OPERATOR, batch="B1")
        first.filler["dose"] = 1.05
        await asyncio.sleep(0.5)
        body = first.records("setpoint.changed")[-1]["body"]
        assert (body["before"], body["after"], body["ok"]) == ("1", "1.05", False)
        assert first.line.alarms.standing["setpoint:filler"].state == "unack"
        first.filler["dose"] = 1.0
        await asyncio.sleep(0.5)
        assert first.line.alarms.standing["setpoint:filler"].state == "rtn_unack"
        assert first.records("setpoint.changed")[-1]["body"]["ok"] is True

        first.filler["dose"] = 1.0005
        kit = await first.again()
        await asyncio.sleep(2)
        assert kit.records("setpoint.changed")[-1]["body"]["before"] == "1"
        assert kit.records("setpoint.changed")[-1]["body"]["after"] == "1.0005"


async def test_a_label_that_changed_after_its_approval_shuts_the_gate(tmp_path: Path) -> None:
    """And a wrong one is approved by nobody."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        kit.filler["label"] = "OLD"
        await asyncio.sleep(0.5)
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "filler/label reads 'OLD', expected 'B1'" in str(told)
        record = kit.records("batch.signed")[-1]["body"]["label"][0]
        assert (record["tag"], record["read"]) == ("filler/label", "'B1'")
        await kit.ask("batch.order", MES, order=order("B2"))
        await kit.ask("batch.sign", OPERATOR, batch="B2", step="clearance")
        await refused("label_wrong", kit.ask("batch.sign", TECHNICIAN, batch="B2", step="proof"))


async def test_a_register_that_changed_is_read_again(tmp_path: Path) -> None:
    """A new due date needs no restart; a damaged register shuts the gate and says where."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        (tmp_path / "instruments.yaml").write_text(REGISTER.replace("2099-12-31", "2020-01-01"))
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "the calibration of balance (B1) ended on 2020-01-01" in str(told)
        (tmp_path / "instruments.yaml").write_text("instruments: [")
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "instruments.yaml:" in str(told)
        (tmp_path / "instruments.yaml").write_text(REGISTER)
        assert (await kit.ask("instrument.list"))["instruments"][0]["usable"] is True
        await kit.ask("batch.start", OPERATOR, batch="B1")


async def test_a_roll_that_does_not_add_up_holds_the_applicator(tmp_path: Path) -> None:
    """Ten labels of a roll are nowhere: the machine stands until somebody answered for it."""
    async with kit_of(tmp_path) as kit:
        await signed(kit, roll=100)
        await checked(kit)
        await kit.ask("batch.start", OPERATOR, batch="B1")
        for _ in range(5):
            kit.make(1)
            await asyncio.sleep(0.3)
        await refused("no_such_roll", returned(kit, 90, "R9"))
        assert not kit.filler.held
        await returned(kit, 85, "R1")
        await asyncio.sleep(1)
        assert kit.filler.held
        (halt,) = kit.holds.standing.values()
        assert "labels of roll R1: 10 of 100 not accounted for" in halt.text
        assert kit.records("label.held")[-1]["body"]["holds"] == "applicator"

        await returned(kit, 10, "R1")
        assert len(kit.records("label.held")) == 1


async def _short_roll(kit: Kit) -> None:
    """A batch that ends with ten labels of its roll nowhere."""
    await signed(kit, roll=100)
    await checked(kit)
    await kit.ask("batch.start", OPERATOR, batch="B1")
    for _ in range(5):
        kit.make(1)
        await asyncio.sleep(0.3)
    await returned(kit, 85, "R1")
    await asyncio.sleep(1)


async def test_a_roll_that_was_answered_for_does_not_hold_again_after_a_restart(tmp_path: Path) -> None:
    """Released with its outcome: the next count of anything is no second halt for the same labels."""
    async with kit_of(tmp_path) as first:
        await _short_roll(first)
        alarm = first.line.alarms.standing["roll:filler"]
        await first.ask("alarm.acknowledge", TECHNICIAN, alarm="roll:filler", occurrence=alarm.occurrence)
        (halt,) = first.holds.standing.values()
        asked = {"halt": halt.id, "version": halt.version, "reason": "ten labels burnt, found in the bin"}
        await first.ask("halt.release", SUPERVISOR, **asked)
        kit = await first.again()
        await asyncio.sleep(1)
        arguments = {"name": "oil_charged", "value": "1", "unit": "g"}
        await kit.ask("batch.enter", TECHNICIAN, batch="B1", **arguments)
        await asyncio.sleep(1)
        assert not kit.holds.standing


async def test_labels_that_hold_a_batch_stand_over_a_restart_and_end_with_it(tmp_path: Path) -> None:
    """An alarm until the batch is off the line; then nothing holds it up."""
    async with kit_of(tmp_path) as first:
        await _short_roll(first)
        await first.ask("batch.complete", SUPERVISOR, batch="B1")
        assert first.line.alarms.standing["roll:filler"].state == "unack"
        await first.ask("alarm.acknowledge", TECHNICIAN, alarm="roll:filler", occurrence=2)
        kit = await first.again()
        await asyncio.sleep(1.5)
        assert kit.line.alarms.standing["roll:filler"].state == "acked"

        (halt,) = kit.holds.standing.values()
        asked = {"halt": halt.id, "version": halt.version, "reason": "counted again"}
        await kit.ask("halt.release", SUPERVISOR, **asked)
        await kit.ask("batch.sign", QA, batch="B1", step="review")
        reasons = {"*": "seen"}
        await kit.ask("batch.close", QA, batch="B1", disposition="rejected", reasons=reasons)
        await asyncio.sleep(2)
        assert "roll:filler" not in kit.line.alarms.standing


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("filler/dose: {value", "filler/dos: {value", "device filler has no tag 'dos'"),
        (
            "role: technician, second_role: qa,",
            "role: technician,",
            "approved by two people: give this step a second_role",
        ),
        ("unit: g, tolerance: 0.001", "unit: Cel, tolerance: 0.001", "filler/dose is in g, here it is meant in Cel"),
        ("  instruments:\n", "  instruments: {needs: [pipette]}\n", "the register has no 'pipette'"),
    ],
)
def test_check_says_what_a_gate_lacks(tmp_path: Path, old: str, new: str, told: str) -> None:
    """At the recipe's own line, before anything runs."""
    path = written(tmp_path)
    recipe = tmp_path / "recipes" / "cart.yaml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    problems = [str(each) for each in check(path, house=HOUSE).problems]
    assert any(told in each and each.startswith("cart.yaml:") for each in problems), problems


def test_check_says_what_the_register_lacks(tmp_path: Path) -> None:
    """At the register's own line."""
    path = written(tmp_path, REGISTER.replace("reading: balance/net", "reading: balance/gross"))
    (problem,) = check(path, house=HOUSE).problems
    assert str(problem) == "instruments.yaml:7:14: instruments.balance.reading: there is no tag 'balance/gross'"
