"""Mettler-Toledo MT-SICS: upper-case ASCII, one space between parameters, CR LF at the end.  Pure.

    SI  ->  S S     100.00 g     stable        S D     100.03 g     dynamic, still settling
            S I   not executable (busy, in a menu, being tared)     S + / S -   over- and underload
    T   ->  T S     11.343 g     TI -> TI S|D  Z  -> Z A      TA -> TA A 11.343 g      TAC -> TAC A
    I0  ->  I0 B 0 "S"  ...      B: more lines follow, the last one says A
            ES    syntax         ET    transmission                 EL   understood, cannot be carried out

The answer to SI, SIR, SR carries the id S, that to @ the id I4.  Sources: MT-SICS reference manual for XPR/XSR
(30324923), JS series p. 30, AE series p. 13.  `@` resets a balance, so the identity is asked for with I4 and I2.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.drivers.wire.weighing import SIGNED, LineCodec, Message, Question, garbage, refusal
from gateway.model import Quality

_NUMBER: Final = r" *([+-]?\d{1,12}(?:\.\d{1,12})?)(?: +(\S{1,10}))? *"
_WEIGHT: Final = re.compile(rf"S ([SD]) {_NUMBER}")
_TARE: Final = re.compile(rf"(T|TI|TA) ([SDA]) {_NUMBER}")
_ANSWER: Final = re.compile(r"([A-Z@][A-Z0-9]{0,7}) ([A-Z+-])(?: (.*))?")
_QUOTED: Final = re.compile(r'"([^"]*)"')
_ERRORS: Final = {
    "ES": "syntax error: the balance did not understand the command",
    "ET": "transmission error: the command was damaged; compare baud rate and parity",
    "EL": "logical error: understood, but it cannot be carried out now",
}
_STATES: Final = {
    "I": "not executable: the balance is busy, in a menu, or did not settle in time",
    **SIGNED,
    "L": "the balance refuses the parameter",
}


class MtSics(LineCodec):
    """One conversation with a balance."""

    weigh = Question(b"SI\r\n", frozenset({"S", ""}))
    weights = frozenset({"S"})
    identity: Final = {
        "serial": Question(b"I4\r\n", frozenset({"I4"})),
        "model": Question(b"I2\r\n", frozenset({"I2"})),
    }
    always_introduces = True  # I0 to I5 are level 0: every balance has them
    stream = b"SIR\r\n"
    stop = b"SI\r\n"
    tare = Question(b"T\r\n", frozenset({"T"}))
    zero = Question(b"Z\r\n", frozenset({"Z"}))
    acknowledgements = frozenset[str]()

    def __init__(self, column: int = 0) -> None:
        super().__init__(parse, column)


def parse(raw: bytes) -> Message:
    """One ASCII line without its end.  Never raises: what cannot be read comes back bad, with its bytes."""
    line = raw.decode("ascii", "replace")
    if line in _ERRORS:
        return refusal(raw, f"{line}: {_ERRORS[line]}")
    if found := _WEIGHT.fullmatch(line):
        settling = found[1] == "D"
        return Message(
            raw,
            id="S",
            quality=Quality.UNCERTAIN if settling else Quality.GOOD,
            reason="dynamic: the balance has not settled" if settling else "",
            value=Decimal(found[2]),
            unit=found[3] or "",
            columns=(found.end(2), max(0, found.end(3))),
        )
    if found := _TARE.fullmatch(line):
        return Message(raw, id=found[1], value=Decimal(found[3]), unit=found[4] or "", text=found[2])
    found = _ANSWER.fullmatch(line)
    if found is None or (found[1] == "S" and (found[2] not in _STATES or found[3])):
        return garbage(raw, "not a line of MT-SICS")
    return _answer(raw, found[1], found[2], found[3] or "")


def _answer(raw: bytes, name: str, state: str, rest: str) -> Message:
    """A line that is not a weight.  The letters of `SIGNED` and I, L are refusals of what `name` asked for."""
    if state in _STATES:
        return Message(raw, id=name, quality=Quality.BAD, reason=f"{name} {state}: {_STATES[state]}")
    return Message(raw, id=name, text=" ".join(_QUOTED.findall(rest)) or rest, more=state == "B")
