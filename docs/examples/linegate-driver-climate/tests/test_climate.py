"""The climate sensor's driver does what every driver must, and reads its maker's lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from linegate_driver_climate import ClimateConfig, reading

from gateway.testing.drivers import DriverSuite
from gateway.testing.lines import PtyLine, TcpLine


class Sensor:
    """The far end: a sensor on a socket or on a pty, in the test's hand."""

    def __init__(self, kind: str, port: Path) -> None:
        self.line: TcpLine | PtyLine = TcpLine(self.answers) if kind == "tcp" else PtyLine(self.answers, port)
        self.mute, self.unmute, self.cut, self.heal = self.line.mute, self.line.unmute, self.line.cut, self.line.heal
        self._heard = b""
        self._turn = 0
        self._broken = False

    def answers(self, data: bytes) -> list[bytes]:
        *questions, self._heard = (self._heard + data).split(b"\r\n")
        humidity = "ERR" if self._broken else f"{45 + self._turn}.5"
        now = f"T=21.{self._turn};RH={humidity}\r\n".encode()
        return [b"climate,0042\r\n" if question == b"*ID?" else now for question in questions]

    @property
    def expected(self) -> dict[str, Any]:
        return {"temperature": 21 + self._turn / 10, "humidity": 45.5 + self._turn}

    def config(self, **changes: Any) -> ClimateConfig:
        line = self.line
        url = f"serial://{line.path}" if isinstance(line, PtyLine) else f"tcp://{line.address}"
        return ClimateConfig.model_validate({"url": url, "period": "20ms", "timeout": "500ms", **changes})

    async def change(self) -> None:
        self._turn += 1

    async def spoil(self) -> str:
        self._broken = True
        return "humidity"


class TestClimate(DriverSuite):
    """Everything that Linegate asks of a driver."""

    @pytest.fixture(params=["tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[Sensor]:
        sensor = Sensor(request.param, tmp_path / "port")
        await sensor.heal()
        yield sensor
        await sensor.cut()


async def test_identity(tmp_path: Path) -> None:
    """Model and serial number are the sensor's own."""
    sensor = Sensor("tcp", tmp_path)
    await sensor.heal()
    async with sensor.config().connect("room") as device:
        await device.poll()
        assert device.identity == {"model": "climate", "serial": "0042"}
    await sensor.cut()


@pytest.mark.parametrize("line", ["", "T=;RH=", "ERR 7", "T=21,4;RH=45", "=;=;="])
def test_whatever_comes_is_a_reading(line: str) -> None:
    """What is no number is bad and keeps the sensor's words: never an exception, never a guess."""
    found = reading(line)

    assert found.values[0] is None
    assert line in found.faults[0].reason
