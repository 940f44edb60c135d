"""Values, times and durations as the report's page says them.  Pure."""

from __future__ import annotations

from typing import Any, Final

from gateway.batch.records import clock, lasted
from gateway.model import Json

UNITS: Final = {"Cel": "°C", "mPa.s": "mPa·s", "{count}": "", "1": "", "g/cm3": "g/cm³"}
Row = dict[str, Any]
NONE: Final = "\N{EM DASH}"
"""What stands where nothing is."""
_SUSPECTS: Final = ". Suspect since the last good check"
"""Begins what a check's verdict adds to what it found (gateway/rules/outcomes.py); trays have their own table."""


def tells(text: str) -> bool:
    """Is there a word in it?  Blanks, dots and characters that nobody sees give no reason."""
    return any(each.isalnum() for each in text)


def unit(code: str) -> str:
    """A UCUM code as people write it."""
    return UNITS.get(code, code)


def amount(value: Json, code: str) -> str:
    """A value with its unit; a dash where there is none."""
    return NONE if value is None else f"{value} {unit(code)}".strip()


def stamp(value: Json) -> str:
    """A nanosecond string as the time of day, UTC."""
    return NONE if value is None else clock(int(value))


def precise(value: int | None) -> str:
    """A stamp to a tenth of a millisecond."""
    return NONE if value is None else f"{clock(value)[:8]}.{value % 1_000_000_000 // 100_000:04d}"


def took(duration_ns: int | None) -> str:
    return NONE if duration_ns is None else lasted(duration_ns)


def found(text: str) -> str:
    """What a verdict found, without the trays it suspects and what it asks people to do."""
    return text.partition(_SUSPECTS)[0]


def without(prefix: str, text: str) -> str:
    """A text that need not say again what stands beside it."""
    return text.removeprefix(f"{prefix}: ")
