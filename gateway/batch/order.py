"""An order as the MES sends it, and whether this line may run it.  Pure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from gateway.batch.counts import LARGEST
from gateway.errors import Refused
from gateway.model import Json
from gateway.recipe import Exact, Frozen, Recipe
from gateway.uids import serial

PRODUCT: Final = "oil"
"""The kind of material that is filled: the one `Yield.oil_per_unit` counts and the label's THC comes from."""

_UID = re.compile(r"[0-9A-Z]{24}")


MOST: Final = 10_000_000
"""Units of one batch: more is a slip of the keyboard."""
_DIGITS = re.compile(r"[0-9]{1,12}")


def _whole(value: object) -> int:
    """A whole number, or its digits as text.  ValueError in words: true is no 1, `1_000` no thousand."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    raise ValueError(f"{value!r} is not a whole number of units; write digits alone, like 5000")


def _amount(value: Decimal) -> Decimal:
    """Finite, and of a size that a sum can hold."""
    if not value.is_finite() or abs(value) >= LARGEST:
        raise ValueError(f"{str(value)[:40]} is not a quantity: it must be a number below {LARGEST:.0e}")
    return value


Units = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MOST)]
Amount = Annotated[Exact, AfterValidator(_amount)]


class UidRange(Frozen):
    """The UIDs of the units, where each unit has one: the first and the last that was issued for the batch."""

    first: str
    last: str


class Coa(Frozen):
    """A laboratory's certificate of analysis."""

    id: str
    lab: str
    thc_percent: Amount
    passed: bool
    issued: date
    lot: str | None = None
    """The lot it was made for, where it says so."""
    expires: date | None = None
    """Last day on which it holds."""


class Material(Frozen):
    """A lot the order brings: oil, cartridge, label."""

    kind: str
    lot: str
    uid: str
    """Seed-to-sale tag: 24 characters, 0-9 and A-Z; there is no public check digit (FACTS 7.5)."""
    quantity: Amount
    unit: str
    """UCUM code: g, {count}."""
    expires: date | None = None
    """Last day on which it may be used."""
    coa: Coa | None = None


class Order(Frozen):
    """What the MES asks the line to make."""

    order: str
    batch: str
    """Batch number."""
    sku: str
    recipe: str
    """`id`, or `id@version` where the MES insists on one."""
    quantity: Units
    """Units."""
    materials: tuple[Material, ...] = ()
    uid: str
    """Package UID printed on the labels: 24 characters."""
    uids: UidRange | None = None
    """Where every unit has a UID of its own: those that were issued."""


def parse(document: Mapping[str, Json]) -> Order:
    """An order from its JSON document.  Raises Refused `bad_order` naming every field that is wrong."""
    try:
        return Order.model_validate(document)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise Refused("bad_order", "the order cannot be read: " + "; ".join(wrong), problems=wrong) from error


def accept(order: Order, recipe: Recipe, today: date) -> None:
    """Raise Refused `order_refused`, naming everything that is missing or wrong at once; else return."""
    problems = [*_of_recipe(order, recipe), *_of_uids(order), *_of_materials(order, recipe, today), *_of_coa(order)]
    if problems:
        raise Refused("order_refused", f"order {order.order}: " + "; ".join(problems), problems=problems)


def facts(order: Order, recipe: Recipe) -> dict[str, Json]:
    """What rules may refer to as `batch.*`.  thc_percent is the COA's, as a decimal string; None without one."""
    thc = thc_percent(order)
    return {
        "number": order.batch,
        "uid": order.uid,
        "thc_percent": None if thc is None else str(thc),
        "sku": order.sku,
        "quantity": order.quantity,
        "uid_first": order.uids.first if order.uids else None,
        "uid_last": order.uids.last if order.uids else None,
        "order": order.order,
        "recipe": f"{recipe.id}@{recipe.version}",
    }


def thc_percent(order: Order) -> Decimal | None:
    """What the COA of the product's lots says; all lots of an accepted order say the same."""
    return next((lot.coa.thc_percent for lot in order.materials if lot.kind == PRODUCT and lot.coa), None)


def _of_recipe(order: Order, recipe: Recipe) -> Iterator[str]:
    name, _, version = order.recipe.partition("@")
    if name != recipe.id:
        yield f"it asks for recipe {name!r}, this is {recipe.id!r}"
    if version and version != recipe.version:
        yield f"it asks for version {version!r} of recipe {recipe.id!r}, the line has {recipe.version!r}"
    if order.sku != recipe.sku:
        yield f"SKU {order.sku!r} is not made by recipe {recipe.id}@{recipe.version}, which makes {recipe.sku!r}"


def _of_uids(order: Order) -> Iterator[str]:
    ends = [("first unit's UID", order.uids.first), ("last unit's UID", order.uids.last)] if order.uids else []
    named = [
        ("package UID", order.uid),
        *ends,
        *((f"UID of {lot.kind} lot {lot.lot}", lot.uid) for lot in order.materials),
    ]
    for what, uid in named:
        if not _UID.fullmatch(uid):
            yield f"{what} {uid!r} is not a UID: 24 characters, 0-9 and A-Z"
    if order.uids is not None:
        yield from _of_range(order, order.uids)
    once = [uid for what, uid in named if what != "last unit's UID"]
    for uid, count in Counter(once).items():
        if count > 1:
            yield f"UID {uid!r} stands {count} times in the order; a tag is used once"


def _of_range(order: Order, uids: UidRange) -> Iterator[str]:
    """A range counts up, and has a UID for each unit ordered."""
    first, last = serial(uids.first), serial(uids.last)
    if first is None or last is None or first[0] != last[0] or last[1] < first[1]:
        yield f"UIDs {uids.first} to {uids.last} are no range: the same beginning, then a number that counts up"
    elif last[1] - first[1] + 1 < order.quantity:
        yield f"UIDs {uids.first} to {uids.last} are {last[1] - first[1] + 1}, for {order.quantity} units"


def refuse_used(order: Order, others: Iterable[Order]) -> None:
    """A tag is used once, over all batches.  Raises Refused `order_refused`.  `others`: orders whose UIDs are spent."""
    mine = _spans(order)
    for other in others:
        for (what, first, last), (whose, low, high) in itertools.product(mine, _spans(other)):
            if _meet(first, last, low, high):
                text = f"{what} of order {order.order} was used: {whose} of batch {other.batch}; a tag is used once"
                raise Refused("order_refused", text, problems=[text])


def _spans(order: Order) -> list[tuple[str, str, str]]:
    """(what, first, last) of the UIDs that stand on its labels."""
    spans = [(f"the package UID {order.uid}", order.uid, order.uid)]
    if order.uids is not None:
        first, last = order.uids.first, order.uids.last
        spans.append((f"a UID of {first} to {last}", first, last))
    return spans


def _meet(first: str, last: str, low: str, high: str) -> bool:
    a, b, c, d = (serial(each) for each in (first, last, low, high))
    if a is None or b is None or c is None or d is None:
        return first == low
    return a[0] == c[0] and a[1] <= d[1] and c[1] <= b[1]


def _of_materials(order: Order, recipe: Recipe, today: date) -> Iterator[str]:
    brought = {lot.kind for lot in order.materials}
    for kind in recipe.materials:
        if kind not in brought:
            yield f"no lot of {kind}; the recipe needs {', '.join(recipe.materials)}"
    for lot in order.materials:
        if lot.quantity <= 0:
            yield f"{lot.kind} lot {lot.lot} has quantity {lot.quantity} {lot.unit}"
        if lot.expires is not None and lot.expires < today:
            yield f"{lot.kind} lot {lot.lot} expired on {lot.expires}"
        if lot.coa is not None:
            yield from _of_certificate(lot, lot.coa, today)


def _of_certificate(lot: Material, coa: Coa, today: date) -> Iterator[str]:
    if not coa.passed:
        yield f"COA {coa.id} of {lot.kind} lot {lot.lot} says failed"
    if not 0 <= coa.thc_percent <= 100:
        yield f"COA {coa.id} states THC {coa.thc_percent} %, which is not a percentage"
    if coa.issued > today:
        yield f"COA {coa.id} is dated {coa.issued}, after today ({today})"
    if coa.lot is not None and coa.lot != lot.lot:
        yield f"COA {coa.id} is of lot {coa.lot}, not of {lot.kind} lot {lot.lot}"
    if coa.expires is not None and coa.expires < today:
        yield f"COA {coa.id} of {lot.kind} lot {lot.lot} expired on {coa.expires}"


def _of_coa(order: Order) -> Iterator[str]:
    lots = [lot for lot in order.materials if lot.kind == PRODUCT]
    for lot in lots:
        if lot.coa is None:
            yield f"{lot.kind} lot {lot.lot} has no COA; the label's THC comes from it"
    known = {(lot.coa.id, lot.coa.lab): lot.coa for lot in lots if lot.coa}
    for lot in lots:
        if lot.coa is not None and lot.coa != known[lot.coa.id, lot.coa.lab]:
            yield f"COA {lot.coa.id} stands in the order twice, and says two things"
    stated = {lot.coa.thc_percent for lot in lots if lot.coa}
    if len(stated) > 1:
        both = ", ".join(f"{thc} %" for thc in sorted(stated))
        yield f"the COAs of its {PRODUCT} lots state different THC ({both}), but a batch has one label"
