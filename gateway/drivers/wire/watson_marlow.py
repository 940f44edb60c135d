"""Watson-Marlow Du and Di pumps: `n` the pump's number, two letters, CR.  Pure.

    1RS  ->  520Du 15.84 520R 9.6MM 220.0 CW P/N 1 123456789 1 !     what it is and does
             type ml/rev head  tube rpm   dir    n  tacho     run
    1RT  ->  123456789       tacho pulses since they were cleared
    1ZY  ->  1               1 running, 0 stopped
    1ST  ->  (nothing)       stop: nothing is ever acknowledged

Answers to RT and ZY carry neither number nor name.  `#` (all pumps) is never sent: its answers are indeterminate.  What
starts or sets a pump (GO, DO, SP, RR, RL) has no place here: nothing in this house could send it.
Sources: 520DuN manual p. 76, 620DuN p. 82, 720DuN p. 77, 530Du p. 40, 505Di p. 6.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

LONGEST: Final = 128
"""Bytes without an end after which a line is garbage; a status has some 60."""
LEAST_GAP_S: Final = 0.010
"""Rest between two commands (505Di p. 6, note 6)."""
MOST_PUMPS: Final = 32
"""Numbers go to 16, on N models to 32."""

_STATUS: Final = re.compile(
    r"(?P<model>\S{1,16}) +(?P<ml>\d{1,6}(?:\.\d{1,6})?) +(?P<head>\S{1,16}) +(?P<tube>\S{1,16}) +"
    r"(?P<rpm>\d{1,5}(?:\.\d{1,3})?) +(?P<turn>CW|CCW) +"
    r"P/N +(?P<number>\d{1,2}) +(?P<pulses>\d{1,12}) +(?P<run>[01]) *!"
)
_DIGITS: Final = re.compile(r"(\d{1,12}) *!?")
_ECHO: Final = re.compile(r"\d{1,2}(?:RS|RT|ZY|ST)")
_ENDS: Final = re.compile(rb"[\r\n]|(?<=!)")


class Status(msgspec.Struct, frozen=True):
    """The answer to RS."""

    model: str
    ml_per_revolution: float
    head: str
    tube: str
    speed_rpm: float
    """The speed that is set; it turns at it only while running."""
    direction: str
    """CW or CCW."""
    number: int
    pulses: int
    running: bool


class Line(msgspec.Struct, frozen=True):
    """One line of a pump, understood as far as it can be."""

    raw: bytes
    kind: str
    """status, digits, echo or garbage."""
    status: Status | None = None
    count: int = 0
    """Of digits: tacho pulses, or 0 and 1 for stopped and running."""
    reason: str = ""
    """Of garbage: why."""


def ask_status(number: int) -> bytes:
    return b"%dRS\r" % number


def ask_pulses(number: int) -> bytes:
    return b"%dRT\r" % number


def ask_running(number: int) -> bytes:
    return b"%dZY\r" % number


def stop(number: int) -> bytes:
    """The only command with an effect that this house can make."""
    return b"%dST\r" % number


class WatsonMarlow:
    """One conversation, its half lines included."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are whole now; a half one is kept, one without end is garbage."""
        *lines, self._rest = _ENDS.split(self._rest + data)
        found = [parse(line) for line in lines if line.strip()]
        if len(self._rest) > LONGEST:
            found.append(_garbage(self._rest, f"no line end within {LONGEST} bytes"))
            self._rest = b""
        return found

    def clear(self) -> None:
        self._rest = b""


def parse(raw: bytes) -> Line:
    """One line without its end.  Never raises: what cannot be read comes back as garbage, with its bytes."""
    if len(raw) > LONGEST:
        return _garbage(raw, f"longer than {LONGEST} bytes")
    if not raw.isascii():
        return _garbage(raw, "bytes above 7F; compare baud rate and parity")
    text = raw.decode("ascii").strip()
    if _ECHO.fullmatch(text):
        return Line(raw, "echo")
    if digits := _DIGITS.fullmatch(text):
        return Line(raw, "digits", count=int(digits[1]))
    found = _STATUS.fullmatch(text)
    if found is None:
        return _garbage(raw, "not an answer of a Watson-Marlow pump")
    status = Status(
        model=found["model"],
        ml_per_revolution=float(found["ml"]),
        head=found["head"],
        tube=found["tube"],
        speed_rpm=float(found["rpm"]),
        direction=found["turn"],
        number=int(found["number"]),
        pulses=int(found["pulses"]),
        running=found["run"] == "1",
    )
    return Line(raw, "status", status)


def _garbage(raw: bytes, why: str) -> Line:
    return Line(raw[:LONGEST], "garbage", reason=f"unreadable ({why}): {raw[:64]!r}")
