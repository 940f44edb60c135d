"""Times as files write them -> Unix nanoseconds.  Pure.

A time with a zone or an offset is taken by its word.  A naive one needs the site's zone; where clocks are set back the
same hour comes twice, and the second one is taken as soon as the first would go backward.  A time that clocks set
forward left out does not exist and is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

EPOCHS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Counts since 1970 -> nanoseconds."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # what a naive column counts from
_FINE: Final = re.compile(r"\.\d{6}(\d{1,3})")
_LONGEST: Final = 2**63


class NoZoneError(ValueError):
    """Times without a zone, and none was configured."""


class Times:
    """Reads the times of one file, one after the other."""

    def __init__(self, written: str, timezone: str | None) -> None:
        self._written = written
        self._zone = ZoneInfo(timezone) if timezone else None
        self._last_ns = -_LONGEST

    def ns(self, cell: Any) -> int:
        """Nanoseconds since 1970, UTC.  ValueError: it is no time; NoZoneError: nobody said of which zone."""
        found = self._counted(cell) if self._written in EPOCHS else self._dated(cell)
        if not -_LONGEST < found < _LONGEST:
            raise ValueError(f"{cell!r} is not a time of this age; look at time_format")
        self._last_ns = max(self._last_ns, found)
        return found

    def naive_ns(self, count: int) -> int:
        """Nanoseconds since 1970 on the site's own clock (a Parquet column without a zone) -> UTC."""
        local = _NAIVE_EPOCH + timedelta(microseconds=count // 1000)
        return self._local(local, count % 1000)

    def _counted(self, cell: Any) -> int:
        try:
            return int(Decimal(str(cell)) * EPOCHS[self._written])
        except (InvalidOperation, ValueError, OverflowError):
            raise ValueError(f"{cell!r} is not a number of {self._written} since 1970") from None

    def _dated(self, cell: Any) -> int:
        text = str(cell).strip()
        try:
            moment = self._parse(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a time written as {self._written}") from None
        fine = _FINE.search(text) if self._written == "iso" else None
        below_us = int(fine[1].ljust(3, "0")) if fine else 0
        return self._local(moment, below_us) if moment.tzinfo is None else _ns(moment) + below_us

    def _parse(self, text: str) -> datetime:
        if self._written == "iso":
            return datetime.fromisoformat(text)
        return datetime.strptime(text, self._written)  # noqa: DTZ007  # a naive one is given the site's zone

    def _local(self, moment: datetime, below_us: int) -> int:
        if self._zone is None:
            raise NoZoneError(
                f"{moment.isoformat()} names no zone; write timezone: Europe/Berlin, or whose clock it was"
            )
        first = moment.replace(tzinfo=self._zone)
        if first.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != moment:
            raise ValueError(f"{moment.isoformat()} does not exist in {self._zone.key}: clocks were set forward")
        found = _ns(first) + below_us
        if found <= self._last_ns:
            again = _ns(first.replace(fold=1)) + below_us
            return again if again > self._last_ns else found
        return found


def _ns(moment: datetime) -> int:
    age = moment.astimezone(UTC) - _EPOCH
    return (age.days * 86_400 + age.seconds) * 10**9 + age.microseconds * 1000
