"""A server, or what answers in its place, that sends more than any server of ours: cut off soon, and nobody waits."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.errors import DeviceError

ACKNOWLEDGE = b"ACKF" + struct.pack("<IIIIII", 28, 0, 65536, 65536, 0, 0)
HUGE = b"OPNF" + struct.pack("<II", 1 << 30, 0)


class Flood:
    """Acknowledges, then sends its beginning and noise for ever."""

    def __init__(self, begins: bytes, noise: bytes) -> None:
        self._begins, self._noise = begins, noise * 4096
        self.sent = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readexactly(8)
            await reader.readexactly(struct.unpack("<I", head[4:])[0] - 8)
            writer.write(ACKNOWLEDGE)
            await reader.readexactly(8)
            writer.write(self._begins)
            while self.sent < 100_000_000:
                writer.write(self._noise)
                await writer.drain()
                self.sent += len(self._noise)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("begins", "noise"), [(HUGE, b"\0" * 16), (b"", b"\xff" * 16)], ids=["a chunk of a gigabyte", "0xFF without end"]
)
async def test_a_flood_is_cut_off(begins: bytes, noise: bytes) -> None:
    """A device error that names device and address, after a few megabytes at most, and little of the processor."""
    flood = Flood(begins, noise)
    async with flood.open() as url:
        config = OpcUaConfig.model_validate(
            {
                "url": url,
                "tags": {"a": {"node": "nsu=urn:x;s=A"}},
                "security": {"policy": "None", "mode": "None", "waiver": "the flood is what is tested"},
            }
        )
        import gateway.drivers.opcua.device  # noqa: F401, PLC0415  # what asyncua takes to import is none of the flood's

        before = time.process_time()
        with pytest.raises(DeviceError, match=r"press at opc\.tcp://127\.0\.0\.1"):
            async with asyncio.timeout(20), config.connect("press"):
                pass
        took_s = time.process_time() - before

    assert flood.sent < 8_000_000
    assert took_s < 1.5
