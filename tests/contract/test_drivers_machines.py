"""The driver suite over pumps, print engines and relays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from driver_suite import HaltSuite
from machine_peers import PumpPeer, ZebraPeer


class TestPump(HaltSuite):
    """A Watson-Marlow pump behind a serial server and on a serial port."""

    @pytest.fixture(params=["tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[PumpPeer]:
        peer = PumpPeer(request.param, tmp_path / "port")
        await peer.heal()
        yield peer
        await peer.cut()


class TestZebra(HaltSuite):
    """A Zebra print engine on port 9100 and on a serial port."""

    @pytest.fixture(params=["tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[ZebraPeer]:
        peer = ZebraPeer(request.param, tmp_path / "port")
        await peer.heal()
        yield peer
        await peer.cut()
