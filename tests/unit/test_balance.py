"""Balances: exact masses, reasons, and lines nobody asked for."""

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
import uvloop
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from serial_peers import SPEECH, BalancePeer

from gateway.drivers.balance.kind import GRAMS, BalanceConfig, converted, reading
from gateway.drivers.balance.link import BalanceLink
from gateway.drivers.wire.mt_sics import parse
from gateway.errors import DeviceError, NotDone
from gateway.model import Quality
from gateway.units import UNITS

PATIENCE = "5s"
"""Even on a slow machine: whoever says no name is waited for through half of a short timeout before it is weighed."""


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[BalancePeer]:
    peer = BalancePeer("tcp", tmp_path / "port")
    await peer.heal()
    yield peer
    await peer.cut()


def test_example_loads() -> None:
    """Every device of the shipped example validates."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "balance.yaml").read_text(encoding="utf-8")
    devices = [BalanceConfig.model_validate(given) for given in yaml.safe_load(text)["devices"].values()]

    assert {device.tags()[0].kind for device in devices} == {"decimal"}
    assert not devices[0].haltable()


@pytest.mark.parametrize(
    "given",
    [
        {"url": "rtu+tcp://h:1"},
        {"url": "tcp://h:1", "unit": "Cel"},
        {"url": "tcp://h:1", "dialect": "x"},
        {"url": "tcp://h:1", "es": "stability"},
        {"url": "tcp://h:1", "prints": "net"},
        {"url": "tcp://h:1", "dialect": "sbi", "column": 11},
        {"url": "tcp://h:1", "mode": "stream"},
    ],
)
def test_refusals(given: dict[str, str]) -> None:
    """A url, unit or dialect that cannot be is refused."""
    with pytest.raises(ValidationError):
        BalanceConfig.model_validate(given)


@pytest.mark.parametrize(
    ("text", "source", "target", "found"),
    [
        ("1.0120", "g", "g", "1.0120"),
        ("1.0120", "g", "mg", "1012.0"),
        ("1.0120", "g", "kg", "0.0010120"),
        ("1.2345", "kg", "g", "1234.5"),
        ("1.20", "kg", "mg", "1200000"),
        ("-0.50", "g", "mg", "-500"),
        ("1.00", "oz", "g", "28.34952312500"),
        ("2", "lb", "kg", "0.90718474"),
    ],
)
def test_masses_convert_exactly(text: str, source: str, target: str, found: str) -> None:
    """The point moves; digits are neither lost nor made up."""
    assert str(converted(Decimal(text), source, target)) == found


@given(st.decimals(-999999, 999999, places=6), st.sampled_from(["g", "mg", "kg"]), st.sampled_from(["g", "mg", "kg"]))
def test_there_and_back(value: Decimal, source: str, target: str) -> None:
    """Converting there and back is the same number."""
    assert converted(converted(value, source, target), target, source) == value


def test_factors_agree_with_the_house() -> None:
    """Our exact grams are the ones of the unit table."""
    codes = {"g": "g", "mg": "mg", "kg": "kg", "oz": "[oz_av]", "lb": "[lb_av]"}
    for unit, code in codes.items():
        factor, power = GRAMS[unit]
        assert float(factor.scaleb(power)) == pytest.approx(UNITS[code][1])
    grain = GRAMS["lb"][0] / 7000
    assert [GRAMS["ozt"][0], GRAMS["dwt"][0], GRAMS["GN"][0]] == [480 * grain, 24 * grain, grain]


@pytest.mark.parametrize(
    ("line", "quality", "reason"),
    [
        ("S S      1.0120 g", None, ""),
        ("S D      1.0120 g", Quality.UNCERTAIN, "dynamic"),
        ("S S      1.0120", Quality.BAD, "no unit"),
        ("S S      1.0120 pcs", Quality.BAD, "no unit: 'pcs'"),
        ("S +", Quality.BAD, "overload"),
        ("S -", Quality.BAD, "underload"),
        ("S I", Quality.BAD, "not executable"),
        ("ET", Quality.BAD, "parity"),
        ("S S  1.0 1 20 g", Quality.BAD, "unreadable"),
    ],
)
def test_readings(line: str, quality: Quality | None, reason: str) -> None:
    """A stable weight is good, a moving one uncertain, anything else bad; the line is always kept."""
    found = reading(parse(line.encode()), "g")

    assert found.raw == line.encode()
    assert (found.faults[0].quality if found.faults else None) is quality
    assert (found.values[0] is None) == (quality is Quality.BAD)
    if quality is not None:
        assert reason in found.faults[0].reason
    if found.values[0] is not None:
        assert str(found.values[0]) == "1.0120"


async def test_identity(peer: BalancePeer) -> None:
    """Serial and model are asked for at connect, and the balance is never reset."""
    async with peer.config().connect("balance") as device:
        assert device.identity == {"serial": "B0123", "model": "XS205DU Excellence 220.0000 g"}
        await device.poll()

    assert peer.asked == ["I4", "I2", "SI", "I4"]


async def test_a_print_between_two_polls(peer: BalancePeer) -> None:
    """A weight printed by the operator does not answer the next poll."""
    async with peer.config().connect("balance") as device:
        await device.poll()
        peer.line.send(b"S S      9.9999 g\r\n")
        await asyncio.sleep(0.02)
        found = await device.poll()

    assert found.values == (Decimal("1.0120"),)


async def test_a_late_weight_never_answers_the_next_poll(peer: BalancePeer) -> None:
    """After a timeout the old weight is passed over, however many were kept back."""
    async with peer.config().connect("balance") as device:
        await peer.mute()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await device.poll()
        peer.net = "2.0000"
        loop = asyncio.get_running_loop()
        poll = loop.create_task(device.poll())
        await asyncio.sleep(0.02)
        await peer.unmute()

        assert (await poll).values == (Decimal("2.0000"),)
        assert (await device.poll()).values == (Decimal("2.0000"),)


async def test_other_lines_are_passed_over(peer: BalancePeer) -> None:
    """Keys pressed and other answers come and go; the weight is found behind them."""
    peer.weight = 'K C 4\r\nT S     11.343 g\r\nI4 A "B0123"\r\nS S     1.0120 g'
    async with peer.config().connect("balance") as device:
        assert (await device.poll()).values == (Decimal("1.0120"),)


async def test_something_else_on_the_line(peer: BalancePeer) -> None:
    """A device that says nothing is no balance: the error says what to look at."""
    await peer.mute()
    with pytest.raises(DeviceError, match=r"balance .*does not answer mt-sics within 0\.3 s"):
        async with peer.config(timeout="300ms").connect("balance"):
            pass


@asynccontextmanager
async def speaking(dialect: str, path: Path, kind: str = "tcp") -> AsyncIterator[BalancePeer]:
    """A far end of this dialect."""
    peer = BalancePeer(kind, path, dialect)
    await peer.heal()
    try:
        yield peer
    finally:
        await peer.cut()


@pytest.mark.parametrize("dialect", SPEECH)
async def test_a_print_before_the_answer_is_not_the_answer(dialect: str, tmp_path: Path) -> None:
    """PRINT pressed just as the question came: asked again; the printed line is kept, word for word."""
    async with (
        speaking(dialect, tmp_path) as peer,
        peer.config(prints="printed", timeout=PATIENCE).connect("balance") as device,
    ):
        peer.printed = [peer.shown("9.9999")]
        found = await device.poll()
        after = await device.poll()

    assert found.values[0] == Decimal("1.0120")
    assert peer.shown("9.9999").decode().rstrip("\r\n") in str(found.values[1]).split("\n")
    assert after.values == (Decimal("1.0120"), "")


@pytest.mark.parametrize("dialect", SPEECH)
async def test_one_that_always_prints_is_an_error(dialect: str, tmp_path: Path) -> None:
    """Two weights for each question: no guess is made; the error says what to set."""
    async with speaking(dialect, tmp_path) as peer, peer.config(timeout=PATIENCE).connect("scale_3") as device:
        peer.printed = [peer.shown("9.9999")] * 9
        with pytest.raises(DeviceError, match=r"scale_3 .*mode: continuous"):
            await device.poll()


async def test_one_without_a_name_owes_its_answers(tmp_path: Path) -> None:
    """SBI of an older family: no fence; after cancelled polls the old answers are waited for, and passed over."""
    async with speaking("sbi-old", tmp_path) as peer, peer.config(timeout=PATIENCE).connect("balance") as device:
        await peer.mute()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await device.poll()
        peer.net = "2.0000"
        poll = asyncio.get_running_loop().create_task(device.poll())
        await asyncio.sleep(0.02)
        await peer.unmute()
        found = await poll

    assert device.identity == {}
    assert found.values == (Decimal("2.0000"),)


async def test_another_name_is_another_balance(peer: BalancePeer) -> None:
    """Behind a serial server somebody plugs in another balance: its weights are never taken for this one's."""
    async with peer.config().connect("balance") as device:
        await device.poll()
        peer.speech["I4"] = 'I4 A "B9999"'
        found = await device.poll()

    assert found.values == (None,)
    assert found.raw == b'I4 A "B9999"'


async def test_a_damaged_fence_is_put_up_again(peer: BalancePeer) -> None:
    """One transmission error costs one more question, not the reading."""
    async with peer.config().connect("balance") as device:
        peer.damaged = ["I4"]

        assert (await device.poll()).values == (Decimal("1.0120"),)

    assert peer.asked == ["I4", "I2", "SI", "I4", "I4"]


async def test_moving_without_a_unit(tmp_path: Path) -> None:
    """SBI drops the unit while it moves: bad before any stable weight was seen, uncertain in its unit afterwards."""
    async with speaking("sbi", tmp_path) as peer, peer.config(timeout=PATIENCE).connect("balance") as device:
        peer.weight = "+   1.0400    "
        before = await device.poll()
        peer.weight = None
        await device.poll()
        peer.weight = "+   1.0400    "
        after = await device.poll()

    assert (before.values, before.faults[0].quality) == ((None,), Quality.BAD)
    assert (after.values, after.faults[0].quality) == ((Decimal("1.0400"),), Quality.UNCERTAIN)


async def test_tare_on_a_cut_line(peer: BalancePeer) -> None:
    """A cable pulled in the middle of a tare is a DeviceError at once, not a tare."""
    async with peer.config().connect("balance") as device:
        await peer.mute()
        tare = asyncio.get_running_loop().create_task(device.tare())
        await asyncio.sleep(0.02)
        await peer.cut()
        with pytest.raises(DeviceError, match="balance"):
            await tare


async def test_tare_is_believed_only_when_it_shows(peer: BalancePeer) -> None:
    """A balance that says T S and goes on showing the load has not been tared."""
    peer.speech["T"] = "T S     1.0120 g"
    async with peer.config(tare_budget="1200ms").connect("balance") as device:
        with pytest.raises(NotDone, match=r"tare is not seen .*1\.0120"):
            await device.tare()
        peer.net = "0.0001"

        assert (await device.tare()).values == (Decimal("0.0001"),)


async def test_refused_tare(peer: BalancePeer) -> None:
    """The balance's own refusal is the reason."""
    peer.speech["Z"] = "Z +"
    async with peer.config().connect("balance") as device:
        with pytest.raises(NotDone, match="overload"):
            await device.zero()
        with pytest.raises(NotDone, match="syntax"):
            await device.tare()


async def test_noise_without_end_costs_no_memory(peer: BalancePeer) -> None:
    """An endless FF is no line; nothing of it is kept, and the weight after it is right."""
    async with peer.config().connect("balance") as device:
        for _ in range(200):
            peer.line.send(b"\xff" * 5000)
            await asyncio.sleep(0)
        peer.line.send(b"\r\n")
        await asyncio.sleep(0.05)

        assert (await device.poll()).values == (Decimal("1.0120"),)


@pytest.mark.parametrize("dialect", ["mt-sics", "sbi-old"])
async def test_a_flood_of_lines_is_no_weight(dialect: str, tmp_path: Path) -> None:
    """Hundreds of unreadable lines while one answer is waited for: a bad reading or a DeviceError, at once."""
    async with speaking(dialect, tmp_path) as peer, peer.config(timeout="30s").connect("scale_3") as device:
        await peer.mute()
        poll = asyncio.get_running_loop().create_task(device.poll())
        await asyncio.sleep(0.02)
        for _ in range(40):
            peer.line.send(b"\xff\n" * 50)
            await asyncio.sleep(0.005)
        try:
            async with asyncio.timeout(10):
                assert (await poll).values == (None,)
        except DeviceError as error:
            assert "noise on the line" in str(error)  # noqa: PT017  # either is right, by the rule in use


async def test_a_line_of_one_way(peer: BalancePeer) -> None:
    """A printer's cable: it sends and hears nothing.  Continuous mode takes what comes; nothing at all is an error."""
    peer.speech.clear()
    peer.speech["never"] = "S S {0:>10} g"
    peer.dialect = "sbi"  # which passes over what it does not know

    async def send() -> None:
        while True:
            await asyncio.sleep(0.02)
            peer.line.send(peer.shown("1.0120"))

    sender = asyncio.get_running_loop().create_task(send())
    async with peer.config(dialect="mt-sics", mode="continuous", timeout="2s").connect("balance") as device:
        assert (await device.poll()).values == (Decimal("1.0120"),)
        assert (await device.poll()).values == (Decimal("1.0120"),)
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)

    assert device.identity == {}
    with pytest.raises(DeviceError, match="print continuously"):
        async with peer.config(dialect="mt-sics", mode="continuous", timeout="400ms").connect("balance"):
            pass


def shown(weight: str) -> bytes:
    """As an SBI balance says it."""
    return f"+ {weight:>8} g  \r\n".encode()


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_second_weight_that_came_while_the_machine_stood_still_is_seen(loop: Callable[[], Any]) -> None:
    """One that was printed before came first: of two for one question neither counts, however late it is read."""

    async def scene() -> None:
        (ours, pan), (bell, button) = socket.socketpair(), socket.socketpair()
        link = BalanceLink("balance", BalanceConfig(url="tcp://h:1", dialect="sbi").codec(), 5.0)
        await link.loop.create_connection(lambda: link, sock=ours)
        pan.setblocking(False)

        def stand_still() -> None:
            bell.recv(1)
            time.sleep(0.05)
            pan.send(shown("1.0000"))
            time.sleep(0.3)

        link.loop.add_reader(bell, stand_still)
        weighing = asyncio.create_task(link.weigh())
        await link.loop.sock_recv(pan, 100)
        pan.send(shown("2.0000"))
        while link._weights_owed:  # noqa: ASYNC110  # the very turn in which it begins to linger
            await asyncio.sleep(0)
        button.send(b"!")
        await link.loop.sock_recv(pan, 100)
        pan.send(shown("1.0000"))

        assert str((await weighing).value) == "1.0000"
        link.loop.remove_reader(bell)
        await link.aclose()
        for each in (pan, bell, button):
            each.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(scene(), 10))
