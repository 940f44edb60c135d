"""Mettler-Toledo MT-SICS: upper-case ASCII, one space between parameters, CR LF at the end.  Pure.

    SI  ->  S S     100.00 g     stable        S D     100.03 g     dynamic, still settling
            S I   not executable (busy, in a menu, being tared)     S + / S -   over- and underload
            ES    syntax         ET    transmission                 EL   understood, cannot be carried out

The answer to SI carries the id S.  Sources: MT-SICS reference manual for XPR/XSR (30324923), JS series p. 30, AE series
p. 13.  `@` resets a balance, so the identity is asked for with I4 and I2.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.drivers.wire.weighing import LONGEST, Message
from gateway.model import Quality

_WEIGHT: Final = re.compile(r"S ([SD]) +([+-]?\d{1,12}(?:\.\d{1,12})?)(?: +(\S+))? *")
_ANSWER: Final = re.compile(r"([A-Z@][A-Z0-9]*) ([A-Z+-])(?: (.*))?")
_QUOTED: Final = re.compile(r'"([^"]*)"')
_ERRORS: Final = {
    "ES": "syntax error: the balance did not understand the command",
    "ET": "transmission error: the command was damaged; compare baud rate and parity",
    "EL": "logical error: understood, but it cannot be carried out now",
}
_STATES: Final = {
    "I": "not executable: the balance is busy, in a menu, or did not settle in time",
    "+": "overload",
    "-": "underload",
    "L": "the balance refuses the parameter",
}


class MtSics:
    """One conversation with a balance."""

    weigh = b"SI\r\n"
    weight = "S"
    questions: Final = {"serial": b"I4\r\n", "model": b"I2\r\n"}
    answers: Final = {"serial": "I4", "model": "I2"}

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The lines that are whole now; a half one is kept, one without end is garbage."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [parse(line.removesuffix(b"\r")) for line in lines if line.strip(b"\r")]
        if len(self._rest) > LONGEST:
            messages.append(_garbage(self._rest, f"no line end within {LONGEST} bytes"))
            self._rest = b""
        return messages

    def clear(self) -> None:
        self._rest = b""


def parse(raw: bytes) -> Message:
    """One line without its end.  Never raises: what cannot be read comes back bad, with its bytes."""
    if not raw.isascii():
        return _garbage(raw, "bytes above 7F; compare baud rate and parity")
    line = raw.decode("ascii")
    if line in _ERRORS:
        return Message(raw, quality=Quality.BAD, reason=f"{line}: {_ERRORS[line]}")
    if found := _WEIGHT.fullmatch(line):
        dynamic = found[1] == "D"
        return Message(
            raw,
            id="S",
            quality=Quality.UNCERTAIN if dynamic else Quality.GOOD,
            reason="dynamic: the balance has not settled" if dynamic else "",
            value=Decimal(found[2]),
            unit=found[3] or "",
        )
    found = _ANSWER.fullmatch(line)
    if found is None or (found[1] == "S" and found[2] not in _STATES) or (found[1] == "S" and found[3]):
        return _garbage(raw, "not a line of MT-SICS")
    if found[2] in _STATES:
        return Message(raw, id=found[1], quality=Quality.BAD, reason=f"{found[1]} {found[2]}: {_STATES[found[2]]}")
    return Message(raw, id=found[1], text=" ".join(_QUOTED.findall(found[3] or "")) or found[3] or "")


def _garbage(raw: bytes, why: str) -> Message:
    return Message(raw, quality=Quality.BAD, reason=f"unreadable ({why}): {raw[:64]!r}")
