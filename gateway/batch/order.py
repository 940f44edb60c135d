"""An order as the MES sends it, and whether this line may run it.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from pydantic import Field, ValidationError

from gateway.errors import Refused
from gateway.model import Json
from gateway.recipe import Exact, Frozen, Recipe

PRODUCT: Final = "oil"
"""The kind of material that is filled: the one `Yield.oil_per_unit` counts and the label's THC comes from."""

_UID = re.compile(r"[0-9A-Z]{24}")


class Coa(Frozen):
    """A laboratory's certificate of analysis."""

    id: str
    lab: str
    thc_percent: Exact
    passed: bool
    issued: date


class Material(Frozen):
    """A lot the order brings: oil, cartridge, label."""

    kind: str
    lot: str
    uid: str
    """Seed-to-sale tag: 24 characters, 0-9 and A-Z; there is no public check digit (FACTS 7.5)."""
    quantity: Exact
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
    quantity: int = Field(ge=1)
    """Units."""
    materials: tuple[Material, ...] = ()
    uid: str
    """Package UID printed on the labels: 24 characters."""


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
    named = [("package UID", order.uid), *((f"UID of {lot.kind} lot {lot.lot}", lot.uid) for lot in order.materials)]
    for what, uid in named:
        if not _UID.fullmatch(uid):
            yield f"{what} {uid!r} is not a UID: 24 characters, 0-9 and A-Z"
    for uid, count in Counter(uid for _, uid in named).items():
        if count > 1:
            yield f"UID {uid!r} stands {count} times in the order; a tag is used once"


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


def _of_coa(order: Order) -> Iterator[str]:
    lots = [lot for lot in order.materials if lot.kind == PRODUCT]
    for lot in lots:
        if lot.coa is None:
            yield f"{lot.kind} lot {lot.lot} has no COA; the label's THC comes from it"
    stated = {lot.coa.thc_percent for lot in lots if lot.coa}
    if len(stated) > 1:
        both = ", ".join(f"{thc} %" for thc in sorted(stated))
        yield f"the COAs of its {PRODUCT} lots state different THC ({both}), but a batch has one label"
