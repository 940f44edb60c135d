"""Sartorius SBI: lines of fixed columns, without any id.  Pure.

    +   123.56 g                sign, blank, value in 8, blank, unit in 3          16 characters with CR LF
    N     +   123.56 g          6 characters before it say what it is              22 characters with CR LF
    +   123.56                  no unit: not settled
    +   123.5[6]g               a digit in brackets is not verified (e is not d)
    Stat        High            a status instead of a weight: High, Low, Cal.Int., ERR 54

Commands are ESC and a letter, or ESC, letter, digit, underscore.  Only ESC P and ESC x1_ .. x3_ are answered; tare and
zero are silent.  Sources: Sartorius GC803S p. 57, WZA224-LC p. 24, Master series p. 79 (lines); Cubis MSE p. 71
(commands).  Unverified: how the identity's answers are padded.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.drivers.wire.weighing import LineCodec, Message, Question, garbage, plain
from gateway.model import Quality

_ESC: Final = b"\x1b"
_LINE: Final = re.compile(
    r"(?P<id>[A-Za-z][A-Za-z0-9#./ ]{5})?(?P<sign>[+\- ])[ \[](?P<value>.{8})(?P<close>[ \]])(?P<unit>[A-Za-z%/ ]{3})"
)
_VALUE: Final = re.compile(r" *(\d{1,8}(?:\.\d{0,7})?)(?:\[(\d))?")
_LIKE: Final = re.compile(r" *[+-]| +\d+\.\d|.*[\[\]]|.* [+-] +\d")
"""What has a signed or indented decimal number is a weight or garbage: never a name."""
_STATUS: Final = re.compile(
    r"(?:Stat +)?(High|Low|H|L|OFF|Cal\.?(?:Int|Ext)?\.?|(?:Err|ERR)[. ]+[A-Za-z0-9.]{1,8}|(?:APP|DIS|PRT)\.ERR)"
)
_WORDS: Final = {
    "High": "overload",
    "H": "overload",
    "Low": "underload",
    "L": "underload",
    "OFF": "switched off",
    "APP.ERR": "application error",
    "DIS.ERR": "display error",
    "PRT.ERR": "print error",
}
_TEXTS: Final = frozenset({"text", "digits"})


class Sbi(LineCodec):
    """One conversation with a balance."""

    weights = frozenset({"weight"})
    weigh = Question(_ESC + b"P\r\n", frozenset({"weight", "text", "digits", ""}))
    identity: Final = {"model": Question(_ESC + b"x1_\r\n", _TEXTS), "serial": Question(_ESC + b"x2_\r\n", _TEXTS)}
    always_introduces = False  # older families know ESC P and no more
    stream = b""  # set in the balance's menu: print automatically
    stop = b""
    tare = Question(_ESC + b"U\r\n")
    zero = Question(_ESC + b"V\r\n")
    acknowledgements = frozenset[str]()

    def __init__(self) -> None:
        super().__init__(parse)


def parse(raw: bytes) -> Message:
    """One ASCII line without its end.  Never raises: what cannot be read comes back bad, with its bytes."""
    line = raw.decode("ascii", "replace")
    if found := _STATUS.fullmatch(line.strip()):
        return Message(raw, id="weight", quality=Quality.BAD, reason=_status(found[1]))
    found = _LINE.fullmatch(line)
    number = _VALUE.fullmatch(found["value"]) if found else None
    if found and number:
        return _weight(raw, found, number)
    return garbage(raw, "not a line of SBI") if _LIKE.match(line) else plain(raw, line)


def _weight(raw: bytes, found: re.Match[str], number: re.Match[str]) -> Message:
    """The unit is what says that the balance has settled; the columns themselves are checked already."""
    unit = found["unit"].strip()
    return Message(
        raw,
        id="weight",
        quality=Quality.GOOD if unit else Quality.UNCERTAIN,
        reason="" if unit else "dynamic: no unit, so the balance has not settled",
        value=Decimal(found["sign"].strip() + number[1] + (number[2] or "")),
        unit=unit,
        text=(found["id"] or "").strip(),
        unverified=1 if number[2] or found["close"] == "]" else 0,
    )


def _status(word: str) -> str:
    if word in _WORDS:
        return f"{_WORDS[word]} ({word})"
    if word.startswith("Cal"):
        return f"busy: the balance is being adjusted ({word})"
    return f"error: the balance shows {word}"
