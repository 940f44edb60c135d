"""What every balance says, whatever its letters: a dialect is one codec of this shape.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from gateway.model import Quality

LONGEST: Final = 256
"""Bytes without a line end after which a line is garbage."""


class Message(msgspec.Struct, frozen=True):
    """One line of a balance, understood as far as it can be."""

    raw: bytes
    """The line as it came, without its line end."""
    id: str = ""
    """What it answers, `S`, `I4`; empty for an error or what cannot be read."""
    quality: Quality = Quality.GOOD
    reason: str = ""
    value: Decimal | None = None
    """To the digit: trailing zeros say how fine the balance reads."""
    unit: str = ""
    """In the balance's own letters; empty where it sent none."""
    text: str = ""
    """The answer to a question that is not about weight."""


class Dialect(Protocol):
    """One conversation, its half lines included."""

    @property
    def weigh(self) -> bytes:
        """Ask for the weight now, settled or not."""
        ...

    @property
    def weight(self) -> str:
        """The id of the answer to it."""
        ...

    @property
    def questions(self) -> Mapping[str, bytes]:
        """Name of an identity -> the question; the first one also tells old answers from new: lines come in order."""
        ...

    @property
    def answers(self) -> Mapping[str, str]:
        """Name of an identity -> the id of its answer."""
        ...

    def feed(self, data: bytes) -> list[Message]:
        """The lines that are whole now."""
        ...

    def clear(self) -> None:
        """Forget a half line."""
        ...
