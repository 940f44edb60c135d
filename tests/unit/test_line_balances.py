"""Tare and zero at a person's word: when they are allowed, what stands in the record of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_kit import LINE, OPERATOR, RECIPE, TECHNICIAN, Kit

from gateway.errors import Refused

pytestmark = pytest.mark.looptime(start=1000)

PAIRED = RECIPE.replace("source: weighing,", "source: weighing, tare: {mode: paired},")


async def refusal(asked: Any) -> str:
    """Its code."""
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value.code


async def test_what_the_balance_shows_before_and_afterwards_is_recorded(tmp_path: Path) -> None:
    """By whom, in which batch, with its own line; answered after it is durable."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.balance["net"] = Decimal("0.100")
        await asyncio.sleep(1)
        answer = await kit.ask("balance.tare", OPERATOR, device="balance")
        (record,) = kit.records("balance.tared")

    assert answer == {"device": "balance", "shown": "0.000", "unit": "g"}
    assert (record["by"], record["batch"]) == ("olga", "B1")
    assert record["body"] == {
        "device": "balance", "before": "0.100", "unit": "g", "shown": "0.000", "raw": "S S 0.000 g", "took_ns": "0",
    }  # fmt: skip


async def test_an_empty_pan_is_zeroed(tmp_path: Path) -> None:
    """Without a batch too: nothing weighs there then."""
    async with Kit(tmp_path) as kit:
        kit.balance["net"] = Decimal("0.002")
        await asyncio.sleep(1)
        await kit.ask("balance.zero", device="balance")

        assert [what for _, what in kit.balance.tares] == ["zero"]
        assert kit.records("balance.zeroed")[0]["body"]["before"] == "0.002"


@pytest.mark.parametrize("what", ["tare", "zero"])
async def test_not_in_the_middle_of_a_sample(tmp_path: Path, what: str) -> None:
    """A take waits for the balance: what is weighed next is to be the sample, whole."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")

        assert await refusal(kit.ask(f"balance.{what}", device="balance")) == "sample_open"
        await kit.weigh("1.001")
        await kit.weigh("0.000")
        await kit.ask(f"balance.{what}", device="balance")
        assert [each for _, each in kit.balance.tares] == [what]
        assert kit.records("command.refused")[0]["body"]["code"] == "sample_open"


async def test_what_the_gateway_takes_off_is_not_taken_off_twice(tmp_path: Path) -> None:
    """The plan has a tare of its own: the balance is not tared beside it; its empty pan may be zeroed."""
    async with Kit(tmp_path, recipe=PAIRED) as kit:
        await kit.ask("balance.tare", device="balance")
        await kit.begin()

        assert await refusal(kit.ask("balance.tare", device="balance")) == "tare_is_ours"
        await kit.ask("balance.zero", device="balance")
        assert [each for _, each in kit.balance.tares] == ["tare", "zero"]


async def test_a_loaded_pan_is_not_called_zero(tmp_path: Path) -> None:
    """Of a small load the balance itself would not object."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await kit.weigh("1.001")

        assert await refusal(kit.ask("balance.zero", device="balance")) == "pan_occupied"
        assert not kit.balance.tares


@pytest.mark.parametrize("device", ["oven", "nothing"])
async def test_only_a_balance(tmp_path: Path, device: str) -> None:
    """The refusal names those there are."""
    async with Kit(tmp_path) as kit:
        with pytest.raises(Refused, match="balances: balance"):
            await kit.ask("balance.tare", device=device)


async def test_while_it_is_away_it_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    """Back again, nothing that was asked meanwhile is done."""
    async with Kit(tmp_path) as kit:
        kit.balance.link = False
        await asyncio.sleep(3)
        assert await refusal(kit.ask("balance.tare", device="balance")) == "not_connected"
        kit.balance.link = True
        await asyncio.sleep(20)

        assert kit.balance.connects == 2
        assert not kit.balance.tares
        assert not kit.records("balance.tared")


async def test_a_balance_that_does_not_do_it_is_recorded_with_its_reason(tmp_path: Path) -> None:
    """What was sent to it is a record even where it came to nothing; so is the refusal of the command."""
    async with Kit(tmp_path) as kit:
        kit.balance.rests = False
        assert await refusal(kit.ask("balance.tare", device="balance")) == "not_done"
        await asyncio.sleep(0.1)
        (record,) = kit.records("balance.not_done")

        assert record["body"]["what"] == "tare"
        assert "does not rest" in record["body"]["text"]
        assert kit.records("command.refused")[0]["body"]["code"] == "not_done"


async def test_who_hangs_up_leaves_a_record_behind(tmp_path: Path) -> None:
    """The tare had begun: what the balance showed in the end is recorded though nobody waits for the answer."""
    async with Kit(tmp_path) as kit:
        kit.balance.settles_in_s = 0.15
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kit.ask("balance.tare", TECHNICIAN, device="balance"), 0.05)
        await asyncio.sleep(2)

        assert [record["by"] for record in kit.records("balance.tared")] == ["tom"]


async def test_a_take_that_comes_first_goes_first(tmp_path: Path) -> None:
    """Allowed when it was asked, but its turn comes after a take was armed: it is not done any more."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        tare = kit.ask("balance.tare", device="balance")
        code, armed = await asyncio.gather(refusal(tare), kit.ask("check.take", rule="weight"))

        assert (code, armed) == ("not_done", {"armed": "weight"})
        assert not kit.balance.tares


SILENT = """\
  away: {kind: stale, input: balance, after: 2s, alarm: high, halt: filler}
  unseen: {kind: stale, input: balance/net, after: 2s, strict: true}
  high: {kind: limit, input: balance/net, limits: {unit: g, high: 500}, bad_input: alarm, bad_for: 2s}
  fallen: {kind: condition, input: pan/there, expected: true, bad_input: alarm, bad_for: 2s}
"""
DERIVED = """\
derived:
  pan: {tags: {there: {kind: expr, expr: "w > q(-1, 'kg')", inputs: {w: balance/net}, truth: true}}}
rules:
"""
SLOW = LINE.replace("balance: {driver: kit, can_tare: true, period: 250ms, timeout: 200ms,",
                    "balance: {driver: kit, can_tare: true, period: 250ms, timeout: 9s,")  # fmt: skip
SLOW = SLOW.replace("rules:\n", DERIVED) + SILENT


def verdicts(kit: Kit) -> set[str]:
    """The rules that miss their input."""
    said = {name: kit.line.run.engine.current(name) for name in ("away", "unseen", "high", "fallen")}
    return {name for name, verdict in said.items() if verdict is not None and verdict.severity}


@pytest.mark.parametrize("rests", [True, False])
async def test_a_tare_is_no_silence(tmp_path: Path, rests: bool) -> None:
    """Eight seconds without a poll, at our own doing: nobody is told that the balance is lost, nothing is held."""
    async with Kit(tmp_path, line=SLOW) as kit:
        kit.balance["net"] = Decimal("0.100")
        kit.balance.settles_in_s = 8.0
        kit.balance.rests = rests
        await asyncio.sleep(1)
        polls = kit.balance.polls
        asked = asyncio.create_task(kit.ask("balance.tare", device="balance"))
        for _ in range(15):
            await asyncio.sleep(0.5)
            assert not verdicts(kit)
        assert kit.balance.polls <= polls + 1
        await asyncio.sleep(2)
        if rests:
            await asked
        else:
            assert await refusal(asked) == "not_done"

        assert not verdicts(kit)
        assert not kit.holds.standing
        kit.balance.link = False  # what is lost after it is lost
        await asyncio.sleep(3)
        assert "away" in verdicts(kit)


async def test_a_batch_that_begins_during_a_tare_changes_nothing_of_that(tmp_path: Path) -> None:
    """All rules are made anew for it, and none of them takes the tare for a loss."""
    async with Kit(tmp_path, line=SLOW) as kit:
        kit.balance["net"], kit.balance.settles_in_s = Decimal("0.100"), 8.0
        await asyncio.sleep(1)
        asked = asyncio.create_task(kit.ask("balance.tare", device="balance"))
        await asyncio.sleep(1)
        await kit.begin()
        for _ in range(13):
            await asyncio.sleep(0.5)
            assert not verdicts(kit)
        await asked
        await asyncio.sleep(1)
        assert not verdicts(kit)
