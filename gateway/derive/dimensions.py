"""UCUM unit codes as pint reads them: what an expression computes in, and how tags get there and back.

Expressions compute in SI base units, so that grams never meet kilograms unseen.  A difference of temperatures is in K;
Cel and [degF] are points on a scale.  Source: UCUM 2.1 case-sensitive codes; annotations in braces count as 1.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from gateway.units import UNITS, code_of

_TOKEN: Final = re.compile(r"([A-Za-z%\[\]_]+|\{[^}]*\}|1)(-?\d+)?")
_NAMES: Final = {
    "%": "percent",
    "[degF]": "degF",
    "[oz_av]": "ounce",
    "[lb_av]": "pound",
    "[psi]": "psi",
    "1": "dimensionless",
    "Cel": "degC",
    "K": "kelvin",
    "L": "liter",
    "N": "newton",
    "P": "poise",
    "St": "stokes",
    "bar": "bar",
    "cP": "centipoise",
    "cSt": "centistokes",
    "d": "day",
    "h": "hour",
    "mL": "milliliter",
    "min": "minute",
}
_STEPS: Final = {"degC": "kelvin", "degF": "delta_degF"}
"""In a compound a point on a scale makes no sense: Cel/min is so many kelvin a minute."""


def pint_text(ucum: str) -> str:
    """`mPa.s` -> `mPa**1 * s**1`.  ValueError: not a code this reads."""
    if ucum in ("", "1"):
        return "dimensionless"
    parts, at, sign = [], 0, 1
    text = ucum.replace("10*", "")
    if text.startswith("/"):
        at, sign = 1, -1
    alone = not set(text) & set("./")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{ucum!r} is not a unit I can compute with (at {text[at:]!r})")
        parts.append(_part(match, sign, alone=alone and match.end() == len(text)))
        at = match.end()
        if at < len(text):
            sign = _sign(text[at], ucum)
            at += 1
            if at == len(text):
                raise ValueError(f"{ucum!r} is not a unit I can compute with: nothing follows {text[-1]!r}")
    return " * ".join(parts)


def _sign(mark: str, ucum: str) -> int:
    if mark not in "./":
        raise ValueError(f"{ucum!r} is not a unit I can compute with: {mark!r} joins nothing")
    return -1 if mark == "/" else 1


def _part(match: re.Match[str], sign: int, *, alone: bool) -> str:
    name = "dimensionless" if match[1].startswith("{") else _NAMES.get(match[1], match[1])
    power = int(match[2] or 1) * sign
    if alone and power == 1:
        return name
    return f"{_STEPS.get(name, name)}**{power}"


@cache
def registry() -> Any:
    """Pint's registry, made when first needed: a line without expressions does not pay for it."""
    import pint  # noqa: PLC0415  # half a second

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True, cache_folder=None)


def quantity(value: float, ucum: str) -> Any:
    """A pint quantity in SI base units.  ValueError: no such unit."""
    text = _checked(ucum)
    try:
        return registry().Quantity(value, text).to_base_units()
    except (AttributeError, TypeError) as error:  # pint's own error for an unknown unit is an AttributeError
        raise ValueError(f"{ucum!r} is not a unit I can compute with: {error}") from None


_TURNS: Final = re.compile(r"rpm|rps|revolution|turn|cycle")
"""Pint's words for 2 pi: no UCUM codes, and beside a count a minute wrong by that."""


@cache
def _checked(ucum: str) -> str:
    """As pint reads it.  ValueError: no UCUM code, but a word of pint's own with a zero or a factor of its own."""
    text = pint_text(ucum)
    if ucum in UNITS:
        return text
    try:
        zero = registry().Quantity(0.0, text).to_base_units().magnitude
    except (AttributeError, TypeError):  # no unit at all: said where it is used
        return text
    if zero or _TURNS.search(ucum):
        meant = code_of(ucum)
        raise ValueError(f"{ucum!r} is no UCUM code{f'; write {meant}' if meant else ''}")
    return text


_BASE_SI: Final = {
    "number": 1.0,
    "temperature": 1.0,
    "mass": 1e-3,
    "dynamic viscosity": 1e-3,
    "kinematic viscosity": 1e-6,
    "density": 1e3,
    "length": 1e-3,
    "volume": 1e-6,
    "time": 1.0,
    "rate of a temperature": 1.0,
    "flow": 1e-6 / 60,
    "rate": 1 / 60,
    "torque": 1.0,
    "pressure": 1.0,
    "voltage": 1.0,
    "current": 1.0,
}
"""Dimension of `gateway.units` -> its base unit in SI.  A line that needs no more never loads pint."""


@cache
def to_si(ucum: str) -> tuple[float, float]:
    """(factor, offset): si = value * factor + offset.  ValueError: no such unit."""
    if ucum in UNITS:
        what, factor, offset = UNITS[ucum]
        return factor * _BASE_SI[what], offset * _BASE_SI[what]
    zero, one = (float(quantity(value, ucum).magnitude) for value in (0.0, 1.0))
    return one - zero, zero


def alike(one: str, other: str) -> bool:
    """Do they measure the same?  ValueError: no such unit."""
    if one in UNITS and other in UNITS:
        return UNITS[one][0] == UNITS[other][0]
    return bool(dimension(one) == dimension(other))


def dimension(ucum: str) -> Any:
    """What pint calls its dimensionality."""
    return quantity(1.0, ucum).dimensionality


def said(dimensionality: Any) -> str:
    """A dimensionality for people: `[mass] / [length] / [time]`, `no unit`."""
    return str(dimensionality) if dimensionality else "no unit"
