"""Tags that are made of several nodes: what all of them share, and the PackML state.  Pure.

The parts are read and watched like tags, with handles behind the tags' own; a compound says what they mean together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from gateway.drivers.opcua.packml import Level, compose
from gateway.model import Fault, Quality, Value

STATE_PARTS: Final = 9
"""Number, Id and text of each of the three machines, in this order."""
_UNCERTAIN: Final = 0x4000_0000
_BAD: Final = 0x8000_0000
_NODE_ID: Final = re.compile(r"^ns=(\d+);i=(\d+)$")

Shown = tuple[int, Value, Fault | None]
"""Position of a tag, its value and what is wrong with it; the value is None where it is bad."""


def quality(code: int) -> Quality:
    """The severity of a status code: its two highest bits (10000-4 §7.39.1)."""
    if code & _BAD:
        return Quality.BAD
    return Quality.UNCERTAIN if code & _UNCERTAIN else Quality.GOOD


class Compound(Protocol):
    """Parts in, tags out.  Parts that the server does not have are never put."""

    parts: int
    """How many parts it may have."""
    tags: Sequence[int]
    """Positions of the tags it makes."""

    def put(self, part: int, value: Any, status: int) -> None:
        """What one part says now."""
        ...

    def show(self) -> Iterable[Shown]:
        """The tags, as the parts stand."""
        ...


class PackmlState:
    """The one state number of three nested state machines."""

    parts = STATE_PARTS

    def __init__(self, tags: Sequence[int], namespace: int) -> None:
        """`namespace`: index of the PackML namespace on this connection."""
        self.tags: Sequence[int] = tuple(tags)
        self._namespace = namespace
        self._said: list[Any] = [None] * STATE_PARTS

    def put(self, part: int, value: Any, status: int) -> None:
        self._said[part] = None if quality(status) is Quality.BAD else value

    def show(self) -> Iterable[Shown]:
        state = compose(*levels(self._said, self._namespace))
        if state is None:
            why = "the PackML state machines do not say which state they are in"
            return [(tag, None, Fault(Quality.BAD, why)) for tag in self.tags]
        return [(tag, int(state), None) for tag in self.tags]


def levels(parts: Sequence[Any], namespace: int) -> tuple[Level, Level, Level]:
    """Nine parts -> what each of the three machines says of itself."""
    base, machine, execute = (
        Level(parts[at], _state_node(parts[at + 1], namespace), _text(parts[at + 2])) for at in (0, 3, 6)
    )
    return base, machine, execute


def _state_node(value: Any, namespace: int) -> int | None:
    match = _NODE_ID.match(value) if isinstance(value, str) else None
    return int(match[2]) if match and int(match[1]) == namespace else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
