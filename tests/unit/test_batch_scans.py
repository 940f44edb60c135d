"""A lot that was scanned belongs to the batch, or does not; recorded in any case."""

from __future__ import annotations

from datetime import date

import pytest
from batch_story import T0, TODAY, S, recipe
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch import lifecycle
from gateway.batch.order import Material, Order
from gateway.batch.scans import Code, Match, scanned, stray
from gateway.batch.state import Batch
from gateway.errors import Refused
from gateway.ledger.canonical import canonical

OIL = Material(kind="oil", lot="OIL-7", uid="1A4FF0100000022000000111", quantity="5000", unit="g", expires=TODAY)
BOXES = Material(kind="cartridge", lot="C-12", uid="1A4FF0100000022000000222", quantity="5000", unit="{count}")
LABELS = Material(kind="label", lot="C-12", uid="1A4FF0100000022000000333", quantity="5000", unit="{count}")
ORDER = Order(
    order="WO-1",
    batch="B-1",
    sku="VC-100-BD",
    recipe="cart-1g",
    quantity=5000,
    uid="1A4FF0100000022000000250",
    materials=(OIL, BOXES, LABELS),
)


def batch() -> Batch:
    made, _ = lifecycle.planned(ORDER, recipe(), "00", T0)
    return made


def scan(text: str, today: date = TODAY, **more: str) -> Match:
    return scanned(batch(), Code(text, "scanner", **more), "gateway", today, T0 + S)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "more", "kinds"),
    [
        (OIL.uid, {}, ["oil"]),
        ("OIL-7", {}, ["oil"]),
        ("0109521234543213" + "10OIL-7", {"lot": "OIL-7"}, ["oil"]),
        (BOXES.uid, {}, ["cartridge"]),
        ("C-12", {}, ["cartridge", "label"]),
        (ORDER.uid, {}, ["package"]),
    ],
)
def test_what_belongs_to_the_batch(text: str, more: dict[str, str], kinds: list[str]) -> None:
    """A UID names one line, a lot all of its lines, the order's own UID the package."""
    match = scan(text, **more)

    assert match.ok
    assert match.draft.kind == "material.scanned"
    assert match.draft.batch == "B-1"
    assert [line["kind"] for line in match.draft.body["matched"]] == kinds
    assert "of batch B-1" in match.text


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("OIL-8", {}, "'OIL-8' is not of batch B-1; its order brings: oil OIL-7, cartridge C-12, label C-12"),
        ("0109521234543213" + "10OIL-8", {"lot": "OIL-8"}, "(lot OIL-8) is not of batch B-1"),
        ("oil-7", {}, "is not of batch"),
        ("OIL-7", {"expires": "2027-01-01"}, "expires on 2027-01-01 by its code, on 2026-03-14 by the order"),
        ("", {"unread": "half a line"}, "could not be read (half a line)"),
    ],
)
def test_what_does_not(text: str, more: dict[str, str], words: str) -> None:
    """A wrong lot, another expiry date, a code that could not be read: recorded, and not all right."""
    match = scan(text, **more)

    assert not match.ok
    assert words in match.text
    assert match.draft.body["ok"] is False
    assert match.draft.body["text"] == match.text


def test_a_lot_that_expired_meanwhile() -> None:
    """A lot that was good when it was ordered and is scanned after its last day is not."""
    match = scan("OIL-7", today=date(2026, 3, 15))

    assert not match.ok
    assert "expired on 2026-03-14" in match.text
    assert [line["kind"] for line in match.draft.body["matched"]] == ["oil"]


def test_nothing_is_scanned_for_a_batch_that_is_over() -> None:
    """An aborted batch takes no scans."""
    over, _ = lifecycle.abort(batch(), "sue", "spilt", T0)
    with pytest.raises(Refused) as caught:
        scanned(over, Code("OIL-7", "person"), "olga", TODAY, T0)

    assert caught.value.code == "wrong_state"


def test_a_scan_without_a_batch_is_recorded_too() -> None:
    """Nobody knows what it was for: that is what the record says."""
    match = stray(Code("OIL-7", "scanner"), "no batch", "gateway", T0)

    assert (match.ok, match.draft.batch, match.draft.body["text"]) == (False, None, "no batch")


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=12))
def test_whatever_is_scanned_has_a_record(text: str, lot: str, expires: str) -> None:
    """Any code makes a record with a canonical form, and is right only where the order has it."""
    text, lot, expires = (each.encode("utf-8", "replace").decode() for each in (text, lot, expires))
    match = scan(text, lot=lot, expires=expires)

    assert canonical({"body": dict(match.draft.body)})
    assert match.ok == (bool(match.draft.body["matched"]) and "expires on" not in match.text)
