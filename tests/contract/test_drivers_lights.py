"""The driver suite over lights: what changes is what they are told to show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from driver_suite import DriverSuite
from serial_peers import ModbusPeer

from gateway.drivers.base import DriverConfig, Pattern, Showing, Sign
from gateway.drivers.lights.device import Lights
from gateway.drivers.lights.kind import LightsConfig

LAMPS = {"red": {"coil": 0}, "amber": {"register": 300, "bit": 3}, "green": {"coil": 2}}
PATTERNS: list[Pattern] = [frozenset({Sign.NORMAL}), frozenset({Sign.HALT, Sign.ALARM, Sign.ALARM_NEW})]
SHOWN = [
    {"red": "off", "amber": "off", "green": "steady"},
    {"red": "steady", "amber": "flash", "green": "off"},
]


class Told(LightsConfig):
    """Lights that somebody tells what to show, as a station would."""

    open_now: ClassVar[list[Lights]] = []
    told: ClassVar[int] = 0

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[Lights]:
        async with super().connect(name) as lights:
            Told.open_now.append(lights)
            await lights.show(PATTERNS[Told.told])
            yield lights


class LightsPeer(ModbusPeer):
    """A module whose coils take what is written."""

    def _written(self, table: str, address: int, value: int) -> None:
        if (table, address) in self.registers.words:
            self.registers.put(table, address, int(value != 0) if table == "coil" else value)

    def config(self, **changes: Any) -> DriverConfig:  # type: ignore[override]  # other lamps on the same module
        base = super().config()
        keys = {"timeout": "2s", "period": "20ms", "lamp_test": "0s", **changes}
        return Told.model_validate({"url": base.url, "unit_id": base.unit_id, "lamps": LAMPS, **keys})

    @property
    def expected(self) -> Mapping[str, Any]:
        return SHOWN[Told.told]

    async def change(self) -> None:
        Told.told = 1 - Told.told
        if Told.open_now:
            await Told.open_now[-1].show(PATTERNS[Told.told])

    async def spoil(self) -> str | None:
        """There is no such coil."""
        del self.registers.words["coil", 0]
        return "red"


class TestLights(DriverSuite):
    """A stack light on Modbus TCP, on RTU through a serial server and on a serial port."""

    @pytest.fixture(params=["tcp", "rtu+tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[LightsPeer]:
        Told.open_now.clear()
        Told.told = 0
        peer = LightsPeer(request.param, tmp_path / "port")
        for at in (0, 2):
            peer.registers.put("coil", at, 0)
        peer.registers.put("holding", 300, 0)
        await peer.heal()
        yield peer
        await peer.cut()

    async def test_lights_are_showing(self, peer: LightsPeer) -> None:
        """Whoever opens them finds a device that can show."""
        async with peer.config().connect("stack") as lights:
            assert isinstance(lights, Showing)
            assert peer.config().shows
