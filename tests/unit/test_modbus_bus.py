"""Many units on one line, on a virtual clock: turns, silence, halts first, a cable that is pulled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from gateway.drivers.modbus import bus as modbus_bus
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.transport import Stream, StreamUrl
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError
from gateway.model import HaltOrder, TagSet
from gateway.station.station import Station
from gateway.testing import RecordingLine, VirtualWorld

ANSWER_S = 0.02
"""From the request to the whole answer."""
HALT: dict[str, Any] = {"write": {"coil": 5, "value": True}, "confirm": {"tag": "a", "equals": 1}}


class Cable(asyncio.Transport):
    """A serial line with units on it: register 0 says whether its hold coil was set; frames must never meet."""

    def __init__(self) -> None:
        super().__init__()
        self.plugged = True
        self.opened = 0
        self.closed = 0
        self.dead: set[int] = set()
        self.slow_s: dict[int, float] = {}
        self.asked: list[tuple[float, int, int]] = []
        """When, which unit, which function."""
        self.held: set[int] = set()
        self._stream: Stream | None = None
        self._free_at = 0.0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        now = asyncio.get_running_loop().time()
        frame = bytes(data)
        unit, function = frame[0], frame[1]
        assert now >= self._free_at, f"unit {unit} was asked while an answer was on the line"
        self.asked.append((now, unit, function))
        if unit in self.dead or self._stream is None:
            return
        if function == 5:
            self.held.add(unit)
        pdu = frame[1:6] if function == 5 else bytes((3, 2)) + (unit in self.held).to_bytes(2, "big")
        answer = frame[:1] + pdu
        after_s = self.slow_s.get(unit, ANSWER_S)
        self._free_at = now + min(after_s, ANSWER_S)
        stream = self._stream
        asyncio.get_running_loop().call_later(after_s, self._give, stream, answer + wire.crc16(answer))

    def _give(self, stream: Stream, answer: bytes) -> None:
        if stream is self._stream:
            stream.data_received(answer)

    async def open(self, url: StreamUrl, stream: Stream, timeout_s: float) -> None:
        del url, timeout_s
        if not self.plugged:
            raise DeviceError(f"{stream.where}: no such port")
        assert self._stream is None, "the port is opened twice"
        self.opened += 1
        self._stream = stream
        stream.connection_made(self)

    def is_closing(self) -> bool:
        return self._stream is None

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        del name
        return default

    def abort(self) -> None:
        self.closed += 1
        stream, self._stream = self._stream, None
        if stream is not None:
            asyncio.get_running_loop().call_soon(stream.connection_lost, None)

    def pull(self) -> None:
        self.plugged = False
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.connection_lost(OSError("device disconnected"))


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch) -> Cable:
    """The far end that every line opened here leads to."""
    cable = Cable()
    monkeypatch.setattr(modbus_bus, "open_now", cable.open)
    return cable


def config(unit: int, **given: Any) -> ModbusConfig:
    tags = {"a": {"address": 0}}
    url = "serial:///dev/ttyNOWHERE?baudrate=115200"
    return ModbusConfig.model_validate({"url": url, "unit_id": unit, "tags": tags, **given})


@asynccontextmanager
async def stations(line: RecordingLine, *configs: ModbusConfig) -> AsyncIterator[dict[int, Station]]:
    """The life of each, as the gateway lives it."""
    seq = iter(range(10**9))
    made = {
        each.unit_id: Station(
            f"unit_{each.unit_id}",
            each,
            TagSet(f"unit_{each.unit_id}", each.tags()),
            line,
            VirtualWorld(seed=each.unit_id),
            lambda: next(seq),
        )
        for each in configs
    }
    tasks = [asyncio.create_task(station.run()) for station in made.values()]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def good(line: RecordingLine, unit: int, since_ns: float = 0) -> int:
    return sum(
        scan.device == f"unit_{unit}" and not scan.faults and scan.mono_ns >= since_ns * 1e9 for scan in line.scans
    )


@pytest.mark.looptime
async def test_a_line_is_opened_once_and_closed_with_the_last(cable: Cable) -> None:
    """Thirty units, one port; one that closes does not close the others'."""
    async with config(1).connect("one") as one:
        async with config(2).connect("two") as two:
            assert (await one.poll()).values == (0,)
            assert (await two.poll()).values == (0,)
        assert cable.closed == 0
        assert (await one.poll()).values == (0,)

    assert (cable.opened, cable.closed) == (1, 1)
    async with config(2).connect("two") as two:
        await two.poll()
    assert cable.opened == 2


@pytest.mark.looptime
async def test_turns_are_shared_fairly(cable: Cable) -> None:
    """Units that always want the line have it as often as each other, and frames never meet."""
    tags = {f"t{at}": {"address": at * 500} for at in range(5)}

    async def greedy(unit: int) -> None:
        async with config(unit, tags=tags, request_cost=0).connect(f"unit_{unit}") as device:
            while True:
                await device.poll()

    tasks = [asyncio.create_task(greedy(unit)) for unit in (1, 2, 3)]
    await asyncio.sleep(10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    counts = [sum(unit == each for _, unit, _ in cable.asked) for each in (1, 2, 3)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) > 400


@pytest.mark.looptime
async def test_a_dead_unit_costs_the_others_one_timeout_a_back_off(cable: Cable) -> None:
    """One of four is dead: the others miss no slot; the line stood still for it at most `late` each time."""
    cable.dead = {4}
    line = RecordingLine()
    async with stations(line, *(config(unit, period="200ms", timeout="1s") for unit in (1, 2, 3, 4))):
        await asyncio.sleep(60)

    assert cable.opened == 1
    assert [good(line, unit) for unit in (1, 2, 3)] == pytest.approx([300, 300, 300], abs=10)
    assert all(event[0] != "lost" or event[1] == "unit_4" for event in line.events)
    tries = [at for at, unit, _ in cable.asked if unit == 4]
    assert 4 <= len(tries) <= 25  # 0.25 s, doubling to the longest back-off
    for tried in tries:
        following = min((at for at, unit, _ in cable.asked if at > tried and unit != 4), default=tried)
        assert following - tried <= 0.2 + 0.01


@pytest.mark.looptime
async def test_a_dead_unit_that_lives_again_is_back(cable: Cable) -> None:
    """A unit switched on again is polled within its back-off, without anybody's help."""
    cable.dead = {2}
    line = RecordingLine()
    async with stations(line, config(1), config(2)):
        await asyncio.sleep(20)
        cable.dead.clear()
        await asyncio.sleep(31)

        assert good(line, 2) > 0


@pytest.mark.looptime
async def test_half_of_the_line_dead(cable: Cable) -> None:
    """Ten of twenty dead: the living are polled on, a poll each second."""
    cable.dead = set(range(11, 21))
    line = RecordingLine()
    async with stations(line, *(config(unit) for unit in range(1, 21))):
        await asyncio.sleep(20)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(30)

    for unit in range(1, 11):
        assert good(line, unit, since) >= 29, unit


@pytest.mark.looptime
async def test_a_halt_goes_before_waiting_polls(cable: Cable) -> None:
    """Behind one request in flight and in front of forty that wait."""
    line = RecordingLine()
    polled = [config(unit, period="100ms", timeout="5s") for unit in range(2, 42)]
    async with stations(line, config(1, halt=HALT, period="100ms", timeout="5s"), *polled) as made:
        await asyncio.sleep(5.0)
        at = asyncio.get_running_loop().time()
        made[1].halt(HaltOrder(id="h", device="unit_1", rule="r", text="", requested_ns=1))
        await asyncio.sleep(0.5)

    written = [when for when, unit, function in cable.asked if function == 5 and unit == 1]
    assert written[0] - at <= 0.2 + 3 * (ANSWER_S + 0.002)
    assert ("confirmed", "h") in line.events


@pytest.mark.looptime
async def test_a_halt_waits_for_a_dead_unit_at_most_its_late_time(cable: Cable) -> None:
    """Whose answer does not come is given up for a halt that waits."""
    cable.dead = {2}
    async with config(1, halt=HALT).connect("one") as one, config(2).connect("two") as two:
        stuck = asyncio.create_task(two.poll())
        await asyncio.sleep(0.25)
        asked = cable.asked[-1][0]
        proof = await one.halt(HaltOrder(id="h", device="one", rule="r", text="", requested_ns=1))
        with pytest.raises(DeviceError, match=r"two .*unit 2.*no answer within 200 ms.*`late`"):
            await stuck

    assert proof.wrote
    assert cable.asked[1][0] - asked <= 0.21


@pytest.mark.looptime
async def test_who_is_alone_has_its_whole_timeout(cable: Cable) -> None:
    """A slow unit with nobody waiting is waited for as long as its station likes."""
    cable.slow_s = {1: 0.7}
    async with config(1).connect("one") as one:
        assert (await one.poll()).values == (0,)


@pytest.mark.looptime
async def test_a_late_answer_in_the_middle_of_another_s_question(cable: Cable) -> None:
    """Who was given up and answers after all spoils nobody's answer: it is dropped."""
    cable.slow_s = {2: 0.215}
    async with config(1).connect("one") as one, config(2).connect("two") as two:
        late = asyncio.create_task(two.poll())
        await asyncio.sleep(0.25)
        assert (await one.poll()).values == (0,)
        with pytest.raises(DeviceError):
            await late
        cable.slow_s = {}
        assert (await two.poll()).values == (0,)


@pytest.mark.looptime
async def test_a_pulled_cable_is_felt_by_all_at_once(cable: Cable) -> None:
    """Those in flight, those who wait and those who ask next; plugged in again, all come back on one port."""
    line = RecordingLine()
    async with stations(line, *(config(unit) for unit in range(1, 9))):
        await asyncio.sleep(10)
        cable.pull()
        await asyncio.sleep(1.01)
        lost = {name for event, name in line.events if event == "lost"}
        await asyncio.sleep(20)
        cable.plugged = True
        back = asyncio.get_running_loop().time()
        await asyncio.sleep(31)

        assert lost == {f"unit_{unit}" for unit in range(1, 9)}
        assert cable.opened == 2
        assert all(good(line, unit, back) > 0 for unit in range(1, 9))


@pytest.mark.looptime
async def test_a_line_on_which_nobody_answers_is_opened_again(cable: Cable) -> None:
    """Half open: the port takes everything and gives nothing, until it is opened anew."""
    line = RecordingLine()
    async with stations(line, *(config(unit) for unit in range(1, 5))):
        await asyncio.sleep(5)
        cable.dead = {1, 2, 3, 4}
        cable.opened = 0
        await asyncio.sleep(10)
        opened = cable.opened
        cable.dead = set()
        back = asyncio.get_running_loop().time()
        await asyncio.sleep(31)

        assert opened >= 1
        assert all(good(line, unit, back) > 0 for unit in range(1, 5))


@pytest.mark.looptime
async def test_the_longest_gap_is_kept_between_any_two_frames(cable: Cable) -> None:
    """One unit that wants 50 ms of rest has it after everybody's frames."""
    line = RecordingLine()
    async with stations(line, config(1, min_gap="50ms"), config(2), config(3)):
        await asyncio.sleep(10)

    times = [at for at, _, _ in cable.asked]
    gaps = [later - at - ANSWER_S for at, later in pairwise(times[3:])]
    assert min(gaps) >= 0.05 - 1e-6


@pytest.mark.looptime
async def test_who_gives_up_waiting_holds_nobody_up(cable: Cable) -> None:
    """A poll cancelled in the queue, or in the very moment it gets the line, leaves the line to the next."""
    async with config(1).connect("one") as one, config(2).connect("two") as two, config(3).connect("three") as three:
        for delay_s in (0.0, 0.005, ANSWER_S, ANSWER_S + 0.001):
            first, second = asyncio.create_task(one.poll()), asyncio.create_task(two.poll())
            await asyncio.sleep(delay_s)
            second.cancel()
            assert (await three.poll()).values == (0,)
            await asyncio.gather(first, second, return_exceptions=True)


@pytest.mark.looptime
async def test_a_port_that_cannot_be_opened_is_tried_once_for_all_who_wait(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told in its own name; nobody waits for the others' attempts in turn."""
    tries: list[str] = []

    async def slowly(url: StreamUrl, stream: Stream, timeout_s: float) -> None:
        del url, timeout_s
        tries.append(stream.where)
        await asyncio.sleep(1)
        raise DeviceError(f"{stream.where}: no such port")

    monkeypatch.setattr(modbus_bus, "open_now", slowly)

    async def attempt(unit: int) -> str:
        with pytest.raises(DeviceError) as caught:
            async with config(unit).connect(f"unit_{unit}"):
                pass
        return str(caught.value)

    texts = await asyncio.gather(*(attempt(unit) for unit in range(1, 6)))

    assert len(tries) == 1
    assert all(f"unit_{unit} (" in text and text.endswith("no such port") for unit, text in enumerate(texts, 1))


@pytest.mark.looptime
async def test_other_settings_on_an_open_port_are_refused(cable: Cable) -> None:
    """What slipped past the check of the configuration is an error of the device that came second."""
    other = config(2, url="serial:///dev/ttyNOWHERE?baudrate=9600")
    async with config(1).connect("one"):
        with pytest.raises(DeviceError, match=r"two .*other settings"):
            async with other.connect("two"):
                pass


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_all_come_back(cable: Cable, seed: int) -> None:
    """Units die, cables are pulled, halts come, answers are late, in any order: healed, everybody is polled again."""
    dice = random.Random(seed)
    line = RecordingLine()
    units = range(1, 6)
    async with stations(line, *(config(unit, halt=HALT, period="200ms") for unit in units)) as made:
        for at in range(40):
            await asyncio.sleep(dice.random() * 0.7)
            unit = dice.choice(units)
            match dice.randrange(6):
                case 0:
                    cable.dead ^= {unit}
                case 1:
                    cable.pull()
                case 2:
                    cable.plugged = True
                case 3:
                    name = f"unit_{unit}"
                    made[unit].halt(HaltOrder(id=f"h{at}", device=name, rule="r", text="", requested_ns=1))
                case 4:
                    cable.slow_s = {unit: dice.choice((0.1, 0.19, 0.21))}
                case _:
                    cable.slow_s = {}
        cable.dead, cable.slow_s, cable.plugged = set(), {}, True
        await asyncio.sleep(31)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(5)

    assert all(good(line, unit, since) >= 20 for unit in units)
    ordered = {name for event, name in line.events if event == "commanded"}
    assert ordered == {name for event, name in line.events if event == "confirmed"}
