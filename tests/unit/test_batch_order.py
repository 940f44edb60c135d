"""Order intake: an order is accepted whole, or refused with everything that is wrong named at once."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from batch_story import TODAY, order, recipe

from gateway.batch.order import Coa, Material, Order, accept, facts, parse
from gateway.errors import Refused


def changed(kind: str, **facts_: Any) -> Order:
    """The order with one field of one material's lot changed."""
    lots = tuple(lot.model_copy(update=facts_) if lot.kind == kind else lot for lot in order().materials)
    return order(materials=lots)


def refusal(bad: Order) -> str:
    with pytest.raises(Refused) as caught:
        accept(bad, recipe(), TODAY)
    assert caught.value.code == "order_refused"
    return str(caught.value)


def coa(**changes: Any) -> Coa:
    found = order().materials[0].coa
    assert found is not None
    return found.model_copy(update=changes)


def test_a_good_order_is_accepted() -> None:
    """An order with all lots, UIDs and a passed COA is taken without a word."""
    accept(order(), recipe(), TODAY)
    accept(order(recipe="cart-1g"), recipe(), TODAY)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (order(sku="VC-050"), "SKU 'VC-050'"),
        (order(recipe="tincture"), "asks for recipe 'tincture'"),
        (order(recipe="cart-1g@3"), "version '3'"),
        (order(materials=order().materials[:2]), "no lot of label"),
        (order(uid="1A4010300003F8600001770"), "package UID '1A4010300003F8600001770'"),
        (order(uid="1a4010300003f86000017700"), "24 characters, 0-9 and A-Z"),
        (changed("cartridge", uid="1A4010300003F86000017700"), "2 times"),
        (changed("cartridge", uid="?" * 24), "UID of cartridge lot CCELL-5521"),
        (changed("oil", coa=None), "has no COA"),
        (changed("oil", coa=coa(passed=False)), "says failed"),
        (changed("oil", coa=coa(thc_percent=Decimal("842.0"))), "not a percentage"),
        (changed("oil", coa=coa(issued=date(2026, 3, 15))), "after today"),
        (changed("oil", expires=date(2026, 3, 13)), "expired on 2026-03-13"),
        (changed("oil", quantity=Decimal(0)), "has quantity 0"),
    ],
)
def test_what_is_wrong_is_named(bad: Order, said: str) -> None:
    """Each thing that is missing or wrong is named in the refusal."""
    assert said in refusal(bad)


def test_a_lot_may_be_used_on_its_last_day() -> None:
    """The day of expiry itself is still good."""
    accept(changed("oil", expires=TODAY), recipe(), TODAY)


def test_everything_wrong_is_named_at_once() -> None:
    """The MES need not send an order five times to hear of five faults."""
    text = refusal(order(sku="X", uid="short", materials=()))

    assert all(
        part in text for part in ("SKU 'X'", "'short'", "no lot of oil", "no lot of cartridge", "no lot of label")
    )


def test_two_oil_lots_must_state_one_thc() -> None:
    """One batch has one label, so lots whose COAs differ are refused."""
    oil = order().materials[0]
    second = Material(
        kind="oil", lot="DST-0292", uid="1A4010300003F86000017650", quantity="100", unit="g",
        coa=coa(id="COA-2", thc_percent=Decimal("81.1")),
    )  # fmt: skip

    assert "81.1 %, 84.20 %" in refusal(order(materials=(oil, second, *order().materials[1:])))


def test_facts_are_exact() -> None:
    """Rules get the COA's THC as the digits the laboratory wrote."""
    found = facts(order(), recipe())

    assert found["thc_percent"] == "84.20"
    assert (found["number"], found["uid"]) == ("B-2026-0314-02", "1A4010300003F86000017700")


def test_a_document_that_is_no_order_names_its_fields() -> None:
    """A document from the MES is refused with the fields that are wrong, never with a traceback."""
    document = order().model_dump(mode="json") | {"quantity": 0, "colour": "red"}

    with pytest.raises(Refused, match=r"quantity: .*; colour: ") as caught:
        parse(document)

    assert caught.value.code == "bad_order"
    assert parse(order().model_dump(mode="json")) == order()
