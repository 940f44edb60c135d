"""Ohaus: a number, a unit, `?` where it has not settled, a legend, CR LF.  Pure.

        192.21 g                stable             0.01 g ?         unstable
        176.30 g ? 00:00:15     interval print     192.21 g   NET   legend
    -   12.34    g?AC Tare      Navigator's checkweigher: sign, 8 of number, 5 of unit, then ? A/O/U C, B/G Net Tare
    ES                          the balance did not understand; where `es` is `stability`: it did not settle in 40 s
    OK!                         carried out

Field widths differ from model to model.  Sources: Ohaus RS232 interface manual, AS p. 84, NV p. 93, Explorer service
manual p. 79 (40 s).  Unverified: OK!, the answers to PV and PSN, the Err numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Final

from gateway.drivers.wire.weighing import LineCodec, Message, Question, garbage, plain, refusal
from gateway.model import Quality

_UNIT: Final = r"(?P<unit>[A-Za-z%:]{1,5})"
_LINE: Final = re.compile(
    rf" *(?P<sign>[+-]?) *(?P<value>\d{{1,9}}(?:\.\d{{1,8}})?)(?: +{_UNIT})?(?P<unstable> *\?)?"
    r"(?P<legend>(?: +(?:[A-Za-z/]{1,6}|\d\d:\d\d:\d\d))*) *"
)
_NAVIGATOR: Final = re.compile(
    rf"(?P<sign>[ +-]) *(?P<value>\d{{1,8}}(?:\.\d{{1,7}})?) *{_UNIT} *(?P<unstable>[ ?])"
    r"(?P<legend>[AOU ][C ] ?(?:B/G|G|Net|Tare|NET) *)"
)
_ERROR: Final = re.compile(r"Err(?:or)? ?([0-9.]{1,6})")
_ERRORS: Final = {"8.3": "overload", "8.4": "underload"}
_LIKE: Final = re.compile(r" *[+-]? *\d+[. ]|.*\?")
"""What begins with a number is a weight or garbage, never a name."""
_TEXTS: Final = frozenset({"text", "digits"})
_ES: Final = {
    "syntax": "ES: the balance did not understand the command",
    "stability": "ES: the balance did not settle in time (40 s on an Explorer)",
}


class Ohaus(LineCodec):
    """One conversation with a balance.  `es`: what ES means, `syntax` or `stability`."""

    weights = frozenset({"weight"})
    weigh = Question(b"IP\r\n", frozenset({"weight", "text", "digits", ""}))
    identity: Final = {"serial": Question(b"PSN\r\n", _TEXTS), "software": Question(b"PV\r\n", _TEXTS)}
    always_introduces = False
    stream = b"CP\r\n"
    stop = b"0P\r\n"
    tare = Question(b"T\r\n")
    zero = Question(b"Z\r\n")
    acknowledgements = frozenset({"OK"})

    def __init__(self, es: str = "syntax", column: int = 0) -> None:
        super().__init__(partial(parse, es=es), column)


def parse(raw: bytes, es: str = "syntax") -> Message:
    """One ASCII line without its end.  Never raises: what cannot be read comes back bad, with its bytes."""
    line = raw.decode("ascii", "replace")
    if line.strip() == "ES":
        return refusal(raw, _ES[es])
    if line.strip() == "OK!":
        return Message(raw, id="OK")
    if found := _ERROR.fullmatch(line.strip()):
        known = _ERRORS.get(found[1], "the balance shows an error")
        return Message(raw, id="weight", quality=Quality.BAD, reason=f"{known} ({found[0]})")
    if found := _navigator(line) or _LINE.fullmatch(line):
        return _weight(raw, line, found)
    return garbage(raw, "not a line of Ohaus") if _LIKE.match(line) else plain(raw, line)


def _navigator(line: str) -> re.Match[str] | None:
    """The checkweigher's fixed columns: number ends at 9, unit at 14."""
    found = _NAVIGATOR.fullmatch(line)
    return found if found and found.end("value") == 9 and found.start("unstable") == 14 else None


def _weight(raw: bytes, line: str, found: re.Match[str]) -> Message:
    if not (found["unit"] or found["sign"].strip() or "." in found["value"]):
        return plain(raw, line)
    settling = "?" in (found["unstable"] or "")
    return Message(
        raw,
        id="weight",
        quality=Quality.UNCERTAIN if settling else Quality.GOOD,
        reason="dynamic: the balance has not settled (?)" if settling else "",
        value=Decimal(found["sign"].strip() + found["value"]),
        unit=found["unit"] or "",
        text=" ".join((found["legend"] or "").split()),
        columns=(found.end("value"), max(0, found.end("unit"))),
    )
