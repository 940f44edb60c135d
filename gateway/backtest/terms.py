"""What the rooms of a backtest share: what was asked for, notes to tell, times as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gateway.model import Entry, Json, Scan, TagSet, Value
from gateway.rules.inputs import convert
from gateway.units import linear

S_NS: Final = 1_000_000_000


class Wish(msgspec.Struct, frozen=True):
    """What is to be replayed, and how."""

    data: Sequence[Path]
    recipe: str = ""
    """Id; empty: the only one there is, else none."""
    batch: Mapping[str, Json] = {}
    """Facts of a batch; empty: the line alone is judged."""
    since_ns: int | None = None
    until_ns: int | None = None
    timezone: str | None = None
    """Whose clock files without a zone were written by."""
    time_format: str = "iso"
    gap_s: float | None = None
    """A device that brings nothing for so long is away; None: by its own period."""
    checks: bool = False
    """Judge sampling plans, too, although nobody takes a sample."""


class Busy(msgspec.Struct, frozen=True):
    """When the gateway itself kept a device from being polled: a tare, a zero."""

    since_ns: int
    until_ns: int
    device: str


class Due(msgspec.Struct, frozen=True):
    """What somebody brought, and when it is given to the rules."""

    time_ns: int
    """Wall clock: before the first scan of this time, or later."""
    entry: Entry
    binds: bool = False
    """A weight of the very next nanosecond; where the data lacks that, no other one takes its place."""


class Scale(msgspec.Struct, frozen=True):
    """From the unit of the data to the one the line has."""

    source: str
    unit: str
    factor: float
    offset: float

    def of(self, value: Value) -> Value:
        if isinstance(value, Decimal):
            return convert(value, self.source, self.unit)
        if isinstance(value, (int, float)):
            return round(value * self.factor + self.offset, 9)  # 140 degF is 60 Cel and no hair more
        return value


def scale(source: str, unit: str) -> Scale:
    """ValueError: they do not convert."""
    return Scale(source, unit, *linear(source, unit))


class Notes:
    """What whoever reads the result has to know: said once, in the order it was found."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


class Source(Protocol):
    """One file or store of telemetry; it can be read more than once."""

    tags: Mapping[str, frozenset[str]]
    """Device -> tags it brings, of those the line has."""
    values: int
    """About how many values there are."""

    def scans(self) -> Iterator[Scan]:
        """In the order of time; `mono_ns` is the time of the replay.  LinegateError: it cannot be read on."""
        ...


Tagsets = Mapping[str, TagSet]


def stamp(time_ns: int) -> str:
    """`2026-11-02T08:15:00.250Z`."""
    moment = datetime.fromtimestamp(time_ns // S_NS, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % S_NS // 1_000_000:03d}Z"
