"""The driver suite over Modbus and balance, on each kind of line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from driver_suite import DriverSuite, HaltSuite, beat_is_written
from serial_peers import BalancePeer, ModbusPeer


class TestModbus(HaltSuite):
    """Modbus TCP, RTU through a serial server, RTU on a serial port."""

    @pytest.fixture(params=["tcp", "rtu+tcp", "serial"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[ModbusPeer]:
        peer = ModbusPeer(request.param, tmp_path / "port")
        await peer.heal()
        yield peer
        await peer.cut()

    async def test_heartbeat(self, peer: ModbusPeer) -> None:
        """The heartbeat reaches its register, and nothing else was written."""
        await beat_is_written(peer, lambda: peer.writes[-1][2], {})

        assert {(table, address) for table, address, _ in peer.writes} == {("holding", 100)}


class TestBalance(DriverSuite):
    """A balance of each dialect: each behind a serial server, two of them on a serial port too."""

    @pytest.fixture(params=["tcp mt-sics", "tcp sbi", "tcp a-and-d", "tcp ohaus", "serial mt-sics", "serial sbi-22"])
    async def peer(self, request: Any, tmp_path: Path) -> AsyncIterator[BalancePeer]:
        kind, dialect = request.param.split()
        peer = BalancePeer(kind, tmp_path / "port", dialect)
        await peer.heal()
        yield peer
        await peer.cut()


class TestBalanceWithoutAName(DriverSuite):
    """A balance that says nothing of itself: the rule without a fence."""

    @pytest.fixture
    async def peer(self, tmp_path: Path) -> AsyncIterator[BalancePeer]:
        peer = BalancePeer("tcp", tmp_path / "port", "sbi-old")
        await peer.heal()
        yield peer
        await peer.cut()
