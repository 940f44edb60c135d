"""A room climate sensor: temperature and humidity, asked for by `READ?`, answered by one line.

    READ?  ->  T=21.4;RH=45.2        both good
               T=21.4;RH=ERR         the humidity element is broken: one bad value, the other is kept
    *ID?   ->  climate,0042

`url` is `serial:///dev/ttyS2?baudrate=19200` or `tcp://host:port`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from pydantic import AfterValidator

from gateway.drivers.base import DriverConfig
from gateway.drivers.transport import Stream, open_stream, parse_url, preflight, preload
from gateway.errors import DeviceError
from gateway.model import Fault, Quality, Reading, TagSpec

SCHEMES = ("serial", "tcp")
TAGS = {"T": TagSpec("temperature", "Cel"), "RH": TagSpec("humidity", "%")}
LONGEST = 80
"""Bytes of a line; more than that without an end is noise."""


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


class ClimateConfig(DriverConfig):
    """What stands in line.yaml.  What validated can connect."""

    driver: Literal["climate"] = "climate"
    url: Annotated[str, AfterValidator(_known_url)]

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TAGS.values())

    def address(self) -> str:
        return self.url

    def preflight(self) -> list[str]:
        return preflight(parse_url(self.url, SCHEMES))

    def preload(self) -> None:
        preload(parse_url(self.url, SCHEMES))

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Climate]:
        sensor = Climate(f"{name} ({self.url})")
        async with open_stream(parse_url(self.url, SCHEMES), sensor, self.timeout_s):
            yield sensor


class Climate(Stream):
    """An open sensor.  It answers in order: after a cancelled poll the answers still owed are passed over."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.identity: Mapping[str, str] = {}
        self._line = b""
        self._asked: list[asyncio.Future[str]] = []

    async def poll(self) -> Reading:
        if not self.identity:
            model, _, serial = (await self._ask(b"*ID?\r\n")).partition(",")
            self.identity = {"model": model, "serial": serial}
        return reading(await self._ask(b"READ?\r\n"))

    async def _ask(self, question: bytes) -> str:
        if self.lost is not None:
            raise self.failure()
        answer: asyncio.Future[str] = self.loop.create_future()
        self._asked.append(answer)
        self.transport.write(question)
        return await answer

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-LONGEST:]
        for line in lines:
            answer = self._asked.pop(0) if self._asked else None
            if answer is not None and not answer.done():
                answer.set_result(line.decode("ascii", "replace").strip())

    def dropped(self, error: DeviceError) -> None:
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(error)
        self._asked.clear()


def reading(line: str) -> Reading:
    """One line as a reading.  What is no number is bad, with the sensor's own words; the other value is kept."""
    said = dict(part.partition("=")[::2] for part in line.split(";"))
    values: list[float | None] = []
    faults: dict[int, Fault] = {}
    for at, key in enumerate(TAGS):
        try:
            values.append(float(said[key]))
        except (KeyError, ValueError):
            values.append(None)
            faults[at] = Fault(Quality.BAD, f"the sensor says {line!r}")
    return Reading(tuple(values), faults=faults, raw=line.encode())
