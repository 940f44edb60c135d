"""The driver suite over OPC UA: subscribing and polling, PackTags and the companion model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asyncua import ua
from driver_suite import HaltSuite, beat_is_written

from gateway.drivers.opcua.kind import OpcUaConfig
from tests.opcua_peer import URI, Cable, Remote
from tests.opcua_peer import peer as running_peer

TAGS = {"profile": "packml-tags", "prefix": "f:Filler"}
COMPANION = {
    "profile": "packml-companion",
    "root": "f:Unit",
    "tags": {
        "mode": {"node": "f:Filler.Status.UnitModeCurrent", "path": ""},
        "speed": {"node": "f:Filler.Status.MachSpeed", "path": ""},
        "units": {"node": "f:Filler.Admin.ProdProcessedCount"},
        "rejects": {"node": "f:Filler.Admin.ProdDefectiveCount"},
    },
}


class OpcUaPeer:
    """A PackML machine behind a cable."""

    def __init__(self, machine: Remote, mode: str, dialect: dict[str, Any]) -> None:
        self.machine = machine
        self.cable = Cable(machine)
        self._more = {"mode": mode, **dialect}
        self._expected: dict[str, Any] = {"state": 6, "mode": 1, "speed": 60.0, "units": 0, "rejects": 0}

    def config(self, **changes: Any) -> OpcUaConfig:
        given = {
            "driver": "opcua",
            "url": f"opc.tcp://127.0.0.1:{self.cable.port}",
            "namespace": {"f": URI},
            "period": "50ms",
            "timeout": "2s",
            "halt": {"action": "hold"},
            "halt_budget": "5s",
            "heartbeat": {"write": "f:Filler.Heartbeat.In"},
            "security": {"policy": "None", "mode": "None", "waiver": "loopback"},
        }
        return OpcUaConfig.model_validate({**given, **self._more, **changes})

    @property
    def expected(self) -> dict[str, Any]:
        return dict(self._expected)

    @property
    def held(self) -> bool:
        return bool(self.machine.state == 11)

    @property
    def writes(self) -> list[Any]:
        return [*self.machine.writes, *self.machine.calls]

    async def change(self) -> None:
        self._expected |= {"mode": 3, "speed": self._expected["speed"] + 0.5, "units": 7, "rejects": 2, "state": 6}
        await self.machine.put("Status.UnitModeCurrent", 3)
        await self.machine.put("Status.MachSpeed", self._expected["speed"])
        await self.machine.put("Admin.ProdDefectiveCount", 2)
        await self.machine.put("Admin.ProdProcessedCount", 7)

    async def spoil(self) -> str:
        await self.machine.put("Status.MachSpeed", 60.0, ua.StatusCodes.BadSensorFailure)
        return "speed"

    async def lie(self) -> None:
        self.machine.behave = "lie"

    async def run(self) -> None:
        await self.machine.to(6)

    async def mute(self) -> None:
        await self.cable.mute()

    async def unmute(self) -> None:
        await self.cable.unmute()

    async def cut(self) -> None:
        await self.cable.cut()

    async def heal(self) -> None:
        await self.cable.heal()


@pytest.fixture(scope="module")
def machine() -> Iterator[Remote]:
    with running_peer() as running:
        yield running


class TestOpcUa(HaltSuite):
    """Both ways to read, both ways to halt."""

    @pytest.fixture(params=["subscribe-tags", "poll-companion"])
    async def peer(self, request: Any, machine: Remote) -> AsyncIterator[OpcUaPeer]:
        mode, dialect = request.param.split("-")
        await machine.reset()
        peer = OpcUaPeer(machine, mode, TAGS if dialect == "tags" else COMPANION)
        await peer.run()
        await peer.heal()
        yield peer
        await peer.cut()

    async def test_heartbeat(self, peer: OpcUaPeer) -> None:
        """The heartbeat reaches its node, and nothing else was written."""
        await beat_is_written(peer, lambda: peer.machine.writes[-1][1].Value.Value, {})

        assert {name for name, _ in peer.machine.writes} == {"Filler.Heartbeat.In"}
