"""The driver suite over readers, on TCP and on a serial port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driver_suite import DriverSuite
from serial_peers import Line, PtyLine, TcpLine

from gateway.drivers.reader.kind import ReaderConfig

FORM = {
    "prefix": "\x02",
    "terminator": "\x03",
    "separator": ";",
    "fields": ["code", "grade", "angle"],
    "numbers": {"angle": "deg"},
}


class ReaderPeer:
    """A reader that reads once it is told to, and whenever something new is held before it."""

    def __init__(self, kind: str, path: Path) -> None:
        self._path = path if kind == "serial" else None
        self._number = 0
        self._said = 0
        self._grades = "ABC"
        self._kept: list[bytes] | None = None
        self.line: Line = PtyLine(self._hear, path) if kind == "serial" else TcpLine(self._hear)

    def _hear(self, data: bytes) -> list[bytes]:
        if b"LON" in data:
            self._said = 0
            self._read()
        return []

    def _read(self) -> None:
        self._said += 1
        frame = b"\x02" + f"LOT-{self._number};{self._grade};{self._number}.50".encode() + b"\x03\r\n"
        if self._kept is None:
            self.line.send(frame)
        else:
            self._kept.append(frame)

    @property
    def _grade(self) -> str:
        return self._grades[self._number % 3].strip()

    def config(self, **changes: Any) -> ReaderConfig:
        url = f"serial://{self._path}" if self._path else f"tcp://{self.line.address}"  # type: ignore[attr-defined]
        keys = {"timeout": "2s", "period": "50ms", "greeting": "LON", **FORM, **changes}
        return ReaderConfig.model_validate({"url": url, **keys})

    @property
    def expected(self) -> Mapping[str, Any]:
        counts = {"count": self._said, "reads": self._said, "no_reads": 0, "garbled": 0, "lost": 0}
        angle = Decimal(f"{self._number}.50")
        return {"code": f"LOT-{self._number}", "read": True, "grade": self._grade, "angle": angle, **counts}

    async def change(self) -> None:
        self._number += 1
        self._read()

    async def mute(self) -> None:
        self._kept = []

    async def unmute(self) -> None:
        kept, self._kept = self._kept or [], None
        for frame in kept:
            self.line.send(frame)

    async def cut(self) -> None:
        await self.line.cut()

    async def heal(self) -> None:
        self._kept = None
        await self.line.heal()

    async def spoil(self) -> str | None:
        """It gives no grade."""
        self._grades = "   "
        return "grade"


class TestReader(DriverSuite):
    """A reader on TCP and on a serial port."""

    @pytest.fixture(params=["tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[ReaderPeer]:
        peer = ReaderPeer(request.param, tmp_path / "port")
        await peer.heal()
        yield peer
        await peer.cut()
