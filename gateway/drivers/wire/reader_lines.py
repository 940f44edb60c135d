r"""Lines of barcode and vision readers: frames out of a byte stream, reads out of frames.  Pure.

    <STX> ] d 2 0 1 0 9 5 ... ; A ; 1 2 . 5 <ETX> <CR> <LF>
    prefix AIM  code           grade angle  suffix terminator

What a reader sends is set in the reader: preamble and postamble, a text for "nothing read" (Microscan and Datalogic
mostly NOREAD, Keyence ERROR), AIM symbology identifiers (ISO/IEC 15424, `]cm`), a heartbeat line.  So all of it is
configuration here, and a line that does not fit it is garbled, never a code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.drivers.wire.gs1 import EXPIRY, GS, GTIN, LOT, SERIAL, Gs1Error, elements, iso_date

ANY_END: Final = b""
"""As terminator: CR, LF or both."""
SYMBOLOGIES: Final = {
    "A": "Code 39",
    "B": "Telepen",
    "C": "Code 128",
    "E": "EAN/UPC",
    "F": "Codabar",
    "G": "Code 93",
    "H": "Code 11",
    "I": "Interleaved 2 of 5",
    "J": "DotCode",
    "L": "PDF417",
    "M": "MSI",
    "O": "OCR",
    "Q": "QR Code",
    "U": "MaxiCode",
    "X": "other",
    "Z": "no symbol",
    "d": "Data Matrix",
    "e": "GS1 DataBar",
    "z": "Aztec Code",
}
"""Code character of an AIM identifier -> name."""
GS1_SYMBOLS: Final = frozenset({"]C1", "]d2", "]e0", "]Q3", "]J1"})
"""Identifiers that promise a GS1 element string."""
ELEMENTS: Final = {"gtin": GTIN, "lot": LOT, "expiry": EXPIRY, "serial": SERIAL}
_BLANK: Final = b"\r\n\0\t "
_AIM: Final = re.compile(r"\]([A-Za-z])([0-9A-Za-z])")
_CONTROL: Final = re.compile(r"[\x00-\x1c\x7f-\x9f]")
"""GS, RS and US (1D to 1F hex) belong to codes: GS1 and ISO/IEC 15434 separate by them; EOT (04) ends the latter."""
_SHOWN: Final = 64

Frame = tuple[bytes, str]
"""A line without its terminator, and why it cannot be a whole one; empty where it may be."""


class Form(msgspec.Struct, frozen=True):
    """How this reader's lines look."""

    prefix: bytes = b""
    suffix: bytes = b""
    terminator: bytes = ANY_END
    encoding: str = "utf-8"
    no_read: tuple[str, ...] = ("NOREAD",)
    separator: str = ""
    fields: tuple[str, ...] = ()
    """Names of the parts between separators, in their order."""
    pattern: re.Pattern[str] | None = None
    """Instead of a separator: named groups."""
    aim: bool = False
    gs1: bool = False
    heartbeat: bytes = b""
    longest: int = 1024
    """Bytes without a terminator after which a line is noise."""


class Read(msgspec.Struct, frozen=True):
    """One line, understood as far as it can be."""

    raw: bytes
    read: bool | None
    """True: a code.  False: the reader says that it read nothing.  None: a line that does not fit the form."""
    code: str = ""
    fields: Mapping[str, str] = {}
    """Beside the code: grade, angle."""
    symbology: str = ""
    elements: Mapping[str, str] = {}
    """gtin, lot, expiry (ISO date), serial."""
    reason: str = ""
    """Why it is no code."""
    gs1_reason: str = ""
    """Why it is no element string."""


class Framer:
    """Cuts one connection's bytes into frames.  Nothing is lost: what is no whole line comes out with its trouble."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.beats = 0
        """Heartbeat lines heard."""
        self.skipped = 0
        """Lines that came in a flood and were not looked at."""
        self.torn = False
        """Set by the caller: the first line began before it was listened to."""
        self._ends = re.compile(re.escape(form.terminator) if form.terminator else rb"[\r\n]")
        self._control = form.prefix[:1] < b" "
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes, most: int | None = None) -> list[Frame]:
        """The lines that are whole now; a half one is kept, one without end comes out as noise, once.

        Of more than `most` lines at once only the newest are looked at: who can take no more loses no time on them.
        """
        *lines, rest = self._ends.split(self._rest + data)
        if self._skipping:
            lines, rest = self._skip(lines, rest)
        lines = list(filter(None, lines))
        if most is not None and len(lines) > most:
            self.skipped += len(lines) - most
            self.torn = False
            lines = lines[-most:]
        frames = [frame for line in lines for frame in self._frames(line)]
        if len(rest) > self.form.longest:
            frames.append((rest[:_SHOWN], f"no line end within {self.form.longest} bytes"))
            rest = self._tail(rest)
            self._skipping = True
        self._rest = rest
        return frames

    def end(self) -> list[Frame]:
        """The connection ended: half a line is told of, not lost."""
        rest, self._rest = self._rest, b""
        if self._skipping or not rest.strip(_BLANK):
            return []
        return [(rest, "the connection ended before the line did")]

    def _skip(self, lines: list[bytes], rest: bytes) -> tuple[list[bytes], bytes]:
        """Inside noise: until a line ends, or where the prefix shows that one begins."""
        if not lines:
            return [], self._tail(rest)
        self._skipping = False
        prefix = self.form.prefix
        found = lines[0].rfind(prefix) if prefix else -1
        return ([lines[0][found:], *lines[1:]] if found >= 0 else lines[1:]), rest

    def _tail(self, noise: bytes) -> bytes:
        """What of it may be the beginning of a line."""
        prefix = self.form.prefix
        found = noise.rfind(prefix) if prefix else -1
        if found < 0 or len(noise) - found > self.form.longest:
            return noise[1 - len(prefix) :] if len(prefix) > 1 else b""
        return noise[found:]

    def _frames(self, line: bytes) -> list[Frame]:
        form = self.form
        if not line.strip(_BLANK):
            return []
        if form.heartbeat and line.strip(_BLANK).removeprefix(form.prefix).removesuffix(form.suffix) == form.heartbeat:
            self.beats += 1
            return []
        torn, self.torn = self.torn, False
        if not form.prefix:
            trouble = "it began before the port was open: perhaps half a line" if torn else ""
            return [(line, trouble or self._too_long(line))]
        at = line.rfind(form.prefix) if self._control else line.find(form.prefix)
        if at < 0:
            return [(line, f"does not begin with {shown(form.prefix)}")]
        head, body = line[:at], line[at:]
        before = [(head, "half a line: another one began before it ended")] if head.strip(_BLANK) else []
        return [*before, (body, self._too_long(body))]

    def _too_long(self, line: bytes) -> str:
        return f"longer than {self.form.longest} bytes" if len(line) > self.form.longest else ""


class _MisfitError(Exception):
    """A line that does not fit the form."""


def parse(frame: Frame, form: Form) -> Read:
    """What one line says.  Never raises: what does not fit comes back garbled, with its bytes."""
    raw, trouble = frame
    try:
        if trouble:
            raise _MisfitError(trouble)
        text = _text(raw, form)
        if text in form.no_read:
            return _nothing(raw, text, {})
        parts = _parts(text, form)
        code = parts.pop("code")
        return _nothing(raw, code, parts) if code in form.no_read else _code(raw, code, parts, form)
    except _MisfitError as error:
        return Read(raw, None, reason=f"unreadable ({error}): {raw[:_SHOWN]!r}")


def _text(raw: bytes, form: Form) -> str:
    """What stands between prefix and suffix."""
    body = raw.removeprefix(form.prefix)
    if not body.endswith(form.suffix):
        raise _MisfitError(f"does not end with {shown(form.suffix)}")
    try:
        text = body.removesuffix(form.suffix).decode(form.encoding).strip(" ")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise _MisfitError(f"byte {byte:02X} hex is not {form.encoding}; compare baud rate and parity") from None
    if text not in form.no_read and (found := _CONTROL.search(text.removesuffix("\x04"))):
        raise _MisfitError(f"control character {ord(found[0]):02X} hex in the line")
    return text


def shown(data: bytes) -> str:
    """Bytes for people: `02 (hex)`, `'ID:'`."""
    text = data.decode("latin-1")
    return repr(text) if text.isprintable() else f"{data.hex(' ').upper()} (hex)"


def _parts(text: str, form: Form) -> dict[str, str]:
    """The fields by name, `code` among them."""
    if form.pattern is not None:
        found = form.pattern.fullmatch(text)
        if found is None:
            raise _MisfitError("does not fit the pattern")
        return {name: value or "" for name, value in found.groupdict().items()}
    if not form.fields:
        return {"code": text}
    cut = text.split(form.separator)
    if len(cut) == 1 and cut[0] in form.no_read:
        return {"code": cut[0]}
    if len(cut) != len(form.fields):
        raise _MisfitError(f"has {len(cut)} fields between {form.separator!r} where {len(form.fields)} are due")
    return dict(zip(form.fields, (each.strip(" ") for each in cut), strict=True))


def _code(raw: bytes, code: str, parts: Mapping[str, str], form: Form) -> Read:
    symbology = symbol = ""
    if form.aim and (found := _AIM.match(code)):
        symbol, code = found[0], code[3:]
        symbology = SYMBOLOGIES.get(found[1], symbol)
        symbology = f"GS1 {symbology.removeprefix('GS1 ')}" if symbol in GS1_SYMBOLS else symbology
    if not code.strip(GS):
        raise _MisfitError("has no code")
    said, why = _elements(code) if form.gs1 else ({}, "")
    return Read(raw, True, code, parts, symbology, said, gs1_reason=why)


def _elements(code: str) -> tuple[dict[str, str], str]:
    try:
        found = elements(code)
        said = {word: found[name] for word, name in ELEMENTS.items() if name in found}
        if "expiry" in said:
            said["expiry"] = iso_date(said["expiry"])
    except Gs1Error as error:
        return {}, f"no GS1 element string: {error}"
    return said, ""


def _nothing(raw: bytes, text: str, parts: Mapping[str, str]) -> Read:
    return Read(raw, False, fields=parts, reason=f"no read: the reader says {text!r}")
