"""Durations and UCUM units, as configuration writes them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainSerializer

_SCALE_S: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*$")


def duration_s(text: object) -> float:
    """`500ms`, `5s`, `15min`, `2h`, `7d` -> seconds.  A bare number is refused: it names no unit."""
    if type(text) is float:  # already seconds: a default, or set from code; YAML's own numbers are a subclass
        return text
    match = _DURATION.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a duration; write a number with ms, s, min, h or d, like 500ms")
    return float(match[1]) * _SCALE_S[match[2]]


def duration_text(seconds: float) -> str:
    """Seconds -> the shortest way to write them."""
    for unit in ("d", "h", "min", "s"):
        if seconds >= _SCALE_S[unit] and seconds % _SCALE_S[unit] == 0:
            return f"{seconds / _SCALE_S[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms"


_Written = Annotated[str, Field(pattern=_DURATION.pattern)]

Duration = Annotated[
    float,
    BeforeValidator(duration_s, json_schema_input_type=_Written),
    PlainSerializer(duration_text, when_used="json"),
]
"""Seconds in Python, `500ms` in YAML."""

# UCUM code -> (dimension, factor, offset): value_in_base = value * factor + offset
UNITS: Final[dict[str, tuple[str, float, float]]] = {
    "1": ("number", 1.0, 0.0),
    "%": ("number", 0.01, 0.0),
    "{count}": ("number", 1.0, 0.0),
    "K": ("temperature", 1.0, 0.0),
    "Cel": ("temperature", 1.0, 273.15),
    "[degF]": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "kg": ("mass", 1000.0, 0.0),
    "g": ("mass", 1.0, 0.0),
    "mg": ("mass", 1e-3, 0.0),
    "[oz_av]": ("mass", 28.349523125, 0.0),
    "[lb_av]": ("mass", 453.59237, 0.0),
    "mPa.s": ("dynamic viscosity", 1.0, 0.0),
    "cP": ("dynamic viscosity", 1.0, 0.0),
    "Pa.s": ("dynamic viscosity", 1000.0, 0.0),
    "mm2/s": ("kinematic viscosity", 1.0, 0.0),
    "cSt": ("kinematic viscosity", 1.0, 0.0),
    "g/cm3": ("density", 1.0, 0.0),
    "kg/m3": ("density", 1e-3, 0.0),
    "mm": ("length", 1.0, 0.0),
    "um": ("length", 1e-3, 0.0),
    "mL": ("volume", 1.0, 0.0),
    "L": ("volume", 1000.0, 0.0),
    "mL/min": ("flow", 1.0, 0.0),
    "L/h": ("flow", 1000 / 60, 0.0),
    "s": ("time", 1.0, 0.0),
    "ms": ("time", 1e-3, 0.0),
    "min": ("time", 60.0, 0.0),
    "h": ("time", 3600.0, 0.0),
    "d": ("time", 86400.0, 0.0),
    "K/s": ("rate of a temperature", 1.0, 0.0),
    "K/min": ("rate of a temperature", 1 / 60, 0.0),
    "K/h": ("rate of a temperature", 1 / 3600, 0.0),
    "Cel/min": ("rate of a temperature", 1 / 60, 0.0),
    "/min": ("rate", 1.0, 0.0),
    "/s": ("rate", 60.0, 0.0),
    "N.m": ("torque", 1.0, 0.0),
    "bar": ("pressure", 1e5, 0.0),
    "mbar": ("pressure", 100.0, 0.0),
    "kPa": ("pressure", 1000.0, 0.0),
    "Pa": ("pressure", 1.0, 0.0),
    "[psi]": ("pressure", 6894.757293168, 0.0),
    "V": ("voltage", 1.0, 0.0),
    "A": ("current", 1.0, 0.0),
}


_SAID: Final = {
    "Cel": ("c", "degc", "°c", "celsius"),
    "[degF]": ("f", "degf", "°f", "fahrenheit"),
    "{count}": ("pcs", "units", "unit", "count", "pieces"),
    "/min": ("rpm", "1/min", "min-1"),
    "/s": ("hz", "1/s"),
    "cP": ("cps", "cp"),
    "mPa.s": ("mpas", "mpa*s", "mpa·s"),
    "g/cm3": ("g/cc", "g/ml", "g/cm^3"),
    "um": ("µm", "micron"),
    "mL": ("ml",),
    "N.m": ("nm",),
    "[psi]": ("psi",),
    "%": ("percent", "pct"),
}
"""UCUM code -> what people write for it."""


def code_of(said: str) -> str | None:
    """The UCUM code that was probably meant by what somebody wrote; None where nobody can tell."""
    return next((code for code, words in _SAID.items() if said.lower() in {code.lower(), *words}), None)


def _instead(unit: str) -> str:
    """The UCUM code that was probably meant, else all of them."""
    code = code_of(unit)
    return f"; write {code}" if code else f"; known: {', '.join(sorted(UNITS))}"


def known(unit: str) -> str:
    """The unit itself.  ValueError if it has no row above; words for what was probably meant."""
    if unit not in UNITS:
        raise ValueError(f"{unit!r} is not a unit I know{_instead(unit)}")
    return unit


def linear(source: str, target: str) -> tuple[float, float]:
    """(factor, offset) so that target = source * factor + offset.  ValueError if they do not convert.

    What is one and the same needs no conversion, whatever it is: a derived tag may be in mPa.s/K.
    """
    if source == target:
        return 1.0, 0.0
    (dim_a, factor_a, offset_a), (dim_b, factor_b, offset_b) = UNITS[known(source)], UNITS[known(target)]
    if dim_a != dim_b:
        raise ValueError(f"{source} ({dim_a}) does not convert to {target} ({dim_b})")
    return factor_a / factor_b, (offset_a - offset_b) / factor_b
