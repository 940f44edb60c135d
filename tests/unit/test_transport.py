"""Serial ports that do not do as they are told."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator

import pytest

from gateway.drivers.transport import Stream, open_stream, parse_url
from gateway.errors import DeviceError

SCHEMES = ("serial",)


@pytest.fixture
def port() -> Iterator[str]:
    near, far = pty.openpty()
    yield os.ttyname(far)
    os.close(near)
    os.close(far)


async def test_a_port_that_refuses_its_settings_is_an_error_and_not_kept_open(port: str) -> None:
    """A pty has no parity: the error says what to try, and the next try finds the port free."""
    with pytest.raises(DeviceError, match=r"oven: the port does not take its settings: .*; try another baudrate"):
        async with open_stream(parse_url(f"serial://{port}?parity=E", SCHEMES), Stream("oven"), 2.0):
            pytest.fail("a pty took parity")
    async with open_stream(parse_url(f"serial://{port}", SCHEMES), Stream("oven"), 2.0) as stream:
        assert stream.lost is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("serial:///dev/ttyS1?baudrate=99999999999999999999", "at most 4000000"),
        ("serial:///dev/ttyS1?baudrate=4000001", "at most 4000000"),
        ("serial:///dev/ttyS1?baudrate=²", "a number like 9600"),
        ("serial:///dev/tty\0S1", "write the url anew"),
        ("tcp://[::1:502", "write serial://host:port or tcp://host:port"),
    ],
)
def test_a_url_that_nothing_can_open_is_refused_before_it_is_opened(url: str, said: str) -> None:
    """What pyserial or the resolver would choke on later is a ValueError with the url in it."""
    with pytest.raises(ValueError, match=r"write|possible") as caught:
        parse_url(url, ("serial", "tcp"))
    assert said in str(caught.value)
    assert repr(url)[1:10] in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("tcp://127.0.0.1:1", "nobody listens there: start what does"),
        ("serial:///dev/ttyNOWHERE", "plug the adapter in, or correct the path in url"),
    ],
)
async def test_what_cannot_be_opened_says_what_helps(url: str, said: str) -> None:
    """The error of the system, and what a person can do about it."""
    with pytest.raises(DeviceError, match=said):
        async with open_stream(parse_url(url, ("serial", "tcp")), Stream("oven"), 2.0):
            pytest.fail("nobody is there")


async def test_a_port_that_another_program_holds_says_so(port: str) -> None:
    """Two on one port take each other's answers: the second is told, and where to look."""
    async with open_stream(parse_url(f"serial://{port}", SCHEMES), Stream("oven"), 2.0):
        with pytest.raises(DeviceError, match="another program has it open"):
            async with open_stream(parse_url(f"serial://{port}", SCHEMES), Stream("scale"), 2.0):
                pytest.fail("both have it")


class Counting(Stream):
    """Takes everything, and looks whether it is whole."""

    taken = 0
    whole = True

    def data_received(self, data: bytes) -> None:
        self.whole = self.whole and all(byte == (self.taken + at) % 256 for at, byte in enumerate(data))
        self.taken += len(data)


async def test_a_flood_waits_outside_and_loses_nothing() -> None:
    """Whoever sends as fast as the wire takes it gets in what a device could mean, in order, and no more."""
    page = bytes(range(256)) * 256
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        try:
            while True:
                writer.write(page)
                await writer.drain()
        except ConnectionError:
            writer.close()
            ended.set()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_stream(parse_url(f"tcp://127.0.0.1:{port}", ("tcp",)), Counting("mad"), 2.0) as stream:
        began = stream.loop.time()
        async with asyncio.timeout(10):
            while stream.taken <= 50_000 or stream.loop.time() - began < 1:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.05)
        assert stream.taken < 2 * stream.most_per_s * (stream.loop.time() - began)
        assert stream.whole
    await ended.wait()
    server.close()
