"""The batch through the line: counting, checks, rule states, and what a restart keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from line_kit import MES, OPERATOR, QA, RECIPE, SUPERVISOR, Kit, order

from gateway.batch.lifecycle import BatchState
from gateway.errors import Refused

pytestmark = pytest.mark.looptime(start=1000)


async def refused(code: str, awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


async def finish(kit: Kit, batch: str = "B1") -> None:
    await kit.ask("batch.complete", OPERATOR, batch=batch)
    await kit.ask("batch.sign", QA, batch=batch, step="review")
    for tray in kit.board.get("batch")["held"]:
        await kit.ask("batch.tray", QA, batch=batch, tray=tray, disposition="rejected", reason="never checked")
    reasons = {"*": "as it is", "count.unreconciled:labels": "nobody counts labels here"}
    await kit.ask("batch.close", QA, batch=batch, disposition="released", reasons=reasons)


async def test_a_batch_from_order_to_disposition(tmp_path: Path) -> None:
    """Each step is on the board and in the record."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(25)
        await asyncio.sleep(0.5)
        assert kit.board.get("batch")["units"] == 25
        await finish(kit)

        kinds = [kind for kind in kit.kinds() if kind.startswith("batch.") and kind != "batch.tray"]
        assert kinds == ["batch.ordered", "batch.signed", "batch.started", "batch.completed", "batch.signed",
                         "batch.closed"]  # fmt: skip
        shown = kit.board.get("batch")
        assert (shown["state"], shown["disposition"], shown["unsigned"]) == ("closed", "released", [])


async def test_open_checks_are_given_up_at_the_end(tmp_path: Path) -> None:
    """A check that is due when the batch is completed was not done: missed, its trays held, and off the board."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        assert list(kit.board.get("checks")) == ["weight#1"]
        await kit.ask("batch.complete", OPERATOR, batch="B1")

        missed = kit.records("check.missed")[-1]["body"]
        assert (missed["id"], missed["state"], missed["text"]) == (
            "weight#1", "missed", "open when the batch was completed",
        )  # fmt: skip
        assert missed["suspects"] == ["T1"]
        assert [record["body"]["tray"] for record in kit.records("tray.held")] == ["T1"]
        assert kit.board.get("batch")["held"] == ["T1"]
        assert kit.board.get("checks") == {}


async def test_an_aborted_batch_gives_its_checks_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The next batch's rules begin anew, also after a restart: no state of the one before is taken for theirs."""
    async with Kit(tmp_path) as first:
        await first.begin()
        first.make(10)
        await asyncio.sleep(1.5)
        assert ("rule", "weight") in first.disk.rows
        await first.ask("batch.abort", SUPERVISOR, batch="B1", reason="wrong oil")
        assert first.records("check.missed")[-1]["body"]["text"] == "open when the batch was aborted"
        assert ("rule", "weight") not in first.disk.rows

        await first.begin("B2")
        kit = await first.again()
        await asyncio.sleep(1)
        assert not kit.line.checks.open
        assert kit.run.producing == "B2"


async def test_another_batch_aborted_leaves_the_running_one_alone(tmp_path: Path) -> None:
    """Aborting a planned batch gives up none of the checks that are open now."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("batch.order", MES, order=order("B2"))
        await kit.ask("batch.abort", SUPERVISOR, batch="B2", reason="not needed")

        assert list(kit.line.checks.open) == ["weight#1"]
        assert not kit.records("check.missed")


async def test_the_board_shows_the_batch_that_is_made(tmp_path: Path) -> None:
    """An order for the next batch does not hide the one that runs; it waits beside it."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await kit.ask("batch.order", MES, order=order("B2"))
        shown = kit.board.get("batch")
        assert (shown["batch"], shown["state"], shown["waiting"]) == ("B1", "running", ["B2"])

        await finish(kit)
        shown = kit.board.get("batch")
        assert (shown["batch"], shown["state"], shown["waiting"]) == ("B2", "planned", [])


async def test_no_start_without_a_count(tmp_path: Path) -> None:
    """Before the first scan of the filler, and while its counter is bad, a batch could not be counted."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        kit.filler["units"] = None
        await asyncio.sleep(0.5)
        await kit.ask("batch.order", MES, order=order())
        await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
        await refused("no_count", kit.ask("batch.start", OPERATOR, batch="B1"))

        kit.filler["units"] = 7
        await asyncio.sleep(0.5)
        await kit.ask("batch.start", OPERATOR, batch="B1")
        assert kit.run.batches["B1"].state is BatchState.RUNNING


async def test_a_lost_filler_has_no_count_to_start_with(tmp_path: Path) -> None:
    """What it said an hour ago is no baseline: units made meanwhile are not this batch's."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        await kit.ask("batch.order", MES, order=order())
        await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
        kit.filler.link = False
        await asyncio.sleep(2)

        await refused("no_count", kit.ask("batch.start", OPERATOR, batch="B1"))


async def test_a_bad_count_in_a_batch_counts_nothing(tmp_path: Path) -> None:
    """The counter goes bad and comes back: what was made meanwhile is counted then, once."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(5)
        await asyncio.sleep(0.5)
        kit.filler["units"] = None
        await asyncio.sleep(0.5)
        assert kit.run.batches["B1"].units == 5
        kit.filler.values.update(units=9)
        await asyncio.sleep(0.5)
        assert kit.run.batches["B1"].units == 9


async def test_a_counter_that_was_set_back_makes_nothing(tmp_path: Path) -> None:
    """Somebody restored the controller's memory: the batch keeps its count, goes on from there, and says so."""
    async with Kit(tmp_path) as kit:
        kit.filler.values.update(units=5000)
        await asyncio.sleep(1)
        await kit.begin()
        kit.filler.values.update(units=5010)
        await asyncio.sleep(1)
        kit.filler.values.update(units=4950)
        await asyncio.sleep(1)
        kit.filler.values.update(units=4953)
        await asyncio.sleep(1)

        assert kit.run.batches["B1"].units == 13
        (record,) = kit.records("counter.stepped")
        assert [record["body"][key] for key in ("before", "after", "total")] == ["5010", "4950", "10"]


async def test_a_kill_before_the_first_scan_loses_no_count(tmp_path: Path) -> None:
    """Complete at once after a restart: the counts are those of the last commit, not none."""
    async with Kit(tmp_path) as first:
        await first.begin()
        first.make(20)
        await asyncio.sleep(3)
        first.filler.link = False
        kit = await first.again()
        await kit.ask("batch.complete", OPERATOR, batch="B1")

        assert kit.run.batches["B1"].units == 20


async def test_a_weighing_is_kept_with_its_record(tmp_path: Path) -> None:
    """The mean that the oil equation needs survives a kill right after the check."""
    async with Kit(tmp_path) as first:
        await first.begin()
        first.make(10)
        await asyncio.sleep(0.5)
        await first.ask("check.take", rule="weight")
        await first.weigh("1.010")
        await asyncio.sleep(0.3)
        _, rows = next(each for each in first.evidence.submits if "check.taken" in each[0])
        assert ("batch", "B1") in rows
        kit = await first.again()

        assert kit.run.batches["B1"].tally.weight_n == 1


async def test_rules_go_on_where_they_were(tmp_path: Path) -> None:
    """Killed with a check open: it is still open, under its number, and the next one counts on."""
    async with Kit(tmp_path) as first:
        await first.begin()
        first.make(10)
        await asyncio.sleep(1.5)
        kit = await first.again()
        await asyncio.sleep(0.5)
        assert list(kit.line.checks.open) == ["weight#1"]
        assert kit.board.get("checks")["weight#1"]["state"] == "due"

        kit.make(10)
        await asyncio.sleep(0.5)
        assert list(kit.line.checks.open) == ["weight#2"]


async def test_running_time_alone_is_kept_each_second(tmp_path: Path) -> None:
    """Rule states that no finding announces are in the store within a second or so."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(1)
        await asyncio.sleep(2)

        assert ("rule", "weight") in kit.disk.rows


async def test_a_recipe_changed_during_the_batch_is_refused(tmp_path: Path) -> None:
    """The batch goes on with the recipe it was ordered with; the change is in the record, and no start takes it."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await first.ask("batch.order", MES, order=order("B2"))
        await first.ask("batch.sign", OPERATOR, batch="B2", step="clearance")
        (tmp_path / "recipes" / "cart.yaml").write_text(RECIPE.replace("high: 66", "high: 80"))
        kit = await first.again()
        await asyncio.sleep(1)

        assert "changed during batch B1; refused" in kit.records("recipe.refused")[-1]["body"]["text"]
        kit.oven["temperature"] = 70.0
        await asyncio.sleep(0.5)
        assert "warm" in kit.line.alarms.standing
        await finish(kit)
        await refused("recipe_changed", kit.ask("batch.start", OPERATOR, batch="B2"))


async def test_a_broken_recipe_file_is_a_refusal(tmp_path: Path) -> None:
    """A file that was broken since the start is named in the answer, and nothing has happened."""
    async with Kit(tmp_path) as kit:
        (tmp_path / "recipes" / "cart.yaml").write_text("id: [")
        refusal = await refused("bad_configuration", kit.ask("batch.order", MES, order=order()))

        await kit.journal.durable()

        assert "cart.yaml:2:1" in str(refusal)
        assert kit.records("command.refused")
        assert not kit.run.batches


async def test_an_order_said_again_changes_nothing(tmp_path: Path) -> None:
    """The MES may repeat it after a lost answer; another order under the same number is refused."""
    async with Kit(tmp_path) as kit:
        first = await kit.ask("batch.order", MES, order=order())
        again = await kit.ask("batch.order", MES, order=order())
        assert first["batch"] == again["batch"]
        assert again["repeated"] is True
        assert len(kit.records("batch.ordered")) == 1

        await refused("batch_exists", kit.ask("batch.order", MES, order=order(quantity=7)))


@pytest.mark.parametrize("number", ["", "  ", "x" * 65, "B\n1", "B\x001"])
async def test_a_batch_number_is_something_to_print(tmp_path: Path, number: str) -> None:
    """It names folders and stands on labels."""
    async with Kit(tmp_path) as kit:
        await refused("bad_order", kit.ask("batch.order", MES, order=order(number)))


async def test_one_batch_at_a_time(tmp_path: Path) -> None:
    """While one is open no other is started."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await kit.ask("batch.order", MES, order=order("B2"))
        await kit.ask("batch.sign", OPERATOR, batch="B2", step="clearance")
        await refused("line_occupied", kit.ask("batch.start", OPERATOR, batch="B2"))


@pytest.mark.parametrize("settled", [True, False])
async def test_a_weight_that_is_not_stable_is_recorded_and_never_judged(tmp_path: Path, settled: bool) -> None:
    """A take waits for a stable reading; what never settles stands in the record as a weighing without a verdict."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.000")
        kit.balance.settled = settled
        await kit.weigh("0.900")
        await asyncio.sleep(7)

        assert bool(kit.records("check.judged")) is settled
        assert bool(kit.holds.standing) is settled
        if not settled:
            body = kit.records("weighing.recorded")[-1]["body"]
            assert (body["passed"], body["reason"]) == (None, "not stable")
