"""Pump, dosing pump, relay and print engine to the byte, over time that we hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulators.device import Device
from simulators.dosing import Dosing
from simulators.extras import EXTRAS, Stand, make_extra
from simulators.modbus import ModbusError, answer
from simulators.plant import Plant
from simulators.pump import Conversation, Pump
from simulators.relay import Relay
from simulators.zebra import Conversation as ZplConversation
from simulators.zebra import Zebra


def made(name: str, folder: Path) -> Any:
    return make_extra(Stand(name, Plant(seed=7), "127.0.0.1", folder, {}))


class Talk:
    """A conversation: what was said since last asked."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._said = b""
        self.talker = Conversation(device, self._hear) if isinstance(device, Pump) else self._zpl(device)

    def _zpl(self, device: Device) -> ZplConversation:
        assert isinstance(device, Zebra)
        return ZplConversation(device, self._hear)

    def _hear(self, data: bytes) -> None:
        self._said += data

    def say(self, data: bytes) -> bytes:
        self.talker.feed(data)
        said, self._said = self._said, b""
        return said


async def wait(device: Device, seconds: float) -> None:
    for _ in range(round(seconds / 0.01)):
        await device.step(0.01)


def test_offsets_are_their_own() -> None:
    """No two extra devices share ports."""
    offsets = [extra.offset for extra in EXTRAS.values()]

    assert len(set(offsets)) == len(offsets)
    assert {"pump", "dosing", "relay", "zebra"} <= set(EXTRAS)


# -- pump --------------------------------------------------------------------------------------------


async def test_pump_to_the_byte(tmp_path: Path) -> None:
    """RS, RT and ZY answer and end with CR; SP, GO, ST and what is for other pumps answer nothing."""
    talk = Talk(made("pump", tmp_path))

    assert talk.say(b"1RS\r") == b"520Du 15.84 520R 9.6MM 60.0 CW P/N 1 0 0 !\r"
    assert talk.say(b"1SP 120.0\r1RL\r1GO\r") == b""
    assert talk.say(b"1Z") == b""
    assert talk.say(b"Y\r1RT\r") == b"1\r0\r"
    await talk.device.step(0.5)
    assert talk.say(b"1RS\r") == b"520Du 15.84 520R 9.6MM 120.0 CCW P/N 1 10982 1 !\r"
    assert talk.say(b"2RS\r2ST\rnonsense\r") == b""
    assert talk.say(b"1ZY\r") == b"1\r"


async def test_pump_stops_when_it_stands(tmp_path: Path) -> None:
    """After ST it runs down and says running until it stands; then the tacho is still."""
    talk = Talk(made("pump", tmp_path))
    talk.say(b"1GO\r")
    await wait(talk.device, 0.1)
    assert talk.say(b"1ST\r1ZY\r") == b"1\r"
    await wait(talk.device, 0.1)
    stood = talk.say(b"1RT\r")
    assert talk.say(b"1ZY\r") == b"0\r"
    await wait(talk.device, 0.5)
    assert talk.say(b"1RT\r") == stood


async def test_pump_doses(tmp_path: Path) -> None:
    """DO gives so many pulses and stops by itself."""
    talk = Talk(made("pump", tmp_path))
    talk.say(b"1DO 5491\r")
    await wait(talk.device, 2.0)

    assert talk.say(b"1RT\r1ZY\r") == b"5491\r0\r"


async def test_keypad_overrides_the_line(tmp_path: Path) -> None:
    """After Stop at the keypad GO does nothing until Start was pressed."""
    talk = Talk(made("pump", tmp_path))
    talk.device.operator("stop")
    talk.say(b"1GO\r")
    assert talk.say(b"1ZY\r") == b"0\r"
    talk.device.operator("start")
    assert talk.say(b"1ZY\r") == b"1\r"


async def test_pump_manners(tmp_path: Path) -> None:
    """Echo, noise, another number, top bits set."""
    talk = Talk(made("pump", tmp_path))
    await talk.device.fault("echo", {})
    assert talk.say(b"1ZY\r") == b"1ZY\r0\r"
    await talk.device.heal("all")
    await talk.device.fault("other_number", {"number": 9})
    assert b"P/N 9" in talk.say(b"1RS\r")
    await talk.device.heal("all")
    await talk.device.fault("garbled", {})
    assert talk.say(b"1ZY\r") == b"\xb0\x8d"


# -- print engine ------------------------------------------------------------------------------------


async def test_zebra_to_the_byte(tmp_path: Path) -> None:
    """Three strings, a batch by ^PQ, and a pause after the label under the head."""
    talk = Talk(made("zebra", tmp_path))
    assert talk.say(b"~HI") == b"\x02ZE511-300dpi,V92.21.19Z,12,65536KB\x03\r\n"
    assert talk.say(b"^XA^FO10,10^FDx^FS^PQ20^XZ\r\n") == b""
    strings = talk.say(b"~HS").split(b"\x03\r\n")
    assert strings[0] == b"\x02030,0,0,1245,001,0,0,0,000,0,0,0"
    assert strings[1] == b"\x02001,0,0,0,1,4,6,0,00000020,1,000"
    assert strings[2:] == [b"\x021234,0", b""]
    await wait(talk.device, 0.25)
    talk.say(b"~PP")
    assert talk.say(b"~HS")[7:8] == b"0"
    await wait(talk.device, 0.3)
    assert talk.say(b"~HS")[7:8] == b"1"
    left = talk.device.truth()["labels_remaining"]
    await wait(talk.device, 1.0)
    assert talk.device.truth()["labels_remaining"] == left < 20
    talk.say(b"~PS")
    await wait(talk.device, 1.0)
    assert talk.device.truth()["labels_remaining"] < left


async def test_media_out_is_silence(tmp_path: Path) -> None:
    """~HS is not answered, ~HI is; talkative firmware sets the flag; queued questions are answered when it is over."""
    talk = Talk(made("zebra", tmp_path))
    await talk.device.fault("media_out", {})
    assert talk.say(b"~HS") == b""
    assert talk.say(b"~HI").startswith(b"\x02ZE511")
    await talk.device.fault("talkative", {})
    assert talk.say(b"~HS")[5:6] == b"1"
    await talk.device.heal("talkative")
    await talk.device.fault("queues", {})
    assert talk.say(b"~HS~HS") == b""
    await talk.device.heal("media_out")
    assert talk.say(b"").count(b"\x021234,0") == 2


# -- Modbus ------------------------------------------------------------------------------------------


def ask(device: Relay | Dosing, text: str) -> str:
    return answer(bytes.fromhex(text), device).hex(" ").upper()


async def test_relay_to_the_byte(tmp_path: Path) -> None:
    """Coil, contacts, echo; what is not there is exception 02, a value that is none 03."""
    device = made("relay", tmp_path)
    assert ask(device, "01 0000 0001") == "01 01 01"
    assert ask(device, "02 0000 0003") == "02 01 02"
    assert ask(device, "05 0000 0000") == "05 00 00 00 00"
    await wait(device, 0.05)
    assert ask(device, "01 0000 0001") == "01 01 00"
    assert ask(device, "02 0000 0003") == "02 01 01"
    assert ask(device, "0F 0000 0002 01 03") == "0F 00 00 00 02"
    await wait(device, 0.05)
    assert ask(device, "03 0020 0001") == "03 02 00 01"
    assert ask(device, "04 0030 0001") == "04 02 00 02"
    assert ask(device, "02 0004 0009") == "82 02"
    assert ask(device, "05 0000 1234") == "85 03"
    assert ask(device, "06 0000 0001") == "86 01"


async def test_a_welded_contact(tmp_path: Path) -> None:
    """The coil is off, the auxiliary contact still closed, the mirror contact open: and the machine goes on."""
    device = made("relay", tmp_path)
    device.operator("start")
    await device.fault("welded", {})
    device.write_bits(0, [False])
    await wait(device, 0.1)

    assert (device.coil, device.inputs(), device.running) == (False, (False, True, True), True)
    await device.heal("welded")
    assert (device.inputs(), device.running) == ((True, False, False), False)


async def test_closing_the_circuit_starts_nothing(tmp_path: Path) -> None:
    """The machine seals itself in; only one that is wired wrongly starts by itself."""
    device = made("relay", tmp_path)
    device.operator("start")
    for on in (False, True):
        device.write_bits(0, [on])
        await wait(device, 0.1)
    assert not device.running
    await device.fault("no_seal_in", {})
    for on in (False, True):
        device.write_bits(0, [on])
        await wait(device, 0.1)
    assert device.running


async def test_dosing_timeout_of_its_own(tmp_path: Path) -> None:
    """With a timeout set the pump stops when nobody asks any more, and says so."""
    device = made("dosing", tmp_path)
    device.timeout_ms = 500
    await wait(device, 0.4)
    assert not device.stopped
    await wait(device, 0.3)

    assert device.stopped
    assert device.read(1200, 1) == [3]


async def test_dosing_batches(tmp_path: Path) -> None:
    """Mode batch doses nothing until 1235 is written with 0x5555, and then its quantity."""
    device = made("dosing", tmp_path)
    device.write(1229, [3])
    await wait(device, 1.0)
    assert device.quantity == 0.0
    with pytest.raises(ModbusError):
        device.write(1235, [1])
    device.write(1235, [0x5555])
    await wait(device, 20.0)

    assert device.quantity == pytest.approx(0.05)
    assert not device.turning
    assert not device.stopped


async def test_frozen_devices_answer_with_what_was(tmp_path: Path) -> None:
    """A frozen device answers on, with the values it had, whatever happens behind."""
    relay, pump = made("relay", tmp_path), Talk(made("pump", tmp_path))
    for device in (relay, pump.device):
        await device.fault("frozen", {})
    relay.write_bits(0, [False])
    pump.say(b"1GO\r")
    await wait(relay, 0.1)
    await wait(pump.device, 0.1)

    assert relay.inputs() == (False, True, False)
    assert pump.say(b"1ZY\r") == b"0\r"
