"""Rolls of labels: what became of each label of each roll, and what a wrong count holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from batch_story import ANA, QUINN, T0, TOM, order, recipe

from gateway.batch import lifecycle, reconcile
from gateway.batch.counts import CountEntry, Counters
from gateway.batch.state import Batch
from gateway.errors import Refused

MASTER = recipe(before_start=(), before_close=())


def running(batch: Batch | None = None) -> Batch:
    batch = batch or lifecycle.planned(order(), MASTER, "h", T0)[0]
    return lifecycle.start(batch, MASTER, "ana", Counters(0, 0, 0, 0), T0)[0]


def loaded(batch: Batch, roll: str, issued: int, **more: Any) -> Batch:
    return lifecycle.load_roll(batch, MASTER, roll, more.get("lot", ""), Decimal(issued), ANA, T0)[0]


def labelled(batch: Batch, labels: int, damaged: int = 0) -> Batch:
    return lifecycle.counted(batch, Counters(labels, 0, labels, damaged), None, T0)[0]


def entered(batch: Batch, what: str, value: int, roll: str = "") -> Batch:
    entry = CountEntry(f"labels_{what}", Decimal(value), "{count}", roll=roll)
    return lifecycle.entered(batch, MASTER, entry, TOM, T0)[0]


def equations(batch: Batch) -> dict[str, reconcile.Equation]:
    return {one.name: one for one in reconcile.equations(batch.tally, MASTER) if one.name.startswith("labels")}


def test_each_roll_has_its_own_equation() -> None:
    """What the applicator counted between two loads is the first roll's; the batch's equation is the sum."""
    batch = loaded(running(), "R1", 300)
    batch = labelled(batch, 250, 4)
    batch = loaded(batch, "R2", 400)
    batch = labelled(batch, 600, 5)
    for what, value, roll in (("returned", 46, "R1"), ("returned", 45, "R2"), ("damaged", 4, "R2")):
        batch = entered(batch, what, value, roll)

    found = equations(batch)
    assert [(name, str(one.left), str(one.difference), one.ok) for name, one in found.items()] == [
        ("labels", "700", "0", True), ("labels of roll R1", "300", "0", True), ("labels of roll R2", "400", "0", True),
    ]  # fmt: skip
    assert lifecycle.from_json(msgspec.json.decode(msgspec.json.encode(lifecycle.to_json(batch)))) == batch


def test_labels_that_moved_between_rolls_do_not_cancel_out() -> None:
    """Ten too few of one and ten too many of another: the batch adds up, neither roll does."""
    batch = labelled(loaded(running(), "R1", 300), 250)
    batch = labelled(loaded(batch, "R2", 300), 500)
    batch = entered(entered(batch, "returned", 40, "R1"), "returned", 60, "R2")
    found = equations(batch)
    assert (found["labels"].ok, found["labels of roll R1"].ok, found["labels of roll R2"].ok) == (True, False, False)
    assert str(found["labels of roll R1"].difference) == "10"


def test_a_roll_is_not_whole_before_its_rest_was_counted() -> None:
    """Nobody said what was returned: missing, not wrong."""
    (equation,) = [one for name, one in equations(labelled(loaded(running(), "R1", 300), 10)).items() if "roll" in name]
    assert (equation.ok, equation.missing) == (False, ("returned",))


def test_a_roll_loaded_before_the_start_counts_from_there() -> None:
    """The labeller is threaded before production begins."""
    batch = running(loaded(lifecycle.planned(order(), MASTER, "h", T0)[0], "R1", 100))
    batch = entered(labelled(batch, 90), "returned", 10, "R1")
    assert equations(batch)["labels of roll R1"].ok


@pytest.mark.parametrize(
    ("code", "roll", "issued", "lot"),
    [
        ("roll_known", "R1", "10", ""),
        ("bad_roll", " ", "10", ""),
        ("bad_value", "R2", "0", ""),
        ("bad_value", "R2", "NaN", ""),
        ("bad_value", "R2", "1.5", ""),
        ("bad_value", "R2", "1e15", ""),
        ("no_such_lot", "R2", "10", "ROLL-99"),
    ],
)
def test_a_roll_that_is_none_is_refused(code: str, roll: str, issued: str, lot: str) -> None:
    """Known already, without a name, without labels, or of no lot of the order."""
    with pytest.raises(Refused) as caught:
        lifecycle.load_roll(loaded(running(), "R1", 5), MASTER, roll, lot, Decimal(issued), ANA, T0)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "quantity", "roll"), [("no_such_roll", "labels_returned", "R9"), ("wrong_quantity", "oil_waste", "R1")]
)
def test_a_count_names_a_roll_there_is(code: str, quantity: str, roll: str) -> None:
    """And only labels are counted by roll."""
    unit = "{count}" if quantity.startswith("labels") else "g"
    entry = CountEntry(quantity, Decimal(1), unit, roll=roll)
    batch = loaded(running(), "R1", 5)
    with pytest.raises(Refused) as caught:
        lifecycle.entered(batch, MASTER, entry, TOM, T0)
    assert caught.value.code == code


def closing(batch: Batch, disposition: str, **reasons: str) -> str:
    """The code of the refusal; empty where it was closed."""
    known = {"*": "reviewed", **{key.replace("__", ":").replace("_", "."): text for key, text in reasons.items()}}
    try:
        lifecycle.close(batch, MASTER, disposition, QUINN, (), T0, reasons=known)
    except Refused as refusal:
        return refusal.code
    return ""


def test_labels_that_do_not_reconcile_hold_the_batch() -> None:
    """One word for everything does not release it; a reason of its own does, and it may always be rejected."""
    batch = labelled(entered(running(), "issued", 300), 200)
    batch = lifecycle.complete(batch, MASTER, "ana", Counters(200, 0, 200, 0), T0)[0]
    assert closing(batch, "released") == "labels_held"
    assert closing(batch, "released", count_unreconciled__labels="100 labels burnt, see deviation 7") == ""
    assert closing(batch, "rejected") == ""
