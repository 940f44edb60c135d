"""Gates as an auditor attacks them: whoever is blocked, what was forgotten, and what changes in the middle."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from batch_story import ANA, QUINN, T0, TODAY, TOM, order, recipe
from gates_kit import REGISTER, checked, kit_of, refused, signed, written
from line_kit import HOUSE, MES, OPERATOR, QA, SUPERVISOR, TECHNICIAN, Kit
from line_kit import order as line_order

from gateway.batch import lifecycle
from gateway.batch.complete import findings
from gateway.batch.gates import Facts, Gate, gates
from gateway.batch.order import Coa, accept
from gateway.batch.state import Batch, BatchState
from gateway.config.reading import load
from gateway.errors import Refused
from gateway.model import Principal
from gateway.recipe import GateRule, Recipe, Step

DAY = 86400 * 1_000_000_000
LETS = GateRule(override=("supervisor", "technician", "qa"))
STEPS = (
    Step(id="clean", text="Cleared and cleaned", covers=("area-before", "sanitation")),
    Step(id="release", text="Released", role="qa", covers=("components-verified", "oil-release")),
    Step(id="proof", text="Label approved", role="technician", second_role="qa", covers=("label-proof",)),
)

pytestmark = pytest.mark.looptime(start=1000)
SUE = Principal("sue", frozenset({"supervisor"}), "http", "Sue Ito")


def made(**changes: Any) -> Recipe:
    names = ("clearance", "sanitation", "oil", "people", "label", "clock")
    return recipe(**({"before_start": STEPS, "gates": dict.fromkeys(names, LETS)} | changes))


def planned(master: Recipe, *signed_by: tuple[str, Principal]) -> Batch:
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    for step, who in signed_by:
        batch, _ = lifecycle.sign(batch, master, step, who, "", T0)
    return batch


def gate_of(batch: Batch, master: Recipe, name: str, facts: Facts | None = None, now_ns: int = T0) -> Gate:
    return next(one for one in gates(batch, master, facts or Facts(), now_ns) if one.name == name)


def opened(batch: Batch, master: Recipe, name: str, who: Principal, reason: str = "trial", **facts: Any) -> Batch:
    gate = gate_of(batch, master, name, Facts(**facts))
    return lifecycle.open_gate(batch, master, gate, LETS, who, reason, T0)[0]


# -- overrides ---------------------------------------------------------------------------------------


def test_nobody_stands_in_for_the_second_person_of_their_own_step() -> None:
    """Approving a label first and overriding the second approval is one pair of eyes; somebody else may."""
    master = made()
    batch = planned(master, ("proof", TOM))
    alias = Principal("tom-w", frozenset({"supervisor"}), "http", "Tom Weber")
    for who in (TOM, alias):
        with pytest.raises(Refused) as caught:
            opened(batch, master, "label", who)
        assert caught.value.code == "same_person"
    assert not gate_of(opened(batch, master, "label", SUE), master, "label").blocks


def test_nobody_overrides_what_is_about_themselves() -> None:
    """Who signed and is not fit any more does not open the gate for it."""
    master = made()
    batch = planned(master, ("proof", TOM))
    unfit = {"people": {"tom": (frozenset({"technician"}), "the qualification of tom ended")}}
    with pytest.raises(Refused) as caught:
        opened(batch, master, "people", TOM, **unfit)
    assert caught.value.code == "same_person"
    assert opened(batch, master, "people", SUE, **unfit).overrides


@pytest.mark.parametrize("reason", ["", " \t\n", ".", "-", "\u200b", "\u00a0\u2003"])
def test_a_reason_is_in_words(reason: str) -> None:
    """Blanks, dots and characters nobody sees are none."""
    with pytest.raises(Refused) as caught:
        opened(planned(made()), made(), "clock", SUE, reason)
    assert caught.value.code == "reason_missing"


def test_an_override_gives_away_no_other_gate() -> None:
    """One step signs for clearance and sanitation: with sanitation overridden it is still to be signed."""
    master = made()
    everything = (("release", QUINN), ("proof", TOM), ("proof", QUINN))
    batch = opened(planned(master, *everything), master, "sanitation", SUE)
    assert (batch.state, gate_of(batch, master, "clearance").blocks) == (BatchState.PLANNED, True)
    batch = opened(batch, master, "clearance", SUE)
    assert batch.state is BatchState.READY


def test_an_override_of_the_oil_leaves_the_components_to_be_verified() -> None:
    """What a step signs for besides its gate is not the gate's to give away; and it can still be signed."""
    master = made()
    batch = opened(planned(master, ("clean", ANA), ("proof", TOM), ("proof", QUINN)), master, "oil", SUE)
    assert batch.state is BatchState.PLANNED
    batch, _ = lifecycle.sign(batch, master, "release", QUINN, "", T0)
    assert batch.state is BatchState.READY


# -- the bulk oil ------------------------------------------------------------------------------------


def coa(**changes: Any) -> Coa:
    facts = {"id": "C1", "lab": "L", "thc_percent": "84.20", "passed": True, "issued": date(2026, 3, 2)}
    return Coa.model_validate(facts | changes)


def with_coa(certificate: Coa) -> Any:
    lots = tuple(one.model_copy(update={"coa": certificate}) if one.kind == "oil" else one for one in order().materials)
    return order(materials=lots)


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        (coa(lot="DST-0292"), "COA C1 is of lot DST-0292, not of oil lot DST-0291"),
        (coa(expires=date(2026, 3, 13)), "COA C1 of oil lot DST-0291 expired on 2026-03-13"),
        (coa(issued=date(2026, 3, 15)), "after today"),
        (coa(passed=False), "says failed"),
    ],
)
def test_a_certificate_of_something_else_is_refused(certificate: Coa, told: str) -> None:
    """Of another lot, past its time, of tomorrow, or of oil that failed."""
    with pytest.raises(Refused, match=told) as caught:
        accept(with_coa(certificate), recipe(), TODAY)
    assert caught.value.code == "order_refused"
    accept(with_coa(coa(lot="DST-0291", expires=TODAY)), recipe(), TODAY)


def test_one_certificate_does_not_say_two_things() -> None:
    """The same number on two lots, with other words: one of them is not what the laboratory wrote."""
    first, *others = order().materials
    two = first.model_copy(update={"lot": "DST-0300", "uid": "1A4010300003F86000017700"[:-1] + "9"})
    changed = two.model_copy(update={"coa": first.coa.model_copy(update={"issued": date(2026, 3, 1)})})  # type: ignore[union-attr]
    with pytest.raises(Refused, match="stands in the order twice, and says two things"):
        accept(order(materials=(first, changed, *others)), recipe(), TODAY)


def test_a_certificate_that_ended_since_the_order_shuts_the_gate() -> None:
    """It held when the order came."""
    master = made()
    batch, _ = lifecycle.planned(with_coa(coa(expires=TODAY)), master, "h", T0)
    assert "COA C1" not in gate_of(batch, master, "oil").text
    assert "COA C1 of oil lot DST-0291 expired on 2026-03-14" in gate_of(batch, master, "oil", now_ns=T0 + DAY).text


# -- instruments -------------------------------------------------------------------------------------


async def test_a_register_that_cannot_be_read_shuts_the_gate_of_every_recipe(tmp_path: Path) -> None:
    """Also of one that names no gates: what was asked for yesterday is not forgotten with the file."""
    path = written(tmp_path)
    master = tmp_path / "recipes" / "cart.yaml"
    text = master.read_text()
    master.write_text(text[: text.index("gates:")] + text[text.rindex("setpoints: {") :])
    async with kit_of(tmp_path, load(path, house=HOUSE)) as kit:
        await signed(kit)
        await checked(kit)
        (tmp_path / "instruments.yaml").write_text("instruments: [")
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "the register of instruments cannot be read" in str(told)
        asked = {"batch": "B1", "gate": "instruments", "reason": "it is broken"}
        await refused("no_override", kit.ask("gate.override", SUPERVISOR, **asked))


async def test_a_value_is_not_typed_where_the_gateway_reads_it(tmp_path: Path) -> None:
    """The balance shows nothing of the kind; what was typed would open the gate."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        typed = {"instrument": "balance", "value": "20.000", "unit": "g"}
        told = await refused("read_by_gateway", kit.ask("instrument.check", TECHNICIAN, **typed))
        assert "put its standard on" in str(told)
        assert not kit.records("instrument.checked")


async def _begun(kit: Kit) -> None:
    await signed(kit)
    await checked(kit)
    await kit.ask("batch.start", OPERATOR, batch="B1")


async def test_an_instrument_that_is_due_in_mid_batch_is_an_alarm(tmp_path: Path) -> None:
    """Not only the next start looks at it; a new date in the register ends it, without a restart."""
    today = "2027-01-15"
    async with kit_of(tmp_path, load(written(tmp_path, REGISTER.replace("2099-12-31", today)), house=HOUSE)) as kit:
        await _begun(kit)
        await asyncio.sleep(1.1)
        assert "instrument:balance" not in kit.line.alarms.standing
        kit.world.offset_ns += DAY
        await asyncio.sleep(1.1)
        alarm = kit.line.alarms.standing["instrument:balance"]
        assert f"the calibration of balance (B1) ended on {today}" in alarm.text
        assert kit.records("alarm.raised")[-1]["batch"] == "B1"
        assert [one.kind for one in findings(kit.records()) if one.kind.startswith("instrument")] == [
            "instrument.lapsed",
        ]  # fmt: skip
        (tmp_path / "instruments.yaml").write_text(REGISTER.replace("every: 24h", "every: 240h"))
        await asyncio.sleep(2.1)
        await checked(kit)
        assert kit.line.alarms.standing["instrument:balance"].state == "rtn_unack"


async def test_a_daily_check_that_fails_in_mid_batch_is_told_and_found(tmp_path: Path) -> None:
    """An alarm in the batch's record, over a restart, until one passes."""
    async with kit_of(tmp_path) as first:
        await _begun(first)
        assert (await checked(first, "20.003"))["passed"] is False
        kit = await first.again()
        await asyncio.sleep(2)
        assert kit.line.alarms.standing["instrument:balance"].state == "unack"
        assert kit.records("instrument.checked")[-1]["batch"] == "B1"
        found = [one.kind for one in findings(kit.records()) if one.kind.startswith("instrument")]
        assert found == ["instrument.failed"]
        await checked(kit)
        assert kit.line.alarms.standing["instrument:balance"].state == "rtn_unack"


TWO = (
    REGISTER
    + """\
  weights: {kind: other, serial: W1, due: 2099-12-31, device: balance,
            check: {standard: block, value: 10, unit: mm, tolerance: 1}}
"""
)


async def test_one_instrument_does_not_clear_the_alarm_of_its_neighbour(tmp_path: Path) -> None:
    """Two on one device: one that passes says nothing of the other."""
    async with kit_of(tmp_path, load(written(tmp_path, TWO), house=HOUSE)) as kit:
        await signed(kit)
        assert (await checked(kit, "20.003"))["passed"] is False
        await kit.ask("instrument.check", TECHNICIAN, instrument="weights", value="10", unit="mm")
        assert kit.line.alarms.standing["instrument:balance"].state == "unack"


async def test_another_balance_than_the_registers_shuts_the_gate(tmp_path: Path) -> None:
    """It was exchanged over night: its own serial number says so, and a check of it proves nothing of the other."""
    kit = kit_of(tmp_path)
    kit.balance.identity["serial"] = "B2"
    async with kit:
        await signed(kit)
        refusal = await refused("another_instrument", checked(kit))
        assert "balance is B1 in the register, and balance says that it is B2" in str(refusal)
        blocked = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "says that it is B2" in str(blocked)
        (tmp_path / "instruments.yaml").write_text(REGISTER.replace("serial: B1", "serial: b2"))
        assert (await checked(kit))["passed"]


async def test_a_balance_exchanged_in_mid_batch_is_an_alarm(tmp_path: Path) -> None:
    """Its cable is put on another one: whatever that weighs is weighed by an instrument nobody registered."""
    kit = kit_of(tmp_path)
    kit.balance.identity["serial"] = "B1"
    async with kit:
        await _begun(kit)
        kit.balance.link = False
        await asyncio.sleep(3)
        kit.balance.identity["serial"] = "B2"
        kit.balance.link = True
        await asyncio.sleep(5)
        assert "says that it is B2" in kit.line.alarms.standing["instrument:balance"].text


# -- setpoints ---------------------------------------------------------------------------------------


async def test_a_setpoint_off_at_the_end_holds_no_alarm_up_for_the_next_batch(tmp_path: Path) -> None:
    """The batch is over: so is the alarm of its setpoints; that it was moved stands in the record."""
    async with kit_of(tmp_path) as kit:
        await _begun(kit)
        kit.filler["dose"] = 1.05
        await asyncio.sleep(0.5)
        assert kit.line.alarms.standing["setpoint:filler"].state == "unack"
        await kit.ask("batch.complete", SUPERVISOR, batch="B1")
        await asyncio.sleep(1.1)
        assert kit.line.alarms.standing["setpoint:filler"].state == "rtn_unack"
        assert kit.records("setpoint.changed")[-1]["body"]["ok"] is False


async def test_a_setpoint_that_was_moved_and_moved_back_is_told_twice(tmp_path: Path) -> None:
    """Both ways are records and findings, also where nobody looked in between."""
    async with kit_of(tmp_path) as kit:
        await _begun(kit)
        for grams in (1.05, 1.0):
            kit.filler["dose"] = grams
            await asyncio.sleep(0.5)
        bodies = [each["body"] for each in kit.records("setpoint.changed")]
        assert [(each["before"], each["after"], each["ok"]) for each in bodies] == [
            ("1", "1.05", False), ("1.05", "1", True),
        ]  # fmt: skip


# -- the start ---------------------------------------------------------------------------------------


async def test_of_two_starts_at_once_one_is_taken(tmp_path: Path) -> None:
    """The same batch twice, and another at the same moment: one start is a record, the others are refusals."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        await kit.ask("batch.order", MES, order=line_order("B2"))
        kit.filler["label"] = "B2"
        await asyncio.sleep(0.5)
        for who, step in ((OPERATOR, "clearance"), (TECHNICIAN, "proof"), (QA, "proof")):
            await kit.ask("batch.sign", who, batch="B2", step=step)
        starts = [kit.ask("batch.start", OPERATOR, batch=batch) for batch in ("B2", "B2", "B1")]
        said = await asyncio.gather(*starts, return_exceptions=True)
        codes = [one.code if isinstance(one, Refused) else "" for one in said]
        assert (codes[0], codes[1]) == ("", "wrong_state")
        assert codes[2] in {"gates_blocked", "line_occupied"}
        await asyncio.sleep(0.2)
        assert [each["batch"] for each in kit.records("batch.started")] == ["B2"]


async def test_the_record_says_what_only_eyes_compared(tmp_path: Path) -> None:
    """This line's camera reads the batch number; UID, THC and warning are people's to compare, and that is said."""
    async with kit_of(tmp_path) as kit:
        await _begun(kit)
        await asyncio.sleep(0.2)
        stood = {gate["gate"]: gate["evidence"] for gate in kit.records("batch.started")[-1]["body"]["gates"]}
        eyes = "not compared by this line, by people's eyes alone: UID, THC of the COA, warning"
        assert eyes in stood["label"]
        assert any("filler/label reads 'B1'" in one for one in stood["label"])


async def test_a_check_is_made_by_somebody_who_still_may(tmp_path: Path) -> None:
    """Whose qualification ended, or who was disabled, opens no gate with a daily check."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await kit.people.change("tom", qualified_until="2026-12-31")
        await refused("not_qualified", kit.ask("instrument.check", TECHNICIAN, instrument="balance"))


async def test_who_lost_the_role_since_signing_shuts_the_gate(tmp_path: Path) -> None:
    """Between the signature and the start; so does whoever was disabled, the one who starts too."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        await kit.people.change("quinn", roles=["operator"])
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "quinn" in str(told).lower()
        await kit.people.change("quinn", roles=["qa"])
        await kit.people.change("olga", disabled=True)
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "olga" in str(told)
        await kit.people.change("olga", disabled=False)
        await kit.ask("batch.start", OPERATOR, batch="B1")


@pytest.mark.parametrize("gate", ["clock", "evidence", "Setpoints", "", "clearance"])
async def test_a_gate_that_is_not_the_recipes_is_opened_by_nobody(tmp_path: Path, gate: str) -> None:
    """One the recipe does not list, one nobody may, one that is none."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        asked = {"batch": "B1", "gate": gate, "reason": "because"}
        with pytest.raises(Refused) as caught:
            await kit.ask("gate.override", SUPERVISOR, **asked)
        assert caught.value.code in {"no_such_gate", "not_blocked"}
        assert not kit.records("gate.overridden")
