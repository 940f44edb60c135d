"""What rules share: finding a tag, telling a number from nothing, limits in the tag's own unit, words for people."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Final

import msgspec

from gateway.model import Quality, Scan, TagSet, TagSpec, Value
from gateway.recipe import Window
from gateway.rules.base import RuleContext
from gateway.units import linear

Number = float | Decimal
"""Decimal for tags that bring decimals as text, float for all others."""

S_NS: Final = 1_000_000_000
_SIMPLE: Final = 10_000_000
_SILENT_UNITS: Final = frozenset({"1", "{count}", ""})


def locate(context: RuleContext, name: str) -> tuple[TagSet, int]:
    """`reservoir/temperature` -> its tag set and position.  ValueError if there is no such tag."""
    device, slash, tag = name.partition("/")
    if not slash or not tag:
        raise ValueError(f"{name!r} names no tag; write device/tag")
    tagset = context.tagsets.get(device)
    if tagset is None:
        raise ValueError(f"there is no device {device!r}; known: {', '.join(sorted(context.tagsets)) or 'none'}")
    if tag not in tagset.index:
        raise ValueError(f"device {device} has no tag {tag!r}; it has: {', '.join(tagset.tags)}")
    return tagset, tagset.index[tag]


def unusable(scan: Scan, position: int, *, strict: bool = False) -> str | None:
    """Why the value at this position is no finite number; None if it is one.

    Uncertain counts as good unless strict.  NaN, inf, None and text are bad whatever the quality says.
    """
    fault = scan.faults.get(position)
    if fault is not None and (strict or fault.quality is Quality.BAD):
        return fault.reason
    value = scan.values[position]
    if isinstance(value, Decimal):
        return None if value.is_finite() else "not a finite number"
    if isinstance(value, (int, float)):
        return None if isfinite(value) else "not a finite number"
    return "no value" if value is None else f"{value!r} is not a number"


def is_good(scan: Scan, position: int) -> bool:
    """Good, and something."""
    return position not in scan.faults and scan.values[position] is not None


class Bounds(msgspec.Struct, frozen=True):
    """A window in the unit and the kind of number of the tag it judges."""

    unit: str
    target: Number | None = None
    low: Number | None = None
    high: Number | None = None
    warn_low: Number | None = None
    warn_high: Number | None = None


def bounds(window: Window, spec: TagSpec) -> Bounds:
    """The window as the tag speaks.  ValueError if the units do not convert or the tag is no number."""
    if spec.kind in {"text", "bool"}:
        raise ValueError(f"{spec.name} is {spec.kind}; limits need a number")
    ends = (window.target, window.low, window.high, window.warn_low, window.warn_high)
    return Bounds(spec.unit, *(None if end is None else _as_tag(end, window.unit, spec) for end in ends))


def difference(value: Decimal, unit: str, spec: TagSpec) -> Number:
    """A deadband or tolerance, as the tag speaks: scaled, never shifted."""
    zero = convert(Decimal(0), unit, spec.unit)
    scaled = convert(value, unit, spec.unit) - zero
    return scaled if spec.kind == "decimal" else float(scaled)


def convert(value: Decimal, source: str, target: str) -> Decimal:
    """In exact fractions: 136.4 degF is 58 Cel and no hair less.  ValueError if the units do not convert."""
    if source == target:
        return value
    # factors are simple fractions by definition, their floats are not: 5/9, 45359237/1600000 (an ounce in grams)
    factor, offset = (Fraction(part).limit_denominator(_SIMPLE) for part in linear(source, target))
    exact = Fraction(value) * factor + offset
    return Decimal(exact.numerator) / Decimal(exact.denominator)


def _as_tag(value: Decimal, unit: str, spec: TagSpec) -> Number:
    converted = convert(value, unit, spec.unit)
    return converted if spec.kind == "decimal" else float(converted)


def measure(value: Value, unit: str = "1") -> str:
    """A value for a sentence: `57.3 Cel`, `1.0120 g`, `'B-17'`, `nothing`."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, float):
        text = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    elif isinstance(value, Decimal):
        text = f"{value:f}"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if unit in _SILENT_UNITS else f"{text} {unit}"


def beyond(value: Value, limit: Number, unit: str, *, above: bool) -> str:
    """`57.3 Cel is below 58 Cel`; with all digits where rounding would hide the difference."""
    said, bound = measure(value, unit), measure(limit, unit)
    if said == bound:
        said = f"{value!r} {unit}" if unit not in _SILENT_UNITS else repr(value)
    return f"{said} is {'above' if above else 'below'} {bound}"


def sentence(what: str, advice: str = "") -> str:
    """What is the matter, and what to do about it where the rule says so."""
    return f"{what}. {advice.rstrip('.')}." if advice else what


def seconds(ns: int) -> str:
    """A time for a sentence."""
    return f"{ns / S_NS:.3g} s"
