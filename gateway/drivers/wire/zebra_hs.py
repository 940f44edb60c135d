"""Zebra printers: `~HS` (host status), `~HI` (identification), `~PP` (pause).  Pure.

    ~HS  ->  <STX>030,0,0,1245,000,0,0,0,000,0,0,0<ETX><CR><LF>      aaa,b,c,dddd,eee,f,g,h,iii,j,k,l
             <STX>001,0,0,0,1,4,6,0,00000250,1,000<ETX><CR><LF>      mmm,n,o,p,q,r,s,t,uuuuuuuu,v,www
             <STX>1234,0<ETX><CR><LF>                                xxxx,y
    ~HI  ->  <STX>ZE511-300dpi,V92.21.19Z,12,65536KB<ETX><CR><LF>    model, firmware, dots a mm, memory
    ~PP  ->  (nothing)       pause after the label that is being printed

b paper out, c paused, dddd label length in dots, eee formats waiting, f buffer full, g diagnostic mode, h half a format
received, j corrupt RAM, k under- and l over-temperature; o head open, p ribbon out, q thermal transfer, r print mode,
t label waiting to be taken, u labels left in the batch, www graphics stored.  What starts a printer (~PS) has no place
here.  Source: ZPL II programming guide (P1012728-011), ~HS, ~HI, ^PP ~PP; 45541L-004 p. 171.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

ASK_STATUS: Final = b"~HS\r\n"
ASK_IDENTITY: Final = b"~HI\r\n"
PAUSE: Final = b"~PP\r\n"
LONGEST: Final = 512
"""Bytes without an ETX after which a string is garbage; a status string has some 40."""
PRINT_MODES: Final = {"0": "rewind", "1": "peel-off", "2": "tear-off", "3": "cutter", "4": "applicator"}

_FIRST: Final = re.compile(
    r"\d{3},[01],[01],\d{1,5},\d{1,3},[01],[01],[01],\d{3},[01],[01],[01]"  # a to l
)
_SECOND: Final = re.compile(
    r"\d{3},\d,[01],[01],[01],[0-9A-Z],[0-9A-Z],[01],\d{1,8},\d,\d{1,3}"  # m to w
)
_THIRD: Final = re.compile(r"[^,]{0,16},[01]")
_IDENTITY: Final = re.compile(r"([^,]{1,40}),(V[^,]{1,20})(?:,.{0,80})?")
_STX, _ETX = b"\x02", b"\x03"


class Status(msgspec.Struct, frozen=True):
    """All three strings of one answer to ~HS."""

    paper_out: bool
    paused: bool
    label_length_dots: int
    formats_waiting: int
    buffer_full: bool
    diagnostic_mode: bool
    partial_format: bool
    corrupt_ram: bool
    under_temperature: bool
    over_temperature: bool
    head_open: bool
    ribbon_out: bool
    thermal_transfer: bool
    print_mode: str
    label_waiting: bool
    labels_remaining: int


class Message(msgspec.Struct, frozen=True):
    """One thing a printer said."""

    raw: bytes
    """All of its strings, without STX and ETX, joined by a line feed."""
    kind: str
    """status, identity or garbage."""
    status: Status | None = None
    model: str = ""
    firmware: str = ""
    reason: str = ""
    """Of garbage: why."""


class ZebraHs:
    """One conversation, its half strings included."""

    def __init__(self) -> None:
        self._rest = b""
        self._strings: list[bytes] = []
        """The strings of a status so far, in their order."""

    def feed(self, data: bytes) -> list[Message]:
        """What is whole now.  Bytes outside STX and ETX are garbage, line ends and idle zeros apart."""
        *frames, self._rest = (self._rest + data).split(_ETX)
        found = [message for frame in frames for message in self._frame(frame)]
        if len(self._rest) > LONGEST:
            found += self._broken(self._rest, f"no ETX within {LONGEST} bytes")
            self._rest = b""
        return found

    def clear(self) -> None:
        self._rest = b""
        self._strings = []

    def _frame(self, frame: bytes) -> list[Message]:
        before, stx, string = frame.rpartition(_STX)
        noise = before.strip(b"\r\n\0 ")
        found = self._broken(noise, "bytes between two strings") if noise else []
        if not stx:
            return found or self._broken(frame, "an ETX without STX")
        return found + self._string(string)

    def _string(self, string: bytes) -> list[Message]:
        if len(string) > LONGEST:
            return self._broken(string, f"longer than {LONGEST} bytes")
        text = string.decode("ascii", "replace")
        if _FIRST.fullmatch(text):
            lost = self._strings
            self._strings = [string]
            return [_garbage(b"\n".join(lost), "half a status")] if lost else []
        if identity := _IDENTITY.fullmatch(text):
            return [Message(string, "identity", model=identity[1], firmware=identity[2])]
        if len(self._strings) == 1 and _SECOND.fullmatch(text):
            self._strings.append(string)
            return []
        if len(self._strings) == 2 and _THIRD.fullmatch(text):
            strings, self._strings = [*self._strings, string], []
            return [Message(b"\n".join(strings), "status", _status(strings))]
        return self._broken(string, "not the string that was to come")

    def _broken(self, raw: bytes, why: str) -> list[Message]:
        self._strings = []
        return [_garbage(raw, why)]


def _status(strings: list[bytes]) -> Status:
    a, b = (string.decode("ascii").split(",") for string in strings[:2])
    return Status(
        paper_out=a[1] == "1",
        paused=a[2] == "1",
        label_length_dots=int(a[3]),
        formats_waiting=int(a[4]),
        buffer_full=a[5] == "1",
        diagnostic_mode=a[6] == "1",
        partial_format=a[7] == "1",
        corrupt_ram=a[9] == "1",
        under_temperature=a[10] == "1",
        over_temperature=a[11] == "1",
        head_open=b[2] == "1",
        ribbon_out=b[3] == "1",
        thermal_transfer=b[4] == "1",
        print_mode=PRINT_MODES.get(b[5], b[5]),
        label_waiting=b[7] == "1",
        labels_remaining=int(b[8]),
    )


def _garbage(raw: bytes, why: str) -> Message:
    return Message(raw[:LONGEST], "garbage", reason=f"unreadable ({why}): {raw[:64]!r}")
