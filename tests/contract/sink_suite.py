"""One suite over every kind of sink: what a forwarder relies on."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.errors import SinkError
from gateway.model import Fault, Quality, Record, Scan
from gateway.sinks.base import SinkConfig
from tests.servers import Server
from tests.sink_fakes import Desk, ledger, make_ports, scan


class SinkSuite(ABC):
    """Subclass it, name it Test..., say how to make a config and what arrived; `server` is a fixture."""

    kind: str

    @abstractmethod
    def config(self, server: Server) -> SinkConfig:
        """A configuration that reaches the server, with a budget that a slow machine keeps."""

    @abstractmethod
    @asynccontextmanager
    async def outside(self, server: Server) -> AsyncIterator[Outside]:
        """Somebody who sees what arrives."""
        yield

    async def test_kind_is_declared(self, server: Server) -> None:
        """The config names its kind, its address, and what it wants; nothing heavy is needed for that."""
        config = self.config(server)

        assert config.kind == self.kind
        assert str(server.port) in config.address()
        assert config.wants_scans

    async def test_scans_arrive_once_each(self, server: Server) -> None:
        """When deliver returns, every scan was handed over, each once."""
        async with self.outside(server) as outside, self.config(server).connect("s", make_ports()) as sink:
            await sink.deliver([scan(1)])
            await sink.deliver([scan(seq) for seq in range(2, 200)])
            arrived = await outside.seqs(199)

        assert arrived == list(range(1, 200))

    async def test_records_are_taken(self, server: Server) -> None:
        """Records of every lane are taken, whatever the sink makes of them."""
        kinds = ["gateway.started", "alarm.raised", "halt.confirmed", "check.judged", "weighing.recorded"]
        async with self.config(server).connect("s", make_ports()) as sink:
            await sink.deliver(ledger(kinds))

    async def test_bad_quality_is_no_number(self, server: Server) -> None:
        """A bad value arrives as bad, or not at all; never as a value."""
        bad = {0: Fault(Quality.BAD, "sensor break")}
        async with self.outside(server) as outside, self.config(server).connect("s", make_ports()) as sink:
            await sink.deliver([scan(1), scan(2, (None, 65.0, "auto"), bad), scan(3)])
            assert await outside.seqs(3) == [1, 2, 3]
            temperatures = await outside.temperatures()

        assert temperatures == [65.5, None, 65.5]

    async def test_nobody_there(self, server: Server) -> None:
        """A server that is gone is a SinkError within the budget, at connect or at the first delivery."""
        config = self.config(server)
        server.kill()
        try:
            async with asyncio.timeout(config.timeout_s + 1):
                with pytest.raises(SinkError):
                    async with config.connect("s", make_ports()) as sink:
                        await sink.deliver([scan(1)])
        finally:
            server.start()

    async def test_lost_while_open(self, server: Server) -> None:
        """A server that dies under an open sink makes deliver fail; a new connection works."""
        config = self.config(server)
        async with config.connect("s", make_ports()) as sink:
            await sink.deliver([scan(1)])
            server.kill()
            with pytest.raises(SinkError):
                async with asyncio.timeout(config.timeout_s + 2):
                    await sink.deliver([scan(2)])
        server.start()
        async with config.connect("s", make_ports()) as sink:
            await sink.deliver([scan(3)])

    async def test_cancelled_delivery(self, server: Server) -> None:
        """A delivery that was cancelled leaves nothing behind that spoils the next connection."""
        config = self.config(server)
        items: Sequence[Record | Scan] = [scan(seq) for seq in range(1, 500)]
        async with config.connect("s", make_ports(desk=Desk())) as sink:
            task = asyncio.create_task(sink.deliver(items))
            await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with self.outside(server) as outside, config.connect("s", make_ports()) as sink:
            await sink.deliver([scan(1000)])
            assert 1000 in await outside.seqs(1, least=1000)


class Outside(ABC):
    """Sees what arrived."""

    @abstractmethod
    async def seqs(self, count: int, *, least: int = 0) -> list[int]:
        """Numbers of the scans from `least` on, in order of time, once there are `count` of them."""

    @abstractmethod
    async def temperatures(self) -> list[float | None]:
        """Of the reservoir, by time; None where there is a scan without a value."""
