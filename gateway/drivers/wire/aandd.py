"""A&D: two letters, a comma, nine characters of number, three of unit, CR LF.  Pure.

    ST,+00012.34  g     stable              US,+00012.31  g     unstable
    QT,+00012345 PC     stable count        OL,+999999.9  g     overload; OL,- underload
    ST,OK,+0001.234 kg  with a comparator: LO, OK, HI, --
    AK                  acknowledged        EC,E11              refused, where the balance is set to say so

Sources: A&D EK-L p. 30, EJ-120 p. 26, GC series p. 51.  Unverified: the meanings of the EC codes, the letters of ?ID
and ?SN and how they are answered; an acknowledge may also be the control character 06.  Silent in its menus.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.drivers.wire.weighing import SIGNED, LineCodec, Message, Question, garbage, plain, refusal
from gateway.model import Quality

_LINE: Final = re.compile(
    r"(?P<state>ST|US|QT|OL)(?:,(?P<comparator>LO|OK|HI|--))?,(?P<value>[+-][0-9.]{8})(?P<unit>[A-Za-z% ]{3})"
)
_NUMBER: Final = re.compile(r"[+-]\d{1,8}(?:\.\d{1,7})?")
_LIKE: Final = re.compile(r"(?:ST|US|QT|OL|EC),|.*[+-]\d+\.")
_ERRORS: Final = {
    "E00": "communication error",
    "E01": "the balance does not know the command",
    "E02": "not ready",
    "E03": "timeout between the characters of the command",
    "E04": "too many characters",
    "E06": "wrong form of command",
    "E07": "parameter out of range",
    "E11": "did not settle",
    "E17": "out of range",
    "E20": "adjustment weight too heavy",
    "E21": "adjustment weight too light",
}
_TEXTS: Final = frozenset({"text", "digits"})


class AandD(LineCodec):
    """One conversation with a balance."""

    weights = frozenset({"weight"})
    weigh = Question(b"Q\r\n", frozenset({"weight", "text", "digits", ""}))
    identity: Final = {"serial": Question(b"?SN\r\n", _TEXTS), "model": Question(b"?ID\r\n", _TEXTS)}
    always_introduces = False
    stream = b"SIR\r\n"
    stop = b"C\r\n"
    tare = Question(b"T\r\n")
    zero = Question(b"Z\r\n")
    acknowledgements = frozenset({"AK"})

    def __init__(self) -> None:
        super().__init__(parse)


def parse(raw: bytes) -> Message:
    """One ASCII line without its end.  Never raises: what cannot be read comes back bad, with its bytes."""
    line = raw.decode("ascii", "replace")
    if line in ("AK", "\x06"):
        return Message(raw, id="AK")
    if re.fullmatch(r"EC,E\d\d", line):
        code = line.removeprefix("EC,")
        return refusal(raw, f"{line}: {_ERRORS.get(code, 'refused; see the manual for this number')}")
    found = _LINE.fullmatch(line)
    if found is None or not _NUMBER.fullmatch(found["value"]):
        return garbage(raw, "not a line of A&D") if _LIKE.match(line) else plain(raw, line)
    return _weight(raw, found)


def _weight(raw: bytes, found: re.Match[str]) -> Message:
    comparator = found["comparator"] or ""
    if found["state"] == "OL":
        reason = f"{SIGNED[found['value'][0]]} (OL)"
        return Message(raw, id="weight", quality=Quality.BAD, reason=reason, text=comparator)
    settling = found["state"] == "US"
    return Message(
        raw,
        id="weight",
        quality=Quality.UNCERTAIN if settling else Quality.GOOD,
        reason="dynamic: the balance has not settled" if settling else "",
        value=Decimal(found["value"]),
        unit=found["unit"].strip(),
        text=comparator,
    )
