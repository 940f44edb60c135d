"""Readers: each line a reading of its own, in order, none lost unseen; over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from serial_peers import PtyLine, TcpLine

from gateway.config.model import ScanPoint
from gateway.drivers.reader.kind import ReaderConfig
from gateway.drivers.reader.link import TORN_S, Reader, ReaderLink
from gateway.errors import DeviceError
from gateway.model import Quality, Reading
from gateway.rules.match import MatchConfig

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "reader.yaml"
PATIENCE_S = 5.0
"""However slow the machine is."""


def made(url: str, **keys: Any) -> ReaderConfig:
    return ReaderConfig.model_validate({"url": url, "period": "50ms", "timeout": "500ms", **keys})


async def met(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # of a line and a link: nobody tells
            await asyncio.sleep(0.001)


def wired(**keys: Any) -> tuple[ReaderLink, Reader, ReaderConfig]:
    """An open reader without a line, for a virtual clock: what it says is given to the link."""
    config = made(**{"url": "tcp://h:1", **keys})
    link = ReaderLink("scanner", config)
    link.connection_made(asyncio.Transport())
    return link, Reader(config, link), config


@asynccontextmanager
async def connected(**keys: Any) -> AsyncIterator[tuple[TcpLine, Reader, ReaderConfig]]:
    """A reader on TCP, open, its first poll done."""
    line = TcpLine(lambda _: [])
    await line.heal()
    config = made(f"tcp://{line.address}", **keys)
    async with config.connect("scanner") as reader:
        await reader.poll()
        await met(lambda: line.transports)
        yield line, reader, config
    await line.cut()


def shown(config: ReaderConfig, reading: Reading) -> dict[str, Any]:
    return dict(zip((spec.name for spec in config.tags()), reading.values, strict=True))


async def until(reader: Reader, config: ReaderConfig, count: int) -> list[dict[str, Any]]:
    """The readings of new lines, until so many were counted."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not found or found[-1]["count"] < count:
            now = shown(config, await reader.poll())
            if now["count"] and (not found or now["count"] != found[-1]["count"]):
                found.append(now)
    return found


async def test_two_reads_in_one_period_are_two_readings() -> None:
    """However they came, each line is a reading, numbered, with its own bytes as evidence."""
    async with connected() as (line, reader, config):
        line.send(b"LOT-1\r\nLOT-2\r\nNOREAD\r\nLOT-")
        line.send(b"3\r\n")
        found = await until(reader, config, 4)
        last = await reader.poll()

    assert [each["code"] for each in found] == ["LOT-1", "LOT-2", None, "LOT-3"]
    assert [each["read"] for each in found] == [True, True, False, True]
    assert [(each["reads"], each["no_reads"]) for each in found] == [(1, 0), (2, 0), (2, 1), (3, 1)]
    assert last.raw == b"LOT-3"


async def test_the_first_reading_says_where_the_count_begins() -> None:
    """Even where a read came before the first poll, that begins at 0 and knows no code; nothing is lost."""
    line = TcpLine(lambda _: [])
    await line.heal()
    config = made(f"tcp://{line.address}")
    async with config.connect("scanner") as reader:
        await met(lambda: line.transports)
        line.send(b"LOT-1\r\n")
        await met(lambda: reader._link.waiting)
        first = await reader.poll()
        second = shown(config, await reader.poll())
    await line.cut()

    assert shown(config, first)["count"] == 0
    assert "nothing was read" in first.faults[0].reason
    assert (second["count"], second["code"]) == (1, "LOT-1")


async def test_no_read_and_garbage_are_told_apart() -> None:
    """A no-read is false with a bad code; a garbled line is neither, and its bytes are shown."""
    async with connected(prefix="\x02", terminator="\x03") as (line, reader, config):
        line.send(b"\x02NOREAD\x03\x02LO\x02LOT-8\x03")
        await until(reader, config, 1)
        none = await reader.poll()
        seen = [none, await reader.poll()]
    names = [spec.name for spec in config.tags()]
    garbled = next(each for each in seen if each.values[names.index("garbled")] == 1)

    assert garbled.values[:2] == (None, None)
    assert garbled.faults[1].quality is Quality.BAD
    assert "LO" in garbled.faults[0].reason


async def test_what_the_queue_cannot_take_is_counted() -> None:
    """The oldest go; how many is said, and they are missing in the count."""
    async with connected(queue=10) as (line, reader, config):
        line.send(b"".join(b"LOT-%d\r\n" % number for number in range(1, 31)))
        found = await until(reader, config, 30)

    assert [each["code"] for each in found] == [f"LOT-{number}" for number in range(21, 31)]
    assert [each["count"] for each in found] == list(range(21, 31))
    assert {each["lost"] for each in found} == {20}
    assert found[-1]["reads"] == 10


async def test_what_was_read_before_the_cable_was_pulled_is_not_lost() -> None:
    """Whole lines come first, half a one as garbled, then the loss."""
    async with connected() as (line, reader, config):
        line.send(b"LOT-1\r\nLOT-2\r\nLO")
        await asyncio.sleep(0.05)
        line.transports[-1].close()
        found = await until(reader, config, 3)
        with pytest.raises(DeviceError, match="scanner"):
            await reader.poll()

    assert [each["code"] for each in found] == ["LOT-1", "LOT-2", None]
    assert found[-1]["garbled"] == 1


async def test_cancelled_polls_lose_nothing() -> None:
    """Polls that are given up at every moment leave every read to the next one, in order."""
    codes: list[Any] = []
    async with connected() as (line, reader, config):
        for number in range(1, 31):
            line.send(b"LOT-%d\r\n" % number)
        for turn in range(60):
            task = asyncio.create_task(reader.poll())
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            codes += [] if task.cancelled() else [shown(config, task.result())["code"]]
        while len(codes) < 30:
            codes.append(shown(config, await reader.poll())["code"])

    assert codes == [f"LOT-{number}" for number in range(1, 31)]


@pytest.mark.looptime
async def test_silence_is_a_lost_link_only_where_a_heartbeat_is_due() -> None:
    """A reader that sends nothing is well; one whose heartbeat stays away is not."""
    _, reader, _ = wired()
    await reader.poll()
    await asyncio.sleep(3600)
    await reader.poll()
    link, reader, config = wired(heartbeat="ALIVE", silence="300ms")
    for _ in range(5):
        link.data_received(b"ALIVE\r\n")
        await asyncio.sleep(0.2)
        assert shown(config, await reader.poll())["count"] == 0
    with pytest.raises(DeviceError, match="no heartbeat"):
        await until(reader, config, 1)


async def test_gs1_and_aim_are_tags() -> None:
    """Symbology, GTIN, lot, expiry and serial stand beside the code; what it does not say is bad, never empty."""
    async with connected(aim=True, gs1=True) as (line, reader, config):
        line.send(b"]d201095212345432131726113010ABC123\r\nLOT-7\r\n")
        (full,) = await until(reader, config, 1)
        names = [spec.name for spec in config.tags()]
        plain = await reader.poll()

    assert {name: full[name] for name in ("symbology", "gtin", "lot", "expiry", "serial")} == {
        "symbology": "GS1 Data Matrix",
        "gtin": "09521234543213",
        "lot": "ABC123",
        "expiry": "2026-11-30",
        "serial": None,
    }
    reasons = {names[at]: fault.reason for at, fault in plain.faults.items()}
    assert set(reasons) == {"symbology", "gtin", "lot", "expiry", "serial"}
    assert "no GS1 element string" in reasons["lot"]


async def test_a_number_that_is_none_is_bad() -> None:
    """Text in a field that should be a number is bad, never a number."""
    async with connected(separator=";", fields=["code", "angle"], numbers={"angle": "deg"}) as (line, reader, config):
        line.send(b"LOT-1;12.50\r\nLOT-2;NaN\r\nLOT-3;x\r\n")
        found = await until(reader, config, 3)

    assert [each["angle"] for each in found] == [Decimal("12.50"), None, None]
    assert str(found[0]["angle"]) == "12.50"


async def test_a_reader_that_calls_us() -> None:
    """We listen; it comes, goes and comes again without our doing; while it is away everything is bad."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    config = made(f"tcp+listen://127.0.0.1:{port}", greeting="LON\r")
    async with config.connect("camera") as reader:
        away = await reader.poll()
        assert len(away.faults) == len(away.values)
        assert "no reader is connected" in away.faults[0].reason
        for number in (1, 2):
            answers, caller = await asyncio.open_connection("127.0.0.1", port)
            assert await answers.readexactly(4) == b"LON\r"
            caller.write(b"LOT-%d\r\n" % number)
            await until(reader, config, number)
            newer, second = await asyncio.open_connection("127.0.0.1", port)  # power-cycled: the old one is dead
            assert await newer.readexactly(4) == b"LON\r"
            assert await answers.read() == b""
            for each in (caller, second):
                each.close()
            async with asyncio.timeout(PATIENCE_S):
                while not (await reader.poll()).faults.get(2):
                    pass


async def test_a_port_that_is_taken_is_said() -> None:
    """Two readers cannot call the same port."""
    line = TcpLine(lambda _: [])
    await line.heal()
    with pytest.raises(DeviceError, match=r"camera.*cannot listen"):
        async with made(f"tcp+listen://{line.address}").connect("camera"):
            pass
    await line.cut()


async def test_half_a_line_at_the_start_of_a_serial_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a prefix, what comes the moment the port was opened may be the end of a line: garbled, not a code."""
    monkeypatch.setattr("gateway.drivers.reader.link.TORN_S", PATIENCE_S)
    line = PtyLine(lambda _: [], tmp_path / "port")
    await line.heal()
    config = made(f"serial://{tmp_path / 'port'}")
    async with config.connect("scanner") as reader:
        line.send(b"0417\r\n")
        found = await until(reader, config, 1)
        line.send(b"B-2026-0417\r\n")
        found += await until(reader, config, 2)
    await line.cut()

    assert [(each["code"], each["read"]) for each in found] == [(None, None), ("B-2026-0417", True)]


@pytest.mark.looptime
@pytest.mark.parametrize(("after_s", "code"), [(0.9 * TORN_S, None), (1.1 * TORN_S, "0417")])
async def test_a_line_that_begins_later_is_whole(after_s: float, code: str | None) -> None:
    """The moment lasts 50 ms: who was silent for so long was between two lines."""
    link, reader, config = wired(url="serial:///dev/ttyNOWHERE")
    await reader.poll()
    await asyncio.sleep(after_s)
    link.data_received(b"0417\r\n")

    assert shown(config, await reader.poll())["code"] == code


@pytest.mark.parametrize("noise", [b"\xff" * 4096, b"\n" * 4096, b"?\r\n" * 1365, b"\x02" * 4096])
async def test_a_flood_harms_nobody(noise: bytes) -> None:
    """Noise without end: another task still gets its turn within milliseconds, and memory is bounded.

    Of three floods the best counts: the machine's own stall is not in each of them.
    """
    async with connected(prefix="\x02", terminator="\r\n", queue=64) as (line, reader, _):
        longest = min([await flooded(line, reader, noise) for _ in range(3)])
        waiting = len(reader._link._frames)
        rest = len(reader._link.framer._rest)

    assert longest < 0.1
    assert waiting <= 64
    assert rest <= 1024


async def flooded(line: TcpLine, reader: Reader, noise: bytes) -> float:
    """How long another task waited for its turn at most, in a quarter of a second."""
    longest, stop = 0.0, time.monotonic() + 0.25

    async def flood() -> None:
        while time.monotonic() < stop:
            line.send(noise)
            await asyncio.sleep(0.001)

    async def poll() -> None:
        while time.monotonic() < stop:
            await reader.poll()

    tasks = [asyncio.create_task(flood()), asyncio.create_task(poll())]
    while time.monotonic() < stop:
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    await asyncio.gather(*tasks)
    return longest


KERNEL_HOLDS = 12_000_000
"""Bytes of both ends' buffers (tcp_rmem and tcp_wmem, tcp(7)); without a brake it is hundreds of millions."""


@pytest.mark.parametrize("scheme", ["tcp", "tcp+listen"])
@pytest.mark.parametrize("noise", [b"\xff" * 65536, b"A\r" * 32768, b"\r\n" * 32768])
async def test_a_flood_waits_at_the_door(scheme: str, noise: bytes) -> None:
    """Whoever speaks without end, called by us or calling, is heard at a reader's pace: TCP makes it wait."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if scheme == "tcp":
            flood = asyncio.create_task(asyncio.to_thread(_flood, taken, noise))
            sent = await _heard(made(f"tcp://127.0.0.1:{port}"))
            assert await flood < KERNEL_HOLDS
            assert sent < 500_000
            return
    config = made(f"tcp+listen://127.0.0.1:{port}")
    flood = asyncio.create_task(asyncio.to_thread(_flood, port, noise))
    assert await _heard(config) < 500_000
    assert await flood < KERNEL_HOLDS


def _flood(where: socket.socket | int, noise: bytes) -> int:
    """Bytes that could be sent until the other side had enough."""
    if isinstance(where, int):
        until = time.monotonic() + 5
        while True:
            try:
                speaker = socket.create_connection(("127.0.0.1", where), 5)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until
    else:
        speaker, _ = where.accept()
    sent = 0
    with speaker:
        try:
            while True:
                sent += speaker.send(noise)
        except OSError:
            return sent


async def _heard(config: ReaderConfig) -> int:
    """Bytes taken in about half a second."""
    async with config.connect("scanner") as reader:
        link, taken, loop = reader._link, 0, asyncio.get_running_loop()
        hear = link.framer.feed

        def counted(data: bytes, most: int | None = None) -> Any:
            nonlocal taken
            taken += len(data)
            return hear(data, most)

        async with asyncio.timeout(PATIENCE_S):
            await link.up.wait()
        link.framer.feed = counted  # type: ignore[method-assign]
        end = loop.time() + 0.5
        while loop.time() < end:
            await reader.poll()
        return taken


async def test_more_lines_at_once_than_anybody_takes_are_counted_not_read() -> None:
    """A flood of short lines costs no more than the queue is long; what was not looked at is lost, and said so."""
    async with connected(queue=10) as (_, reader, config):
        reader._link.data_received(b"A\r" * 50_000)
        found = shown(config, await reader.poll())

    assert found["lost"] == 49_990
    assert found["count"] == 49_991


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "(?P<lot_no>.*)"}, "must be called code"),
        ({"fields": ["code"]}, "belong together"),
        ({"separator": ";", "fields": ["code", "read"]}, "names of their own"),
        ({"separator": ";", "fields": ["code", "code"]}, "names of their own"),
        ({"separator": ";", "fields": ["code", "a"], "numbers": {"b": "deg"}}, "no field 'b'"),
        ({"pattern": "(?P<code>.*)", "separator": ";"}, "either a pattern"),
        ({"url": "udp://x:1"}, "does not begin with"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], words: str) -> None:
    """A form that no line could fit is refused, in words."""
    with pytest.raises(ValidationError) as caught:
        ReaderConfig.model_validate({"url": "tcp://127.0.0.1:1", **keys})

    assert words in str(caught.value)


def test_the_example_validates() -> None:
    """config/examples/reader.yaml: each part is loadable, and its rules and scans name tags that its readers have."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    readers = {name: ReaderConfig.model_validate(device) for name, device in document["devices"].items()}
    tags = {f"{name}/{spec.name}" for name, config in readers.items() for spec in config.tags()}
    named = [*MatchConfig.model_validate(document["rules"]["label"]).inputs()]
    for point in document["gateway"]["scans"].values():
        named += ScanPoint.model_validate(point).tags.values()

    assert set(named) <= tags
