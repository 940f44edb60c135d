"""An open file of telemetry: its rows in their time, read ahead by a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import structlog

from gateway.drivers.replay.kind import SKIPPED, ReplayConfig
from gateway.drivers.replay.rows import FileError, Row, Rows, open_rows
from gateway.errors import DeviceMisconfigured
from gateway.model import Fault, Quality, Reading

log = structlog.get_logger()

_AHEAD: Final = 512
"""Rows read at once, in a thread: a slow disk delays nobody."""
_TOLD: Final = 8
"""Reasons told one by one."""


@asynccontextmanager
async def connect(config: ReplayConfig, name: str) -> AsyncIterator[Replay]:
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
