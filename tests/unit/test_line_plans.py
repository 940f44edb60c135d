"""Plans on the line: what people record makes checks fall due, trays are held, and a scale is known by its spread."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from line_kit import LINE as LINE_YAML
from line_kit import MES, OPERATOR, QA, SUPERVISOR, TECHNICIAN, Kit, order
from line_kit import RECIPE as RECIPE_YAML

from gateway.alarms import is_active
from gateway.errors import Refused

pytestmark = pytest.mark.looptime(start=1000)

LINE = LINE_YAML.replace(
    "tray: filler/tray, halt: filler}",
    "tray: filler/tray, halt: filler, scale: {unit: mg, d: 0.1, repeatability: 0.1, uncertainty: 0.5}}",
)
RECIPE = RECIPE_YAML.replace(
    "    every_units: 10\n    n: 1\n    grace: 5s\n",
    "    every_units: 10\n    after: [adjustment, release]\n    n: 1\n    reweigh: 1\n    grace: 60s\n",
)
TEN = [f"1.000{digit}" for digit in "0123401234"]


def deep(folder: Path) -> Kit:
    """The kit's line, its one weighing plan at full depth."""
    assert "scale:" in LINE
    assert "reweigh" in RECIPE
    return Kit(folder, line=LINE, recipe=RECIPE)


async def made(kit: Kit, units: int) -> None:
    kit.make(units)
    await asyncio.sleep(0.5)


async def test_a_recorded_adjustment_makes_a_check_fall_due(tmp_path: Path) -> None:
    """The record comes first; only plans that ask for it are concerned."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await kit.ask("process.adjusted", text="dose 1.000 -> 1.002 g", device="filler")
        await asyncio.sleep(0.2)

        kinds = kit.kinds()
        assert kinds.index("process.adjusted") < kinds.index("check.due")
        (due,) = kit.records("check.due")
        assert (due["body"]["rule"], due["body"]["why"]) == ("weight", "after adjustment")
        assert len(due["body"]["plan_hash"]) == 64


async def test_the_release_of_another_rules_halt_makes_a_check_fall_due(tmp_path: Path) -> None:
    """As soon as the machine runs again."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        kit.oven["temperature"] = 95.0
        await asyncio.sleep(0.7)
        kit.oven["temperature"] = 62.0
        await asyncio.sleep(0.7)
        for alarm in ("hot", "warm"):
            standing = kit.line.alarms.standing.get(alarm)
            if standing is not None:
                await kit.ask("alarm.acknowledge", alarm=alarm, occurrence=standing.occurrence)
        halt = kit.holds.standing["filler:hot"]
        await kit.ask("halt.release", halt=halt.id, version=halt.version, reason="cooled down")
        await asyncio.sleep(0.3)
        assert not kit.records("check.due")
        kit.filler.held = False
        await asyncio.sleep(0.7)

        assert [record["body"]["why"] for record in kit.records("check.due")] == ["after release"]


async def test_a_doubtful_weighing_is_done_again_by_command(tmp_path: Path) -> None:
    """Refused without a reason; with one it is recorded with the person."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("1.0498")
        await asyncio.sleep(0.3)
        assert not kit.records("check.judged")
        with pytest.raises(Refused) as refused:
            await kit.ask("check.reweigh", rule="weight", reason=" ")
        assert refused.value.code == "reason_missing"
        await kit.ask("check.reweigh", OPERATOR, rule="weight", reason="shield stood open")
        await kit.weigh("1.0101")
        await asyncio.sleep(0.3)

        (judged,) = kit.records("check.judged")
        assert judged["body"]["state"] == "passed"
        old, new = judged["body"]["samples"]
        assert (old["verdict"], old["superseded"], old["uncertainty"]) == ("indeterminate", True, "0.0005")
        assert (new["person"], new["why"], new["reweigh"]) == ("olga", "shield stood open", 1)
        assert judged["body"]["asks"][0]["limits"][0] == {
            "name": "action",
            "low": "0.95",
            "high": "1.05",
            "of": "each",
            "fails": True,
        }


async def test_suspect_trays_are_held_and_the_batch_is_not_closed_over_them(tmp_path: Path) -> None:
    """QA releases; a supervisor does not; until then there is no disposition of the batch."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)
        (held,) = kit.records("tray.held")
        assert held["body"]["tray"] == "T1"
        assert kit.board.get("batch")["held"] == ["T1"]
        await kit.ask("batch.complete", OPERATOR, batch="B1")
        await kit.ask("batch.sign", QA, batch="B1", step="review")
        with pytest.raises(Refused) as refused:
            await kit.ask("batch.close", QA, batch="B1", disposition="rejected", reason="light")
        assert refused.value.code == "trays_undecided"
        released = {"batch": "B1", "tray": "T1", "disposition": "released", "reason": "all ten weighed again"}
        with pytest.raises(Refused) as refused:
            await kit.ask("batch.tray", SUPERVISOR, **released)
        assert refused.value.code == "role_missing"
        await kit.ask("batch.tray", QA, **released)
        await kit.ask("batch.close", QA, batch="B1", disposition="rejected", reason="light")

        assert kit.records("tray.released")[0]["by"] == "quinn"


async def test_the_scales_spread_is_kept_over_batches_and_restarts(tmp_path: Path) -> None:
    """Ten weighings that spread too far: no take is armed any more, in this batch or the next process."""
    async with deep(tmp_path) as first:
        await first.begin()
        await first.ask("scale.repeatability", device="balance", weighings=TEN)
        await made(first, 10)
        await first.ask("check.take", rule="weight")
        wide = [f"1.00{digit}" for digit in "0123401234"]
        with pytest.raises(Refused) as refused:
            await first.ask("scale.repeatability", TECHNICIAN, device="balance", weighings=wide[:9])
        assert refused.value.code == "bad_value"
        await first.ask("scale.repeatability", device="balance", weighings=wide)
        (_, record) = first.records("scale.repeatability")
        assert record["body"]["repeatability"].startswith("0.00149")
        for kit in (first, await first.again()):
            await asyncio.sleep(0.5)
            with pytest.raises(Refused) as refused:
                await kit.ask("check.take", rule="weight")
            assert refused.value.code == "scale_unfit"


@pytest.mark.parametrize("grams", ["1.002", "0.900"])
async def test_a_weight_whose_verdict_was_never_stored_is_weighed_again(tmp_path: Path, grams: str) -> None:
    """Kill -9 between the sample and its commit: the take still waits, the cartridge still lies there, one verdict."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await made(first, 10)
        await first.ask("check.take", rule="weight")
        await asyncio.sleep(1.2)
        first.evidence.hold = True
        await first.weigh(grams)
        assert not first.records("check.taken")
        kit = await first.again()
        await asyncio.sleep(1)

        (judged,) = kit.records("check.judged")
        assert [sample["value"] for sample in judged["body"]["samples"]] == [grams]
        assert judged["body"]["state"] == ("failed" if grams < "1" else "passed")
        assert len(kit.records("check.taken")) == 1
        assert bool(kit.holds.standing) is (grams < "1")


async def test_a_check_that_fell_due_while_the_gateway_was_down_and_was_missed_is_a_deviation(tmp_path: Path) -> None:
    """The tenth unit was made meanwhile and nobody weighed it: a record, an alarm, and the tray on hold."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await made(first, 4)
        await asyncio.sleep(1.2)
        first.make(6)
        kit = await first.again()
        await asyncio.sleep(6)

        (missed,) = kit.records("check.missed")
        assert missed["body"]["suspects"] == ["T1"]
        assert is_active(kit.line.alarms.standing["weight"])
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1"]


async def test_re_weighing_is_limited_over_a_restart_and_for_another_person(tmp_path: Path) -> None:
    """One is allowed: the other person is refused, in the next process, too."""
    async with deep(tmp_path) as first:
        await first.begin()
        await made(first, 10)
        await first.ask("check.take", rule="weight")
        await first.weigh("1.0498")
        await first.ask("check.reweigh", rule="weight", reason="shield stood open")
        await asyncio.sleep(1.2)
        kit = await first.again()
        await kit.weigh("1.0499")
        await asyncio.sleep(0.5)

        (judged,) = kit.records("check.judged")
        assert judged["body"]["state"] == "indeterminate"
        with pytest.raises(Refused) as refused:
            await kit.ask("check.reweigh", OPERATOR, rule="weight", reason="once more")
        assert refused.value.code == "no_such_check"
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1"]


async def test_a_tray_nobody_saw_between_two_suspect_ones_is_held_with_them(tmp_path: Path) -> None:
    """Out of sight the machine filled a whole tray: that one has no name, and is as suspect as the next."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)
        kit.filler.values.update(units=int(str(kit.filler.values["units"])) + 15, tray="T3")
        await asyncio.sleep(0.5)

        assert kit.board.get("batch")["held"] == ["T1", "unseen-11-20", "T3"]
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1", "unseen-11-20", "T3"]


async def test_what_was_filled_out_of_sight_is_held_over_a_release_given_meanwhile(tmp_path: Path) -> None:
    """The hold never reached the machine; somebody stopped it and released: what it shows then is not verified."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        kit.filler.link = False
        await kit.weigh("0.900")
        await asyncio.sleep(5)
        occurrence = kit.line.alarms.standing["weight"].occurrence
        await kit.ask("alarm.acknowledge", alarm="weight", occurrence=occurrence)
        halt = kit.holds.standing["filler:weight"]
        await kit.ask(
            "halt.release", halt=halt.id, version=halt.version, reason="stopped by hand", recalibration="dose 1.000 g"
        )
        await asyncio.sleep(1)
        assert not [record for record in kit.records("check.due") if record["body"]["why"] == "verification"]
        kit.filler.values.update(units=int(str(kit.filler.values["units"])) + 15, tray="T3")
        kit.filler.link = True
        await asyncio.sleep(5)

        assert kit.board.get("batch")["held"] == ["T1", "unseen-11-20", "T3"]
        due = [record["body"] for record in kit.records("check.due") if record["body"]["why"] == "verification"]
        assert [body["due_units"] for body in due] == [25]


async def test_trays_filled_under_a_missed_check_are_held_when_the_batch_ends_without_it(tmp_path: Path) -> None:
    """It could have been done late until then: nothing vouches for what was made since, and nothing else was due."""
    at_start = RECIPE_YAML.replace("    every_units: 10\n", "    after: [start]\n")
    async with Kit(tmp_path, line=LINE_YAML, recipe=at_start) as kit:
        await kit.begin()
        await made(kit, 3)
        await asyncio.sleep(6)
        assert [record["body"]["suspects"] for record in kit.records("check.missed")] == [["T1"]]
        await made(kit, 10)
        await made(kit, 10)
        await kit.ask("batch.complete", OPERATOR, batch="B1")
        await asyncio.sleep(0.5)

        assert kit.board.get("batch")["held"] == ["T1", "T2", "T3"]
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1", "T2", "T3"]
        assert len(kit.records("check.missed")) == 1


async def test_trays_filled_under_a_check_that_proved_nothing_are_held_at_the_end_as_well(tmp_path: Path) -> None:
    """An alarm holds no machine: what is made after it has nothing that vouches for it, if no good check follows."""
    at_start = RECIPE_YAML.replace("    every_units: 10\n", "    after: [start]\n    indeterminate: alarm\n")
    async with Kit(tmp_path, line=LINE, recipe=at_start) as kit:
        await kit.begin()
        await made(kit, 3)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("1.0498")
        assert kit.board.get("batch")["held"] == ["T1"]
        await made(kit, 20)
        await kit.ask("batch.complete", OPERATOR, batch="B1")
        await asyncio.sleep(0.5)

        assert kit.board.get("batch")["held"] == ["T1", "unseen-11-20", "T3"]


async def started(kit: Kit) -> None:
    """The batch begins this very moment: no scan has come since."""
    await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
    await kit.ask("batch.order", MES, order=order("B1"))
    await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
    kit.filler["label"] = "B1"
    await asyncio.sleep(0.3)
    await kit.ask("batch.start", OPERATOR, batch="B1")


async def test_units_made_out_of_sight_right_after_the_start_are_the_plans_too(tmp_path: Path) -> None:
    """The link was lost before the first scan of the batch: what the machine counted since the start was due."""
    async with deep(tmp_path) as kit:
        await started(kit)
        kit.filler.link = False
        await asyncio.sleep(5)
        kit.make(35)
        kit.filler.link = True
        await asyncio.sleep(5)

        assert [record["body"]["due_units"] for record in kit.records("check.due")] == [10, 20, 30]
        assert len(kit.records("check.missed")) == 2


async def test_a_kill_right_after_the_start_forgets_no_unit_of_the_plan(tmp_path: Path) -> None:
    """Where the counter stood is stored with the record of the start."""
    async with deep(tmp_path) as kit:
        await started(kit)
        after = await kit.again()
        after.make(35)
        await asyncio.sleep(1)

        assert [record["body"]["due_units"] for record in after.records("check.due")] == [10, 20, 30]


async def test_the_first_label_after_the_start_is_judged(tmp_path: Path) -> None:
    """It is applied before the first scan of the batch comes: that scan is no baseline."""
    async with deep(tmp_path) as kit:
        await started(kit)
        kit.make(1)
        kit.filler["label"] = "wrong"
        await asyncio.sleep(0.5)

        assert [record["body"]["rule"] for record in kit.records("halt.requested")] == ["label"]


async def test_a_unit_left_on_the_pan_is_no_sample_of_the_next_batch(tmp_path: Path) -> None:
    """It was the last batch's: the pan is emptied first, then the new batch's unit counts."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("1.000")
        await asyncio.sleep(0.5)
        await kit.ask("batch.abort", SUPERVISOR, batch="B1", reason="oil ran out")
        await kit.begin("B2")
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await asyncio.sleep(0.5)
        assert [record["batch"] for record in kit.records("check.taken")] == ["B1"]
        await kit.weigh("1.010")
        await asyncio.sleep(0.3)

        assert [record["batch"] for record in kit.records("check.taken")] == ["B1", "B2"]


async def test_a_tray_begun_while_the_hold_was_on_its_way_is_held_with_the_others(tmp_path: Path) -> None:
    """A unit fails, the machine fills on into the next tray before it stands: that tray is on hold, too."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)
        assert kit.board.get("batch")["held"] == ["T1"]
        kit.filler.values.update(units=int(str(kit.filler.values["units"])) + 3, tray="T2")
        await asyncio.sleep(0.5)

        assert kit.board.get("batch")["held"] == ["T1", "T2"]
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1", "T2"]


async def test_a_verification_belongs_to_the_batch_it_is_made_in(tmp_path: Path) -> None:
    """The halt is of the batch before, and released in the next one: that one verifies, and its record says so."""
    async with deep(tmp_path) as kit:
        await kit.begin()
        await made(kit, 10)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)
        await kit.ask("batch.abort", SUPERVISOR, batch="B1", reason="light")
        await kit.begin("B2")
        halt, alarm = kit.holds.standing["filler:weight"], kit.line.alarms.standing["weight"]
        await kit.ask("alarm.acknowledge", alarm="weight", occurrence=alarm.occurrence)
        said = {"reason": "trimmed", "recalibration": "1.000 g"}
        await kit.ask("halt.release", halt="filler:weight", version=halt.version, **said)

        assert [record["batch"] for record in kit.records("verification.started")] == ["B2"]
        assert kit.records("halt.released")[0]["batch"] == "B1"
