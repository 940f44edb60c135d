"""Print engines: what silence can mean, and what a halt takes for proof."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from machine_peers import ZebraPeer
from pydantic import ValidationError
from serial_peers import TcpLine

from gateway.drivers.zebra.kind import ZebraConfig
from gateway.errors import DeviceError, NotHeld
from gateway.model import HaltOrder, Quality, Reading

ORDER = HaltOrder(id="printer:rule", device="printer", rule="rule", text="wrong label", requested_ns=1)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[ZebraPeer]:
    peer = ZebraPeer("tcp", tmp_path / "port")
    await peer.heal()
    yield peer
    await peer.cut()


def dumb(*commands: str) -> Any:
    """The printer hears these and says nothing."""
    return lambda command: b"" if command in commands else None


def reason(reading: Reading) -> str:
    """Why all of it is bad."""
    assert set(reading.values) == {None}
    assert len({fault.reason for fault in reading.faults.values()}) == 1
    assert {fault.quality for fault in reading.faults.values()} == {Quality.BAD}
    assert reading.held is None
    return reading.faults[0].reason


def test_example_loads() -> None:
    """Every device of the shipped example validates, and can be held."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "zebra.yaml").read_text(encoding="utf-8")
    printers = [ZebraConfig.model_validate(given) for given in yaml.safe_load(text)["devices"].values()]

    assert printers
    assert all(printer.haltable() for printer in printers)


@pytest.mark.parametrize(
    "given",
    [{"url": "rtu+tcp://h:1"}, {"url": "tcp://h:9100", "answer": "1s"}, {"url": "tcp://h:9100", "dead_after": 0}],
)
def test_refusals(given: dict[str, Any]) -> None:
    """A url that cannot be, and patience longer than the poll's budget, are refused."""
    with pytest.raises(ValidationError):
        ZebraConfig.model_validate(given)


async def test_identity(peer: ZebraPeer) -> None:
    """Model and firmware are the printer's own word at connect."""
    async with peer.config().connect("printer") as device:
        assert device.identity == {"maker": "Zebra", "model": "ZE511-300dpi", "firmware": "V92.21.19Z"}


async def test_polling_says_nothing_but_questions(peer: ZebraPeer) -> None:
    """Nothing that has an effect is ever said without a halt, and a release says nothing."""
    async with peer.config().connect("printer") as device:
        for _ in range(3):
            await device.poll()
        await device.withdraw()

    assert peer.asked == ["~HI", "~HS", "~HS", "~HS"]


async def test_silence_is_ambiguous_and_says_so(peer: ZebraPeer) -> None:
    """No answer to ~HS: all bad, with what that can mean; when ~HI is answered, the link is out of it."""
    async with peer.config(timeout="500ms").connect("printer") as device:
        peer.before = dumb("~HS")
        first, second = reason(await device.poll()), reason(await device.poll())
        peer.before = dumb("~HS", "~HI")
        third = reason(await device.poll())
        peer.before = dumb()
        after = await device.poll()

    for text in (first, second, third):
        assert "media or ribbon out, head open, rewinder full or head too hot" in text
    assert "or the printer or the link is dead" in first
    assert "it answers ~HI, so the link is alive and the fault is at the printer" in second
    assert "or the printer or the link is dead" in third
    assert after.faults == {}


async def test_silent_from_the_start(peer: ZebraPeer) -> None:
    """A printer that is out of media when the gateway starts: connected, nameless, bad with the reason; then good."""
    peer.before = dumb("~HS", "~HI")
    async with peer.config(timeout="500ms").connect("printer") as device:
        assert device.identity == {}
        assert "media or ribbon out" in reason(await device.poll())
        peer.before = dumb()
        assert (await device.poll()).faults == {}


async def test_a_lost_link_is_no_silence(peer: ZebraPeer) -> None:
    """A cut connection is a DeviceError at once: that one is known."""
    async with peer.config().connect("mixer_7") as device:
        await device.poll()
        await peer.cut()
        with pytest.raises(DeviceError, match="mixer_7"):
            await device.poll()


async def test_the_network_is_watched(peer: ZebraPeer) -> None:
    """A far end that acknowledges nothing for dead_after is broken off by the kernel."""
    async with peer.config(dead_after="8s").connect("printer") as device:
        there = device._link.transport.get_extra_info("socket")
        options = [
            there.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE)
        ]

    assert options == [8000, 4]


async def test_a_late_status_never_answers_the_next_poll(peer: ZebraPeer) -> None:
    """However many answers were kept back, the next reading is the printer of now."""
    async with peer.config(timeout="500ms").connect("printer") as device:
        await peer.mute()
        for _ in range(3):
            reason(await device.poll())
        peer.remaining = 17
        poll = asyncio.create_task(device.poll())
        await asyncio.sleep(0.01)
        await peer.unmute()

        assert (await poll).values[11] == 17
        peer.remaining = 16
        assert (await device.poll()).values[11] == 16


async def test_garbage_is_a_bad_reading(peer: ZebraPeer) -> None:
    """What is no status is bad with its bytes, never a number; noise before an answer costs one question."""
    async with peer.config().connect("printer") as device:
        noise = [b"\x02?\x03\r\n"]
        peer.before = lambda command: noise.pop() if noise and command == "~HS" else None
        assert (await device.poll()).faults == {}
        peer.before = lambda command: b"\x02030,7,0\x03\r\n" if command == "~HS" else None
        assert "030,7,0" in reason(await device.poll())


async def test_a_silent_printer_is_paused_all_the_same(peer: ZebraPeer) -> None:
    """Media out: pause is said, nothing is believed, and the text says what the silence can mean."""
    async with peer.config().connect("printer") as device:
        peer.before = dumb("~HS")
        with pytest.raises(NotHeld, match=r"~PP sent, but after 1 s: no answer to ~HS: media or ribbon out"):
            await device.halt(ORDER)

    assert peer.writes == ["~PP"]


async def test_apply_then_revert_shows_in_the_next_poll(peer: ZebraPeer) -> None:
    """Somebody presses PAUSE again: the next reading says that it is not held any more."""
    async with peer.config().connect("printer") as device:
        assert (await device.halt(ORDER)).wrote
        assert (await device.poll()).held is True
        await peer.run()
        assert (await device.poll()).held is False
        assert (await device.halt(ORDER)).wrote


@pytest.mark.parametrize("step", range(1, 4))
async def test_cut_in_the_middle_of_a_halt(peer: ZebraPeer, step: int) -> None:
    """The link breaks at any of a halt's three commands: a DeviceError, never a proof."""
    left = step

    def fall(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            assert isinstance(peer.line, TcpLine)
            peer.line.transports[-1].abort()

    async with peer.config().connect("printer") as device:
        peer.before = fall
        with pytest.raises(DeviceError):
            await device.halt(ORDER)

    assert left == 0
