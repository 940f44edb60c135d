"""Gates, signatures and rolls in an order nobody expects: what a person's word covers, and for how long."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batch_story import ANA, QUINN, T0, TOM, Story, order, person, recipe
from gates_kit import REGISTER, checked, kit_of, refused, signed, written
from line_kit import HOUSE, OPERATOR, QA, SUPERVISOR, Kit

from gateway.batch import lifecycle
from gateway.batch.checklist import checklist
from gateway.batch.complete import findings
from gateway.batch.counts import CountEntry, Counters
from gateway.batch.gates import Facts, Field, Gate, gates
from gateway.batch.records import Log
from gateway.batch.rolls import refuse_elsewhere
from gateway.batch.state import Batch, BatchState
from gateway.batch.tables import proofs_of_label
from gateway.batch.view import signatures
from gateway.config.reading import check, load
from gateway.errors import Refused
from gateway.model import Principal
from gateway.recipe import GateRule, Recipe, Step

pytestmark = pytest.mark.looptime(start=1000)

LETS = GateRule(override=("supervisor", "technician", "operator"))
CLEAN = Step(id="clean", text="Cleared", second_role="supervisor", covers=("area-before",))
PROOF = Step(id="proof", text="Label approved", role="technician", second_role="qa", covers=("label-proof",))
SUE = person("sue", "Sue Ito", "supervisor", "operator")


def made(*steps: Step) -> Recipe:
    names = ("people", "label") if steps else ("clearance", "people", "label")
    return recipe(before_start=steps or (CLEAN, PROOF), before_close=(), gates=dict.fromkeys(names, LETS))


def planned(master: Recipe, *signed_by: tuple[str, Principal]) -> Batch:
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    for step, who in signed_by:
        batch, _ = lifecycle.sign(batch, master, step, who, "", T0)
    return batch


def gate_of(batch: Batch, master: Recipe, name: str, facts: Facts | None = None) -> Gate:
    return next(one for one in gates(batch, master, facts or Facts(), T0) if one.name == name)


def opened(batch: Batch, master: Recipe, name: str, who: Principal, facts: Facts | None = None) -> Batch:
    gate = gate_of(batch, master, name, facts)
    return lifecycle.open_gate(batch, master, gate, LETS, who, "a trial", T0)[0]


def roll(batch: Batch, master: Recipe, name: str, labels: int = 100, at_ns: int = T0) -> Any:
    return lifecycle.load_roll(batch, master, name, "", Decimal(labels), ANA, at_ns)


# -- a roll that is changed ----------------------------------------------------------------------------


def test_an_override_of_the_label_ends_with_its_roll() -> None:
    """Somebody looked at the first label of R1 in place of the second person: nobody looked at that of R2."""
    master = made(PROOF)
    batch, _ = roll(planned(master), master, "R1")
    batch, _ = lifecycle.sign(batch, master, "proof", TOM, "", T0)
    batch = opened(batch, master, "label", SUE)
    assert batch.state is BatchState.READY
    batch, drafts = roll(batch, master, "R2")
    assert drafts[0].body["overrides_ended"] == [{"gate": "label", "person": "sue", "reason": "a trial"}]
    batch, _ = lifecycle.sign(batch, master, "proof", TOM, "", T0)
    assert (batch.state, gate_of(batch, master, "label").blocks) == (BatchState.PLANNED, True)


def test_an_override_without_any_signature_ends_with_its_roll_too() -> None:
    """The batch waits again for those who look at the label, and for them alone."""
    master = made()
    batch = planned(master, ("clean", ANA), ("clean", SUE))
    batch = opened(batch, master, "label", SUE)
    assert batch.state is BatchState.READY
    batch, drafts = roll(batch, master, "R1")
    assert (batch.state, drafts[0].body["state"]) == (BatchState.PLANNED, "planned")
    for who in (TOM, QUINN):
        batch, _ = lifecycle.sign(batch, master, "proof", who, "", T0)
    assert batch.state is BatchState.READY


def test_a_signature_that_was_withdrawn_is_none() -> None:
    """The record names what nobody signed of the roll that is on, and the report says which signatures ended."""
    master = made(PROOF)
    story = Story()
    story.change(0, lifecycle.planned(order(), master, "h", T0))
    for who in (TOM, QUINN):
        assert story.batch is not None
        story.change(1, lifecycle.sign(story.batch, master, "proof", who, "", T0))
    assert not [one for one in findings(story.records) if one.kind == "step.unsigned"]
    story.change(2, roll(story.batch, master, "R2"))
    log = Log(story.records)
    told = [one.text for one in findings(story.records) if one.kind == "step.unsigned"]
    assert [text.rpartition(" is ")[2] for text in told] == [
        "not signed as performed by technician", "not signed as verified by qa",
    ]  # fmt: skip
    assert [one["withdrawn"] for one in signatures(log)] == [True, True]
    assert next(one for one in checklist(story.records) if one.key == "label-proof").missing
    story.change(3, lifecycle.sign(story.batch, master, "proof", TOM, "", T0))
    told = [one.text for one in findings(story.records) if one.kind == "step.unsigned"]
    assert [text.rpartition(" is ")[2] for text in told] == ["not signed as verified by qa"]


def test_what_one_of_two_signed_is_not_answered_in_the_checklist() -> None:
    """Verified by a second person: the first alone verifies nothing, nor does one step of two that cover it."""
    first = Step(id="lots", text="Lots scanned", second_role="qa", covers=("components-verified",))
    second = Step(id="scales", text="Weighed", covers=("components-verified",))
    master, story = recipe(before_start=(first, second), before_close=()), Story()
    story.change(0, lifecycle.planned(order(), master, "h", T0))
    told = []
    for step, who in (("lots", TOM), ("lots", QUINN), ("scales", TOM)):
        assert story.batch is not None
        story.change(1, lifecycle.sign(story.batch, master, step, who, "", T0))
        told.append(next(one for one in checklist(story.records) if one.key == "components-verified").missing)
    assert told == [
        "lots is not signed as verified by qa; scales is not signed as performed by operator",
        "scales is not signed as performed by operator",
        "",
    ]


def test_a_label_whose_approval_was_withdrawn_is_not_shown_as_approved() -> None:
    """Two people approved the label of R1; of R2's label nothing was read yet, then by one of them."""
    master, story = made(PROOF), Story()
    story.change(0, lifecycle.planned(order(), master, "h", T0))
    for read, who, at_s in (("84.2", TOM, 1), ("84.2", QUINN, 1), ("84.1", TOM, 3)):
        assert story.batch is not None
        if at_s == 3:
            story.change(2, roll(story.batch, master, "R2"))
            assert proofs_of_label(Log(story.records)) == []
        label = (Field("labeller/thc", read, "84.2", ok=True, text=""),)
        story.change(at_s, lifecycle.sign(story.batch, master, "proof", who, "", T0, label=label))
    (row,) = proofs_of_label(Log(story.records))
    assert (row["read"], row["who"]) == ("84.1", ["Tom Weber (performed)"])


def test_a_roll_brings_no_more_than_any_batch_left_of_it() -> None:
    """Also where the clock was set back between two batches, and its last one seems to be its first."""
    master = recipe(before_start=(), before_close=())
    tallies = []
    for number, (issued, left, at_ns) in enumerate(((100, 60, T0), (60, 5, T0 - 3600 * 10**9))):
        batch, _ = lifecycle.planned(order(batch=f"B{number}"), master, "h", T0)
        batch, _ = lifecycle.start(batch, master, "ana", Counters(0, 0, 0, 0), T0)
        batch, _ = roll(batch, master, "R1", issued, at_ns)
        entry = CountEntry("labels_returned", Decimal(left), "{count}", roll="R1")
        batch, _ = lifecycle.entered(batch, master, entry, ANA, at_ns)
        tallies.append((batch.number, batch.tally, True))
    for others in (tallies, tallies[::-1]):
        with pytest.raises(Refused, match="left 5 labels"):
            refuse_elsewhere("r1", Decimal(6), others)
        refuse_elsewhere("r1", Decimal(5), others)


def test_a_roll_that_was_issued_with_fewer_labels_leaves_fewer() -> None:
    """A slip of the keyboard that was corrected does not come back with the roll."""
    master = recipe(before_start=(), before_close=())
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    batch, _ = roll(batch, master, "R1", 1000)
    entry = CountEntry("labels_issued", Decimal(100), "{count}", "a nought too many", supersedes=1)
    batch, _ = lifecycle.entered(batch, master, entry, ANA, T0)
    with pytest.raises(Refused, match="left 100 labels"):
        refuse_elsewhere("R1", Decimal(101), [(batch.number, batch.tally, False)])


# -- two people ----------------------------------------------------------------------------------------


def test_who_overrode_the_second_person_is_not_the_first_afterwards() -> None:
    """The other way round is refused: one pair of eyes is one in either order."""
    master = made()
    batch = opened(planned(master), master, "clearance", SUE)
    alias = person("sue2", "Sue  ITO", "operator")
    for who in (SUE, alias):
        with pytest.raises(Refused) as caught:
            lifecycle.sign(batch, master, "clean", who, "", T0)
        assert caught.value.code == "same_person"
    batch, _ = lifecycle.sign(batch, master, "clean", ANA, "", T0)
    batch, _ = lifecycle.sign(batch, master, "clean", SUE, "", T0)
    assert not gate_of(batch, master, "clearance").problems


def test_two_steps_of_the_label_are_not_opened_by_who_signed_one() -> None:
    """Neither is the second look overridden by who had the first, nor the first signed by who overrode the second."""
    steps = tuple(Step(id=name, text=name, covers=("label-proof",)) for name in ("a", "b"))
    master = made(CLEAN, *steps)
    with pytest.raises(Refused) as caught:
        opened(planned(master, ("a", SUE)), master, "label", SUE)
    assert caught.value.code == "same_person"
    batch = opened(planned(master), master, "label", SUE)
    with pytest.raises(Refused) as caught:
        lifecycle.sign(batch, master, "a", SUE, "", T0)
    assert caught.value.code == "same_person"
    batch, _ = lifecycle.sign(batch, master, "a", ANA, "", T0)
    assert not gate_of(batch, master, "label").blocks


def test_a_name_is_the_same_however_its_letters_are_composed() -> None:
    """An umlaut of one character and one of two print the same name."""
    master = made()
    batch = planned(master, ("clean", person("jm", "J\u00f6rg M\u00fcller", "operator")))
    with pytest.raises(Refused) as caught:
        lifecycle.sign(batch, master, "clean", person("jorg", "Jo\u0308rg Mu\u0308ller", "supervisor"), "", T0)
    assert caught.value.code == "same_person"


# -- another trouble behind the same gate --------------------------------------------------------------


def test_an_override_of_a_qualification_is_none_of_a_person_who_is_gone() -> None:
    """What is wrong with who signed is part of what was overridden."""
    master = made()
    batch = planned(master, ("clean", ANA))
    facts = Facts(people={"ana": (frozenset({"operator"}), "the qualification of ana ended on 2026-03-13")})
    batch = opened(batch, master, "people", SUE, facts)
    assert not gate_of(batch, master, "people", facts).blocks
    gone = Facts(people={"ana": (frozenset({"operator"}), "ana is not known here")})
    assert gate_of(batch, master, "people", gone).blocks


LET = "{override: [supervisor]}"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("out_of_service: paper is missing", "out_of_service: it was dropped", "it was dropped"),
        ("certificate: A", "serial: B2", "was not checked yet"),
    ],
)
async def test_an_override_of_one_trouble_of_an_instrument_is_none_of_another(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    """Out of service for another reason, or another instrument in its place: nobody gave a word on that."""
    settings = load(_overridable(tmp_path, before), house=HOUSE)
    async with kit_of(tmp_path, settings) as kit:
        await signed(kit)
        await kit.ask("gate.override", SUPERVISOR, batch="B1", gate="instruments", reason="known")
        _register(tmp_path, after)
        blocked = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert told in str(blocked)


@pytest.mark.parametrize("entry", ["tolerance: 0.0005", "value: 50.000"])
async def test_a_check_is_held_against_the_standard_of_the_register_as_it_is_now(tmp_path: Path, entry: str) -> None:
    """What passed within more, or on another weight, is not the check that is asked for."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        assert (await kit.ask("batch.gates", batch="B1"))["open"] is True
        key = entry.partition(":")[0]
        (tmp_path / "instruments.yaml").write_text(re.sub(rf"{key}: [0-9.]+", entry, REGISTER))
        told = await refused("gates_blocked", kit.ask("batch.start", OPERATOR, batch="B1"))
        assert "the register changed since the last check of balance" in str(told)


async def test_a_setpoint_that_is_read_after_the_start_and_wrong_is_a_record(tmp_path: Path) -> None:
    """Started over one that nobody could read: what it turns out to be is a finding, seen and put right or not."""
    async with kit_of(tmp_path) as kit:
        await signed(kit)
        await checked(kit)
        kit.filler["dose"] = None
        await asyncio.sleep(0.5)
        await kit.ask("gate.override", SUPERVISOR, batch="B1", gate="setpoints", reason="the display says 1.000")
        await kit.ask("batch.start", OPERATOR, batch="B1")
        kit.filler["dose"] = 1.08
        await asyncio.sleep(0.5)
        assert "setpoint:filler" in kit.line.alarms.standing
        (body,) = [each["body"] for each in kit.records("setpoint.changed")]
        assert (body["before"], body["after"], body["ok"]) == ("", "1.08", False)
        assert "could not be read at the start, and is 1.08 g" in body["text"]
        assert any(one.kind == "setpoint.changed" for one in findings(kit.records()))
        kit.filler["dose"] = 1.0
        await asyncio.sleep(0.5)
        assert [each["body"]["ok"] for each in kit.records("setpoint.changed")] == [False, True]


async def test_an_older_override_hides_no_alarm_of_the_run(tmp_path: Path) -> None:
    """What was overridden once and is not covered by the newest override is told when it comes back in mid-batch."""
    settings = load(_overridable(tmp_path, "out_of_service: paper is missing"), house=HOUSE)
    async with kit_of(tmp_path, settings) as kit:
        await signed(kit)
        await kit.ask("gate.override", SUPERVISOR, batch="B1", gate="instruments", reason="known")
        _register(tmp_path, "serial: B2")
        await kit.ask("gate.override", SUPERVISOR, batch="B1", gate="instruments", reason="no time to check B2")
        await kit.ask("batch.start", OPERATOR, batch="B1")
        await asyncio.sleep(2.5)
        assert "instrument:balance" not in kit.line.alarms.standing
        _register(tmp_path, "out_of_service: paper is missing")
        await checked(kit)
        await asyncio.sleep(2.5)
        assert "paper is missing" in kit.line.alarms.standing["instrument:balance"].text


def _overridable(folder: Path, line: str) -> Path:
    path = written(folder)
    _register(folder, line)
    file = folder / "recipes" / "cart.yaml"
    file.write_text(file.read_text().replace("  instruments:\n", f"  instruments: {LET}\n"))
    return path


def _register(folder: Path, line: str) -> None:
    key = line.partition(":")[0]
    kept = [one for one in REGISTER.splitlines() if not one.strip().startswith(f"{key}:")]
    kept.insert(2, f"    {line}")
    (folder / "instruments.yaml").write_text("\n".join(kept) + "\n")


# -- the last word -------------------------------------------------------------------------------------


async def _over(kit: Kit) -> None:
    """A batch that is complete, with nothing left to sign."""
    await kit.begin()
    await kit.ask("batch.complete", OPERATOR, batch="B1")
    await kit.ask("batch.sign", QA, batch="B1", step="review")


async def test_a_disposition_is_signed_by_who_may_sign(tmp_path: Path) -> None:
    """QA's word on a batch or a tray is a signature like any other: not after the qualification ended."""
    async with Kit(tmp_path) as kit:
        await _over(kit)
        await kit.people.change("quinn", qualified_until="2020-01-01")
        said = {"batch": "B1", "disposition": "rejected", "reason": "seen"}
        await refused("not_qualified", kit.ask("batch.close", QA, **said))
        await refused("not_qualified", kit.ask("batch.tray", QA, tray="T1", **said))
        await kit.people.change("quinn", qualified_until=None)
        await kit.ask("batch.close", QA, **said)


async def test_what_changes_while_the_record_is_read_has_a_reason_too(tmp_path: Path) -> None:
    """A count that is corrected between QA's look and QA's word is a finding of this batch."""
    async with Kit(tmp_path) as kit:
        await _over(kit)
        count = {"batch": "B1", "name": "labels_issued", "unit": "{count}"}
        await kit.ask("batch.enter", OPERATOR, value="100", **count)
        reading = kit.desk.records
        corrected = []

        async def read(batch: str) -> Any:
            found = await reading(batch)
            if not corrected:
                more = {"value": "90", "corrects": "1", "comment": "a slip"}
                corrected.append(await kit.ask("batch.enter", OPERATOR, **count, **more))
            return found

        kit.desk.records = read  # type: ignore[method-assign]
        known = {one.kind: "seen" for one in findings(await reading("B1"))}
        closing = kit.ask("batch.close", QA, batch="B1", disposition="rejected", reasons=known)
        told = await refused("findings_open", closing)
        assert "entry.corrected" in str(told)


async def test_who_was_disabled_while_the_record_was_read_disposes_of_nothing(tmp_path: Path) -> None:
    """Whether they may still sign is asked when they do."""
    async with Kit(tmp_path) as kit:
        await _over(kit)
        reading = kit.desk.records

        async def read(batch: str) -> Any:
            found = await reading(batch)
            await kit.people.change("quinn", disabled=True)
            return found

        kit.desk.records = read  # type: ignore[method-assign]
        closing = kit.ask("batch.close", QA, batch="B1", disposition="rejected", reasons={"*": "seen"})
        await refused("not_qualified", closing)
        assert kit.run.batch("B1").state == "complete"


@pytest.mark.parametrize("step", ["proof", "review"])
def test_two_steps_of_one_name_are_refused(tmp_path: Path, step: str) -> None:
    """Cleaning before the start and cleaning before the end: the signature of the one would count for the other."""
    path = written(tmp_path)
    recipe = tmp_path / "recipes" / "cart.yaml"
    recipe.write_text(recipe.read_text().replace(f"id: {step},", "id: clearance,"))
    (problem,) = (str(each) for each in check(path, house=HOUSE).problems)
    assert problem.startswith("cart.yaml:")
    assert "there is a step clearance already" in problem
