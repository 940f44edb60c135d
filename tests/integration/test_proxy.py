"""The fault proxy on real sockets and a real pty, by hand and at the control's word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
import time
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.cable import TcpProxy
from simulators.cable_pty import PtyProxy
from simulators.client import Client, ControlError
from simulators.proxy import parse_before

SOON_S = 5.0
"""However slow the machine is."""
SILENT_S = 0.5
"""So long nothing came."""


class _Echo(asyncio.Protocol):
    """A device: says back what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    echo = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    port = int(echo.sockets[0].getsockname()[1])
    proxy = TcpProxy("127.0.0.1", 0, lambda: ("127.0.0.1", port))
    await proxy.open()
    yield proxy
    await proxy.close()
    echo.close()
    await asyncio.sleep(0.05)


async def _dial(proxy: TcpProxy, within_s: float = SOON_S) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(within_s):
        return await asyncio.open_connection("127.0.0.1", proxy.port)


async def _ask(
    pair: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes = b"ping", within_s: float = SOON_S
) -> bytes:
    reader, writer = pair
    writer.write(text)
    async with asyncio.timeout(within_s):
        return await reader.readexactly(len(text))


async def _until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not seen():  # noqa: ASYNC110  # sockets of the kernel set no event
            await asyncio.sleep(0.005)


async def _read(port: int, count: int) -> bytes:
    """So many bytes of a port that does not block."""
    got = bytearray()

    def whole() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(os.read(port, 100))
        return len(got) >= count

    await _until(whole)
    return bytes(got)


async def test_it_passes_and_counts(proxy: TcpProxy) -> None:
    """A sound proxy is not noticed; it knows who came and who is there."""
    pair = await _dial(proxy)
    assert await _ask(pair) == b"ping"
    assert proxy.truth()["open"] == proxy.truth()["accepted"] == 1
    pair[1].close()
    await _until(lambda: proxy.truth()["open"] == 0)


@pytest.mark.parametrize(("fault", "ends"), [("net_cut", ConnectionResetError), ("net_close", None)])
async def test_cut_and_close(proxy: TcpProxy, fault: str, ends: type[Exception] | None) -> None:
    """A cut is RST, a close is FIN, for open and for new connections; healed, new ones work."""
    pair = await _dial(proxy)
    await _ask(pair)
    await proxy.stand(fault, {})
    for each in (pair, await _dial(proxy)):
        if ends is None:
            assert await asyncio.wait_for(each[0].read(), SOON_S) == b""
        else:
            with pytest.raises(ends):
                await asyncio.wait_for(each[0].read(), SOON_S)
    await proxy.lift(fault)
    assert await _ask(await _dial(proxy)) == b"ping"


async def test_refuse(proxy: TcpProxy) -> None:
    """Nobody listens while it stands; the same port listens afterwards."""
    await proxy.stand("net_refuse", {})
    with pytest.raises(ConnectionRefusedError):
        await _dial(proxy)
    await proxy.lift("net_refuse")
    assert await _ask(await _dial(proxy)) == b"ping"


async def test_unreachable_answers_no_syn(proxy: TcpProxy) -> None:
    """Who connects hears neither yes nor no; healed, the same port listens."""
    pair = await _dial(proxy)
    await _ask(pair)
    await proxy.stand("net_unreachable", {})
    with pytest.raises(TimeoutError):
        await _dial(proxy, SILENT_S)
    with pytest.raises(TimeoutError):
        await _ask(pair, within_s=SILENT_S)
    await proxy.lift("net_unreachable")
    assert await _ask(await _dial(proxy)) == b"ping"


async def test_blackhole_keeps_the_connection_and_says_nothing(proxy: TcpProxy) -> None:
    """The client can connect and write, and hears nothing."""
    await proxy.stand("net_blackhole", {})
    with pytest.raises(TimeoutError):
        await _ask(await _dial(proxy), within_s=SILENT_S)


async def test_half_open_is_not_told_to_the_client(proxy: TcpProxy) -> None:
    """The old connection neither answers nor ends, a new one works at once."""
    pair = await _dial(proxy)
    await _ask(pair)
    await proxy.stand("net_half_open", {})
    with pytest.raises(TimeoutError):
        await _ask(pair, within_s=SILENT_S)
    assert proxy.truth()["orphans"] == 1
    await proxy.lift("net_half_open")
    assert await _ask(await _dial(proxy)) == b"ping"
    with pytest.raises(TimeoutError):
        await _ask(pair, within_s=SILENT_S)


async def test_cut_after_bytes(proxy: TcpProxy) -> None:
    """Each connection breaks after so many bytes, the next one begins to count anew."""
    await proxy.stand("net_cut_after", {"bytes": 6})
    for _ in range(2):
        pair = await _dial(proxy)
        assert await _ask(pair) == b"ping"
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await _ask(pair)


async def test_a_device_that_is_off_resets_the_client() -> None:
    """Nobody behind the proxy: the client learns it by a reset, not by silence."""
    proxy = TcpProxy("127.0.0.1", 0, lambda: ("127.0.0.1", 1))
    await proxy.open()
    reader, writer = await _dial(proxy)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), SOON_S)
    writer.close()
    await proxy.close()


async def test_a_pty(tmp_path: Path) -> None:
    """A serial line through the proxy: bytes pass, vanish in a blackhole, the line hangs up on a cut and comes back."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    proxy = PtyProxy(tmp_path / "front.tty", Path(os.ttyname(slave)))
    await proxy.open()
    client = os.open(tmp_path / "front.tty", os.O_RDWR | os.O_NOCTTY)
    os.set_blocking(master, False)
    os.write(client, b"question")
    assert await _read(master, 8) == b"question"
    await proxy.stand("net_blackhole", {})
    os.write(client, b"lost")
    await asyncio.sleep(0.05)
    with pytest.raises(BlockingIOError):
        os.read(master, 100)
    await proxy.stand("net_cut", {})
    assert not (tmp_path / "front.tty").exists()
    assert os.read(client, 1) == b""
    os.close(client)
    await proxy.lift("net_blackhole")
    await proxy.lift("net_cut")
    client = os.open(tmp_path / "front.tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    os.write(master, b"answer")
    assert await _read(client, 6) == b"answer"
    for each in (client, master, slave):
        os.close(each)
    await proxy.close()


def test_what_to_stand_before_is_read_or_refused() -> None:
    """Addresses are read; what is none is told with the right shape."""
    before = parse_before("reservoir=10.0.0.5:502@5021")
    assert (before.name, before.target, before.listen) == ("reservoir", "10.0.0.5:502", "5021")
    assert parse_before("x=host:1").listen == "0"
    for wrong in ("reservoir", "=host:1", "x=host", "x=host:1@a", "x=/dev/ttyS1"):
        with pytest.raises(ValueError, match=r"NAME=|PATH"):
            parse_before(wrong)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The simulated line with proxies, as a process."""
    command = [sys.executable, "-m", "simulators", "--proxy", "--control", "0", "--run-dir", str(tmp_path)]
    command += ["--devices", "reservoir,balance", "--reservoir", "0", "--balance", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        yield dict(json.loads(started.stdout.readline())["addresses"])
        started.terminate()


def test_the_line_with_proxies(process: dict[str, Any]) -> None:
    """With --proxy each device has net_ faults, seen in the truth, healed by themselves after `for_s`."""
    host, _, port = process["control"].rpartition(":")
    with Client.connect(host, int(port)) as line:
        line.do("fault", device="reservoir", name="net_latency", seconds=0.2)
        truth = line.do("truth")["devices"]["reservoir"]
        assert truth["faults"] == {"net_latency": {"seconds": 0.2, "jitter": 0.0}}
        assert truth["cables"][0]["address"] == process["reservoir"]["tcp"]
        with pytest.raises(ControlError, match="way is one of"):
            line.do("fault", device="balance", name="net_loss", way="up")
        assert line.do("heal", device="all")["healed"] == ["reservoir/net_latency"]
        asked_s = time.monotonic()
        line.do("fault", device="balance", name="net_cut", for_s=0.3)
        stands = line.do("truth")["devices"]["balance"]["faults"]
        assert stands or time.monotonic() - asked_s >= 0.3
        deadline_s = time.monotonic() + 10
        while line.do("truth")["devices"]["balance"]["faults"]:
            assert time.monotonic() < deadline_s, "the fault did not heal by itself"
            time.sleep(0.02)
