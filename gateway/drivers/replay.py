"""A file as a device: CSV or Parquet with timestamps, at the pace of its own clock, faster, or as fast as can be.

    devices:
      yesterday:
        driver: replay
        file: telemetry.csv
        timezone: America/Denver         # needed where the file's times name no zone
        speed: 10                        # max: as fast as the line takes them
        tags:
          temperature: {column: "Oil T [C]", unit: Cel}
          weight: {unit: g, kind: decimal}

Each row is a scan whose values carry the file's own time as their source time.  Rows whose time goes backward, comes
twice or cannot be read are skipped: the tag `skipped` counts them, and the log tells the first of each kind.  An empty
cell is bad.  Between two rows the last one stands; longer than `gap`, everything is bad.  At its end the file begins
again with `loop: true`; else everything is bad, with the reason.  Parquet needs the extra `linegate[parquet]`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

import structlog
from pydantic import ConfigDict, Field, field_validator, model_validator

from gateway.drivers.base import DriverConfig
from gateway.drivers.replay_rows import KNOWN_TIMES, Column, FileError, Reader, Row, Rows, look, open_rows
from gateway.errors import DeviceMisconfigured
from gateway.model import Fault, Quality, Reading, TagSpec
from gateway.recipe import Frozen
from gateway.units import Duration, linear

log = structlog.get_logger()

SKIPPED: Final = "skipped"
"""The tag that counts rows left out."""
_AHEAD: Final = 512
"""Rows read at once, in a thread: a slow disk delays nobody."""
_TOLD: Final = 8
"""Reasons told one by one."""


class ReplayTag(Frozen):
    """A column of the file."""

    column: str | None = None
    """Its header; the tag's own name if not given."""
    unit: str = "1"
    kind: Literal["number", "decimal", "bool", "text"] = "number"

    @model_validator(mode="after")
    def _known_unit(self) -> ReplayTag:
        linear(self.unit, self.unit)
        return self


class ReplayConfig(DriverConfig):
    """A file that is played back."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["replay"] = "replay"
    file: Path
    """CSV or Parquet; relative to the configuration's own folder."""
    format: Literal["csv", "parquet"] | None = None
    """By the file's ending where nothing is said: .parquet and .pq are Parquet."""
    time: str = "time"
    """Header of the column with the times."""
    time_format: str = "iso"
    """iso; s, ms, us or ns since 1970; or a pattern like %d.%m.%Y %H:%M:%S."""
    timezone: str | None = None
    """Whose clock times without a zone were written by: Europe/Berlin."""
    speed: float | Literal["max"] = 1.0
    """How many times faster than the file's own clock."""
    loop: bool = False
    """Begin again at the end."""
    gap_s: Duration | None = Field(None, alias="gap", gt=0)
    """Rows further apart (by the file's clock) leave a gap: bad from then on, until the next row."""
    delimiter: str = Field(",", min_length=1, max_length=1)
    decimal_comma: bool = False
    """Numbers are written 1,5."""
    map_: dict[str, ReplayTag] = Field(alias="tags", min_length=1)

    @field_validator("time_format")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text not in KNOWN_TIMES and "%" not in text:
            raise ValueError(f"{text!r}: write {', '.join(KNOWN_TIMES)} or a pattern like %Y-%m-%d %H:%M:%S")
        return text

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
                raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin or UTC") from None
            except KeyError:
                raise ValueError(f"there is no time zone {name!r}; write one like Europe/Berlin or UTC") from None
        return name

    @field_validator("speed")
    @classmethod
    def _forward(cls, speed: float | str) -> float | str:
        if isinstance(speed, float) and not 0 < speed <= 1e6:  # faster is max
            raise ValueError(
                f"speed {speed:g}: write a number above 0 (1 is real time, 10 is ten times faster), or max"
            )
        return speed

    @field_validator("map_")
    @classmethod
    def _free(cls, tags: dict[str, ReplayTag]) -> dict[str, ReplayTag]:
        if SKIPPED in tags:
            raise ValueError(f"the tag {SKIPPED!r} counts the rows left out; give yours another name and its column")
        return tags

    @property
    def subscribes(self) -> bool:
        return True

    @cached_property
    def reader(self) -> Reader:
        """How the file is read."""
        return Reader(
            path=self.file,
            columns=tuple(Column(tag.column or name, tag.kind) for name, tag in self.map_.items()),
            time=self.time,
            time_format=self.time_format,
            timezone=self.timezone,
            delimiter=self.delimiter,
            decimal_comma=self.decimal_comma,
            parquet=self.format == "parquet" if self.format else self.file.suffix in (".parquet", ".pq"),
        )

    def tags(self) -> tuple[TagSpec, ...]:
        columns = (TagSpec(name, tag.unit, tag.kind) for name, tag in self.map_.items())
        return (*columns, TagSpec(SKIPPED, "{count}"))

    def address(self) -> str:
        return str(self.file)

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: the file, its columns, its first time."""
        wrong = look(self.reader)
        return [f"{self.file.name}: {wrong}"] if wrong else []

    def connect(self, name: str) -> AbstractAsyncContextManager[Replay]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: ReplayConfig, name: str) -> AsyncIterator[Replay]:
    device = Replay(config, name)
    try:
        await device.begin()
        yield device
    finally:
        await device.aclose()


class Replay:
    """An open file."""

    def __init__(self, config: ReplayConfig, name: str) -> None:
        self.identity: Mapping[str, str] = {"file": config.file.name}
        self._config = config
        self._name = name
        self._speed = None if config.speed == "max" else float(config.speed)
        self._loop = asyncio.get_running_loop()
        self._stack = ExitStack()
        self._rows: Rows | None = None
        self._ahead: deque[Row] = deque()
        self._filling: asyncio.Future[list[Row]] | None = None
        self._fresh = True
        """The next rows are the first of a round."""
        self._last: Row | None = None
        self._started = 0.0
        self._first_ns = 0
        self._before = 0
        """Rows skipped in earlier rounds."""
        self._told = 0

    async def begin(self) -> None:
        """Open the file and read its first rows.  DeviceMisconfigured says what is wrong with it."""
        if await self._next() is None:
            reasons = self._rows.reasons.values() if self._rows is not None else ()
            raise self._failure("; ".join(("has no row with a time that can be read", *reasons)))

    async def poll(self) -> Reading:
        """The next row when its time has come; the last one again where that is more than a period away."""
        row = await self._next()
        if row is None:
            await asyncio.sleep(self._config.period_s)
            return self._nothing(f"{self._config.file.name} has ended")
        wait_s = self._wait_s(row)
        if wait_s > self._config.period_s:
            await asyncio.sleep(self._config.period_s)
            return self._standing()
        await asyncio.sleep(max(0.0, wait_s))
        self._last = self._ahead.popleft()
        return self._reading(self._last)

    def _wait_s(self, row: Row) -> float:
        if self._speed is None:
            return 0.0
        return self._started + (row.time_ns - self._first_ns) / 1e9 / self._speed - self._loop.time()

    async def _next(self) -> Row | None:
        """The row that is due next; None at the end."""
        if not self._ahead and (self._filling is not None or self._rows is None or not self._rows.ended):
            await self._fill()
        if not self._ahead and self._config.loop and not self._fresh:
            self._fresh = True
            log.info("replay begins again", device=self._name, file=str(self._config.file))
            await self._fill()
        return self._ahead[0] if self._ahead else None

    async def _fill(self) -> None:
        """Rows, or the end.  A poll cancelled meanwhile loses nothing: the next one waits for the same rows."""
        while not self._ahead:
            if self._filling is None:
                again = self._rows is None or self._rows.ended
                self._filling = self._loop.run_in_executor(None, self._open if again else self._take)
            try:
                rows = await asyncio.shield(self._filling)
            except FileError as error:
                self._filling = None
                raise self._failure(str(error)) from None
            self._filling = None
            self._ahead.extend(rows)
            self._tell()
            if self._rows is None or self._rows.ended:
                break
        if self._ahead and self._fresh:
            self._fresh = False
            self._started, self._first_ns = self._loop.time(), self._ahead[0].time_ns

    def _open(self) -> list[Row]:
        """From the beginning; in a thread, as a slow disk must delay nobody."""
        self._before += self._rows.skipped if self._rows is not None else 0
        self._stack.close()
        self._rows = self._stack.enter_context(open_rows(self._config.reader))
        return self._rows.take(_AHEAD)

    def _take(self) -> list[Row]:
        return self._rows.take(_AHEAD) if self._rows is not None else []

    def _tell(self) -> None:
        """The first of each kind of row that is left out."""
        if self._rows is None:
            return
        reasons = list(self._rows.reasons.values())
        for reason in reasons[self._told : _TOLD]:
            log.warning(
                "replay skips rows", device=self._name, reason=reason, next=f"counted in {self._name}/{SKIPPED}"
            )
        self._told = max(self._told, len(reasons))

    def _failure(self, text: str) -> DeviceMisconfigured:
        return DeviceMisconfigured(f"{self._name} ({self._config.file}): {text}")

    def _reading(self, row: Row) -> Reading:
        places = range(len(row.values) + 1)
        return Reading((*row.values, self._before + row.skipped), row.faults, dict.fromkeys(places, row.time_ns))

    def _standing(self) -> Reading:
        """Between two rows: the last one, unless the file itself has a gap here."""
        last, gap_s = self._last, self._config.gap_s
        if last is None:
            return self._nothing("the first row is not due yet")
        if gap_s is not None and self._speed is not None:
            now_ns = self._first_ns + (self._loop.time() - self._started) * self._speed * 1e9
            if now_ns - last.time_ns > gap_s * 1e9:
                return self._nothing(f"{self._config.file.name} has a gap here")
        return self._reading(last)

    def _nothing(self, reason: str) -> Reading:
        count = len(self._config.map_)
        skipped = self._before + (self._rows.skipped if self._rows is not None else 0)
        return Reading((*(None,) * count, skipped), dict.fromkeys(range(count), Fault(Quality.BAD, reason)))

    async def aclose(self) -> None:
        """Close the file, after a thread that still reads from it."""
        if self._filling is not None:
            await asyncio.wait([self._filling])
            self._filling.exception()
        self._stack.close()
