"""GS1 element strings: what a code on a lot or a package says of itself.  Pure.

    01 09521234543213 17 261130 10 ABC123<GS> 21 12345        as a reader sends it, <GS> is 1D hex
    (01)09521234543213(17)261130(10)ABC123(21)12345           as it is printed beside the code

An application identifier has two to four digits; some stand before data of a fixed length, the others end at <GS> or at
the end.  Source: GS1 General Specifications, sections 3 (identifiers), 7.8 (predefined lengths), 7.9 (check digit).
"""

from __future__ import annotations

import re
from calendar import monthrange
from typing import Final

GS: Final = "\x1d"
GTIN, LOT, EXPIRY, SERIAL = "01", "10", "17", "21"

_FIXED: Final = {
    **dict.fromkeys(("11", "12", "13", "14", "15", "16", "17", "18", "19"), 6),
    **dict.fromkeys(("31", "32", "33", "34", "35", "36"), 6),
    "00": 18,
    "01": 14,
    "02": 14,
    "03": 14,
    "04": 16,
    "20": 2,
    "41": 13,
}
"""First two digits of an identifier -> characters of its data, where no separator is needed."""
_DIGITS: Final = {
    **{f"{number:02}": 2 for number in (*range(5), *range(10, 23), 30, 37, *range(90, 100))},
    **dict.fromkeys(("23", "24", "25", "40", "41", "42", "71"), 3),
    **dict.fromkeys(("31", "32", "33", "34", "35", "36", "39", "43", "70", "72", "80", "81", "82"), 4),
}
"""First two digits -> digits of the identifier."""
_MOST: Final = {"10": 20, "21": 20, "22": 20, "30": 8, "37": 8, "90": 30}
_LONGEST: Final = 90
_CHECKED: Final = frozenset({"00", "01", "02"})
_PRINTED: Final = re.compile(r"\((\d{2,4})\)([^()]*)")


class Gs1Error(ValueError):
    """Not an element string; the text says where it goes wrong."""


def elements(text: str) -> dict[str, str]:
    """Identifier -> data, in their order.  Gs1Error for anything that is not wholly understood."""
    text = text.removeprefix(GS)
    if not text:
        raise Gs1Error("is empty")
    found = _printed(text) if text.startswith("(") else _sent(text)
    for name, data in found.items():
        _check(name, data)
    return found


def iso_date(data: str) -> str:
    """YYMMDD as 2026-11-30; day 00 is the last of the month.  Years are 2000 to 2099.  Gs1Error where it is no date."""
    if len(data) != 6 or not _digits(data):
        raise Gs1Error(f"{data!r} is not a date YYMMDD")
    year, month, day = 2000 + int(data[:2]), int(data[2:4]), int(data[4:])
    if not 1 <= month <= 12:
        raise Gs1Error(f"{data!r} has no month {month}")
    last = monthrange(year, month)[1]
    if day > last:
        raise Gs1Error(f"{data!r} has no day {day}")
    return f"{year}-{month:02}-{day or last:02}"


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _sent(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        name = text[at : at + _DIGITS.get(text[at : at + 2], 0)]
        if not _digits(name) or len(name) != _DIGITS.get(name[:2]):
            raise Gs1Error(f"no application identifier at {text[at : at + 4]!r}, character {at + 1}")
        at += len(name)
        fixed = _FIXED.get(name[:2])
        end = text.find(GS, at)
        end = len(text) if end < 0 else end
        if fixed is not None:
            end = min(end, at + fixed)
        _add(found, name, text[at:end])
        at = end + 1 if text[end : end + 1] == GS else end
    return found


def _printed(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        element = _PRINTED.match(text, at)
        if element is None:
            raise Gs1Error(f"no (identifier) at {text[at : at + 6]!r}, character {at + 1}")
        _add(found, element[1], element[2])
        at = element.end()
    return found


def _add(found: dict[str, str], name: str, data: str) -> None:
    if found.get(name, data) != data:
        raise Gs1Error(f"({name}) stands there twice and says {found[name]!r} and {data!r}")
    found[name] = data


def _check(name: str, data: str) -> None:
    if len(name) != _DIGITS.get(name[:2]):
        raise Gs1Error(f"({name}) is not an application identifier")
    fixed = _FIXED.get(name[:2])
    if fixed is not None and (len(data) != fixed or not _digits(data)):
        raise Gs1Error(f"({name}) has {fixed} digits, not {data!r}")
    if not 1 <= len(data) <= _MOST.get(name, _LONGEST):
        raise Gs1Error(f"({name}) has 1 to {_MOST.get(name, _LONGEST)} characters, not {len(data)}")
    if name in _CHECKED and check_digit(data[:-1]) != int(data[-1]):
        raise Gs1Error(f"({name}) {data} has a wrong check digit; {check_digit(data[:-1])} would be right")


def check_digit(digits: str) -> int:
    """Weights 3 and 1 from the right; what is missing to the next ten."""
    total = sum(int(digit) * (3 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(digits)))
    return -total % 10
