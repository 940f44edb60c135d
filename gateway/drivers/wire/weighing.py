"""What every balance says, whatever its letters: a dialect is one codec of this shape.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from gateway.model import Quality

LONGEST: Final = 256
"""Bytes without a line end after which a line is garbage."""
SHOWN: Final = 64
"""Bytes of a line that cannot be read which its reason shows."""
SIGNED: Final = {"+": "overload", "-": "underload"}


class Message(msgspec.Struct, frozen=True):
    """One line of a balance, understood as far as it can be."""

    raw: bytes
    """The line as it came, without its line end."""
    id: str = ""
    """What it answers: `S`, `I4`, `weight`, `text`; empty for an error or what cannot be read."""
    quality: Quality = Quality.GOOD
    reason: str = ""
    value: Decimal | None = None
    """To the digit: trailing zeros say how fine the balance reads."""
    unit: str = ""
    """In the balance's own letters; empty where it sent none."""
    text: str = ""
    """The answer to a question that is not about weight, or what stands beside a weight: NET, HI, Tare."""
    more: bool = False
    """Another line of the same answer follows."""
    unverified: int = 0
    """Digits at the end that the balance marks as not verified (in brackets, e is not d)."""
    columns: tuple[int, int] = (0, 0)
    """Where number and unit end in the line; 0 where that says nothing.  A balance's columns do not move."""
    error: bool = False
    """The balance's own refusal (ES, EC,E01), as opposed to a line that cannot be read."""


class Question(msgspec.Struct, frozen=True):
    """What to send, and the ids that may answer it; none: the balance says nothing to it."""

    ask: bytes
    answers: frozenset[str] = frozenset()


class Dialect(Protocol):
    """One conversation, its half lines included."""

    @property
    def weigh(self) -> Question:
        """Ask for the weight now, settled or not."""
        ...

    @property
    def weights(self) -> frozenset[str]:
        """The ids of lines that carry a weight, or say why there is none."""
        ...

    @property
    def identity(self) -> Mapping[str, Question]:
        """Serial number, model ...; their answers also tell old weights from new: lines come in order."""
        ...

    @property
    def always_introduces(self) -> bool:
        """True: no answer to the first of `identity` means that nobody is there."""
        ...

    @property
    def stream(self) -> bytes:
        """Makes it send weights by itself; empty where only its menu can."""
        ...

    @property
    def stop(self) -> bytes:
        """Ends that."""
        ...

    @property
    def tare(self) -> Question: ...

    @property
    def zero(self) -> Question: ...

    @property
    def acknowledgements(self) -> frozenset[str]:
        """The ids of lines that only say that something was taken."""
        ...

    def feed(self, data: bytes) -> list[Message]:
        """The lines that are whole now."""
        ...

    def clear(self) -> None:
        """Forget a half line."""
        ...


class LineCodec:
    """Bytes in, lines out: each whole line is parsed, a half one waits, an endless one is garbage once.

    A weight whose number or unit ends in another column than usual has lost or gained a character (1.0120 is not 1.120,
    kg is not g): it is bad.  The second one in a row that ends there is believed: somebody changed the layout.  With a
    `column` (of the number's last digit, from 1) none is believed that ends elsewhere, not even the first.
    """

    def __init__(self, parse: Callable[[bytes], Message], column: int = 0) -> None:
        self._parse = parse
        self._column = column
        self._rest = b""
        self._over = False
        """The line that is coming in was too long: nothing of it is read."""
        self._usual = self._odd = (0, 0)

    def feed(self, data: bytes) -> list[Message]:
        return [self._aligned(self._read(line)) for line in self._lines(data)]

    def clear(self) -> None:
        self._rest, self._over = b"", False

    def _read(self, line: bytes) -> Message:
        if len(line) > LONGEST:
            return garbage(line[:LONGEST], f"no line end within {LONGEST} bytes")
        if not line.isascii():
            return garbage(line, "bytes above 7F; compare baud rate and parity")
        return self._parse(line)

    def _lines(self, data: bytes) -> Iterator[bytes]:
        """Lines in order.  One that grows too long comes out at once, and its rest is passed over."""
        *whole, rest = data.replace(b"\r", b"\n").split(b"\n")
        for part in whole:
            line, self._rest = self._rest + part, b""
            passed, self._over = self._over, False
            if line and not passed:
                yield line
        self._rest = b"" if self._over else self._rest + rest
        if len(self._rest) > LONGEST:
            line, self._rest, self._over = self._rest, b"", True
            yield line

    def _aligned(self, message: Message) -> Message:
        columns = message.columns
        if not columns[0]:
            return message
        if self._column not in (0, columns[0]):
            return garbage(
                message.raw, f"the number ends in column {columns[0]}, not {self._column}: a character is lost"
            )
        if self._usual == (0, 0) or _same(columns, self._usual) or _same(columns, self._odd):
            self._usual, self._odd = (columns[0], columns[1] or self._usual[1]), (0, 0)
            return message
        self._odd = columns
        return garbage(message.raw, "a character was lost or added: it does not end in the usual columns")


def _same(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Numbers end in the same column, and units where both have one."""
    return one[0] == other[0] and (one[1] == other[1] or not (one[1] and other[1]))


def garbage(raw: bytes, why: str) -> Message:
    """A line that cannot be read, with its bytes."""
    return Message(raw, quality=Quality.BAD, reason=f"unreadable ({why}): {raw[:SHOWN]!r}")


def refusal(raw: bytes, reason: str) -> Message:
    """The balance's own error."""
    return Message(raw, quality=Quality.BAD, reason=reason, error=True)


def plain(raw: bytes, line: str) -> Message:
    """A line without a weight in a dialect that does not say what it answers."""
    if not line.isprintable():
        return garbage(raw, "control characters; compare baud rate and parity")
    text = line.strip()
    return Message(raw, id="digits" if text.isdecimal() else "text", text=text)
