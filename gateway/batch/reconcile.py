"""Reconciliation: the equations of a batch, with their inputs and where each came from.  Exact, pure.

21 CFR 211.125(c) (labels), 211.103 and 211.186(b)(7) (yield), 211.188(b)(7).  Nothing is computed from itself: what
stands left of an equation and what stands right of it were counted by different eyes.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import msgspec

from gateway.batch.counts import QUANTITIES, CountEntry, Meter, in_force, total
from gateway.batch.rolls import PREFIX, Roll
from gateway.model import Json
from gateway.recipe import Recipe

ASSUMED: Final = "nobody entered it: taken as 0"
TOO_MANY: Final = "not counted yet, and more went already than were issued"
_HUNDREDTH: Final = Decimal("0.01")
_MILLI: Final = Decimal("0.001")


class Tally(msgspec.Struct, frozen=True):
    """All that was counted of a batch so far."""

    units: Meter = Meter()
    rejects: Meter = Meter()
    labels: Meter = Meter()
    labels_damaged: Meter = Meter()
    weight_sum_g: Decimal = Decimal(0)
    """Of the judged check weighings of the fill."""
    weight_n: int = 0
    entries: tuple[CountEntry, ...] = ()
    rolls: tuple[Roll, ...] = ()


class Input(msgspec.Struct, frozen=True):
    """One number of an equation; `value` is None where it is missing."""

    name: str
    value: Decimal | None
    unit: str
    source: str


class Equation(msgspec.Struct, frozen=True):
    """An equation with its inputs and its result.  Percent is of the left side; for the yield, actual of theory."""

    name: str
    text: str
    unit: str
    left: Decimal | None
    right: Decimal | None
    difference: Decimal | None
    percent: Decimal | None
    limit: str
    ok: bool
    """Within its limit.  False too where an input is missing."""
    inputs: tuple[Input, ...]
    missing: tuple[str, ...] = ()


def equations(tally: Tally, recipe: Recipe) -> tuple[Equation, ...]:
    """Labels (if the product has one), units, oil and yield."""
    labels = (_labels(tally, recipe), *by_roll(tally, recipe)) if recipe.label is not None else ()
    return (*labels, _units(tally, recipe), _oil(tally, recipe), _yield(tally, recipe))


def good_units(tally: Tally) -> Input:
    """Finished units: a person's count; without one, the labels applied, as every good unit carries one."""
    if total(tally.entries, "units_good") is not None:
        return _entered(tally, "units_good")
    return _metered("good", tally.labels, "labeller, labels applied: one on every good unit")


def outcome(tally: Tally, recipe: Recipe) -> dict[str, Json]:
    """What the MES is told: units, yield and waste.  Decimal strings; None where it is not known."""
    good, rejected = good_units(tally), _rejected(tally)
    oil = _yield(tally, recipe)
    waste = [entry for entry in in_force(tally.entries) if entry.quantity in _WASTE]
    return {
        "units_filled": str(tally.units.total),
        "units_good": _text(good.value),
        "units_good_source": good.source,
        "units_rejected": str(sum(each.value or 0 for each in rejected)),
        "yield": {
            "actual": _text(oil.left),
            "theoretical": _text(oil.right),
            "percent": _text(oil.percent),
            "limit": oil.limit,
            "unit": "{count}",
            "ok": oil.ok,
        },
        "waste": [
            {"quantity": each.quantity, "value": str(each.value), "unit": each.unit, "comment": each.comment}
            for each in waste
        ],
    }


def used(tally: Tally, kind: str, recipe: Recipe) -> tuple[Decimal | None, str, str]:
    """(quantity, unit, how it is known) of a kind of material that the batch consumed."""
    if kind == "oil":
        charged, remaining = total(tally.entries, "oil_charged"), total(tally.entries, "oil_remaining")
        if charged is not None and remaining is not None:
            return charged - remaining, "g", "charged less remaining"
        return _filled_mass(tally, recipe).value, "g", _filled_mass(tally, recipe).source
    if kind == "label":
        spent = [_metered("applied", tally.labels, "").value, *(each.value for each in _spoilt_labels(tally))]
        known = [value for value in spent if value is not None]
        return (sum(known, Decimal(0)) if known else None), "{count}", "applied, damaged, samples and destroyed"
    return Decimal(tally.units.total), "{count}", "one for each unit filled"


def mean_weight(tally: Tally) -> Decimal | None:
    """Mean of the judged check weighings, grams; None before the first."""
    return tally.weight_sum_g / tally.weight_n if tally.weight_n else None


_WASTE: Final = ("labels_damaged", "labels_destroyed", "oil_waste", "units_rejected", "units_destroyed")


def _labels(tally: Tally, recipe: Recipe) -> Equation:
    issued = _entered(tally, "labels_issued", needed=True)
    applied = _metered("applied", tally.labels, "labeller, labels applied")
    parts = (applied, *_spoilt_labels(tally), _entered(tally, "labels_returned"))
    text = "issued = applied + damaged + samples + destroyed + returned"
    return _balance("labels", text, issued, parts, recipe.reconcile.labels_percent)


def by_roll(tally: Tally, recipe: Recipe) -> tuple[Equation, ...]:
    """The same for each roll."""
    return tuple(_roll(tally, roll, recipe.reconcile.labels_percent) for roll in tally.rolls)


def _roll(tally: Tally, roll: Roll, limit: Decimal) -> Equation:
    """What was returned of a roll must be said: only then is its count whole.

    One that brought more labels than it had is wrong whatever comes back of it: labels nobody issued are on the line.
    """
    standing = in_force(tally.entries)  # of all: a correction may have moved a count to another roll
    mine = msgspec.structs.replace(tally, entries=tuple(one for one in standing if one.roll == roll.id))
    when = "while it was on the applicator"
    applied = Input("applied", Decimal(roll.applied(tally.labels.total)), "{count}", f"labeller, labels applied {when}")
    spoilt = Input(
        "damaged by the labeller", Decimal(roll.damaged(tally.labels_damaged.total)), "{count}", f"labeller, {when}"
    )
    parts: tuple[Input, ...] = (applied if tally.labels.known else Input("applied", None, "{count}", "never seen"),)
    parts += (spoilt,) if tally.labels_damaged.known else ()
    parts += tuple(_entered(mine, f"labels_{part}") for part in ("damaged", "samples", "destroyed"))
    issued, name = _entered(mine, "labels_issued", needed=True), f"{PREFIX}{roll.id}"
    text = "issued = applied + damaged + samples + destroyed + returned"
    so_far = _balance(name, text, issued, (*parts, Input("returned", Decimal(0), "{count}", TOO_MANY)), limit)
    returned = _entered(mine, "labels_returned", needed=True)
    if returned.value is None and so_far.difference is not None and so_far.difference < 0 and not so_far.ok:
        return so_far
    return _balance(name, text, issued, (*parts, returned), limit)


def _spoilt_labels(tally: Tally) -> tuple[Input, ...]:
    by_machine = _metered("damaged by the labeller", tally.labels_damaged, "labeller, labels damaged")
    machine = (by_machine,) if tally.labels_damaged.known else ()
    return (*machine, *(_entered(tally, f"labels_{part}") for part in ("damaged", "samples", "destroyed")))


def _units(tally: Tally, recipe: Recipe) -> Equation:
    filled = _metered("filled", tally.units, "filler, units processed")
    parts = (
        good_units(tally),
        *_rejected(tally),
        _entered(tally, "units_destroyed"),
        _entered(tally, "units_retained"),
    )
    text = "filled = good + rejected + destroyed in tests + retained"
    return _balance("units", text, filled, parts, recipe.reconcile.units_percent)


def _rejected(tally: Tally) -> tuple[Input, ...]:
    machine = (_metered("rejected by the filler", tally.rejects, "filler, units defective"),)
    return (*(machine if tally.rejects.known else ()), _entered(tally, "units_rejected"))


def _oil(tally: Tally, recipe: Recipe) -> Equation:
    charged = _entered(tally, "oil_charged", needed=True)
    parts = (_filled_mass(tally, recipe), _entered(tally, "oil_remaining", needed=True), _entered(tally, "oil_waste"))
    text = "charged = filled (units x mean check weight) + remaining + waste"
    return _balance("oil", text, charged, parts, recipe.reconcile.oil_percent)


def _filled_mass(tally: Tally, recipe: Recipe) -> Input:
    mean = mean_weight(tally)
    if mean is None:
        mean, source = recipe.yields.oil_per_unit, "the recipe's target, as no check weighed one"
    else:
        source = f"the mean of {tally.weight_n} check weighings, an estimate"
    mass = (tally.units.total * mean).quantize(_MILLI, ROUND_HALF_EVEN)
    shown = mean.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    return Input("filled", mass, "g", f"{tally.units.total} units x {shown} g, {source}")


def _yield(tally: Tally, recipe: Recipe) -> Equation:
    good = good_units(tally)
    charged = _entered(tally, "oil_charged", needed=True)
    remaining = _entered(tally, "oil_remaining", needed=True)
    bounds = recipe.yields
    each = Input("oil per unit", bounds.oil_per_unit, "g", f"recipe {recipe.id}@{recipe.version}")
    inputs = (good, charged, remaining, each)
    missing = tuple(one.name for one in inputs if one.value is None or (one is each and one.value <= 0))
    limit = f"{bounds.min_percent} % to {bounds.max_percent} % of theory"
    text = "good units against (charged - remaining) / oil per unit"
    if missing or good.value is None or charged.value is None or remaining.value is None:
        return Equation(
            "yield", text, "{count}", good.value, None, None, None, limit, ok=False, inputs=inputs, missing=missing
        )
    theory = (charged.value - remaining.value) / bounds.oil_per_unit
    share = good.value / theory * 100 if theory > 0 else None
    return Equation(
        name="yield",
        text=text,
        unit="{count}",
        left=good.value,
        right=theory.quantize(_HUNDREDTH, ROUND_HALF_EVEN),
        difference=(good.value - theory).quantize(_HUNDREDTH, ROUND_HALF_EVEN),
        percent=None if share is None else share.quantize(_HUNDREDTH, ROUND_HALF_EVEN),
        limit=limit,
        ok=share is not None and bounds.min_percent <= share <= bounds.max_percent,
        inputs=inputs,
    )


def _balance(name: str, text: str, left: Input, parts: tuple[Input, ...], limit_percent: Decimal) -> Equation:
    missing = tuple(one.name for one in (left, *parts) if one.value is None)
    limit = f"within {limit_percent} % of {left.name}"
    inputs = (left, *parts)
    if missing or left.value is None:
        return Equation(
            name, text, left.unit, left.value, None, None, None, limit, ok=False, inputs=inputs, missing=missing
        )
    right = sum((one.value for one in parts if one.value is not None), Decimal(0))
    difference = left.value - right
    within = abs(difference) * 100 <= limit_percent * abs(left.value)
    percent = (difference / left.value * 100).quantize(_HUNDREDTH, ROUND_HALF_EVEN) if left.value else None
    return Equation(name, text, left.unit, left.value, right, difference, percent, limit, ok=within, inputs=inputs)


def _entered(tally: Tally, quantity: str, *, needed: bool = False) -> Input:
    name = quantity.partition("_")[2]
    unit = QUANTITIES[quantity].unit
    standing = [entry for entry in in_force(tally.entries) if entry.quantity == quantity]
    if not standing:
        return Input(name, None, unit, "not entered") if needed else Input(name, Decimal(0), unit, ASSUMED)
    people = ", ".join(dict.fromkeys(entry.full_name or entry.person for entry in standing))
    return Input(name, total(tally.entries, quantity), unit, f"entered by {people}")


def _metered(name: str, meter: Meter, source: str) -> Input:
    if not meter.known:
        return Input(name, None, "{count}", f"{source}: never seen")
    doubts = (", first seen after the start" if meter.late else "") + (", counter restarted" if meter.resets else "")
    return Input(name, Decimal(meter.total), "{count}", source + doubts)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
