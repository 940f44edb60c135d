"""What a spoiled cable does to bytes: late, dripping, narrow, lost, flipped, cut; on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulators.device import UnknownError
from simulators.net import FROM_DEVICE, FULL, NET_FAULTS, TO_DEVICE, Net, Way

pytestmark = pytest.mark.looptime


class _Wire:
    """A way whose far end writes down what came, and when."""

    def __init__(self, net: Net, direction: str = TO_DEVICE) -> None:
        self.got: list[tuple[float, bytes]] = []
        self.cuts = 0
        self.way = Way(net, direction, self._came, self._cut)

    def _came(self, data: bytes) -> None:
        self.got.append((round(asyncio.get_running_loop().time(), 6), data))

    def _cut(self) -> None:
        self.cuts += 1
        self.way.stop()

    @property
    def bytes(self) -> bytes:
        return b"".join(data for _, data in self.got)


def _net(**faults: Any) -> Net:
    net = Net()
    for name, args in faults.items():
        net.stand(name, args)
    return net


async def test_a_sound_cable_passes_everything_at_once() -> None:
    """Without a fault what is pushed comes out at the same moment."""
    wire = _Wire(_net())
    wire.way.push(b"hello")
    assert wire.got == [(0.0, b"hello")]


async def test_latency_and_jitter_keep_the_order() -> None:
    """Each message comes so late, never before an earlier one."""
    wire = _Wire(_net(net_latency={"seconds": 0.05, "jitter": 0.2}))
    for number in range(20):
        wire.way.push(bytes((number,)))
    await asyncio.sleep(1)
    assert wire.bytes == bytes(range(20))
    times = [when for when, _ in wire.got]
    assert times == sorted(times)
    assert 0.05 <= times[0] <= 0.25


async def test_drip_gives_one_byte_at_a_time() -> None:
    """A message of four bytes takes four steps."""
    wire = _Wire(_net(net_drip={"bytes": 1, "every": 0.5}))
    wire.way.push(b"abcd")
    await asyncio.sleep(3)
    assert wire.got == [(0.5, b"a"), (1.0, b"b"), (1.5, b"c"), (2.0, b"d")]


async def test_bandwidth_is_kept() -> None:
    """Ten thousand bytes at a thousand a second take ten seconds."""
    wire = _Wire(_net(net_bandwidth={"bytes_per_s": 1000}))
    wire.way.push(bytes(10_000))
    await asyncio.sleep(5.001)
    assert len(wire.bytes) == pytest.approx(5000, abs=20)
    await asyncio.sleep(5)
    assert len(wire.bytes) == 10_000


async def test_healing_lets_out_what_was_under_way() -> None:
    """When the delay is gone the queue does not wait for it any more."""
    net = _net(net_latency={"seconds": 60})
    wire = _Wire(net)
    wire.way.push(b"late")
    net.lift("net_latency")
    wire.way.pump()
    assert wire.bytes == b"late"


async def test_loss_is_of_whole_messages_and_seeded() -> None:
    """A tenth of the messages is lost, the same ones for the same seed."""
    seen = []
    for _ in range(2):
        wire = _Wire(_net(net_loss={"share": 0.1, "seed": 3}))
        for number in range(1000):
            wire.way.push(number.to_bytes(2, "big"))
        seen.append([data for _, data in wire.got])
    assert seen[0] == seen[1]
    assert 860 <= len(seen[0]) <= 940
    assert all(len(data) == 2 for data in seen[0])


async def test_corruption_flips_single_bits() -> None:
    """So many bytes are spoiled, each by one bit, the length stays."""
    wire = _Wire(_net(net_corrupt={"rate": 0.1, "seed": 3}))
    wire.way.push(bytes(10_000))
    wrong = [byte for byte in wire.bytes if byte]
    assert 900 <= len(wrong) <= 1100
    assert all(byte.bit_count() == 1 for byte in wrong)
    assert len(wire.bytes) == 10_000


async def test_cut_after_so_many_bytes() -> None:
    """The way is cut in the middle of the message that goes beyond the limit."""
    wire = _Wire(_net(net_cut_after={"bytes": 7}))
    wire.way.push(b"12345")
    assert wire.cuts == 0
    wire.way.push(b"67890")
    assert (wire.bytes, wire.cuts) == (b"1234567", 1)


async def test_a_fault_may_stand_in_one_direction_only() -> None:
    """What is lost on the way to the device comes through from it."""
    net = _net(net_blackhole={"way": TO_DEVICE})
    there, back = _Wire(net, TO_DEVICE), _Wire(net, FROM_DEVICE)
    there.way.push(b"question")
    back.way.push(b"answer")
    assert (there.bytes, back.bytes) == (b"", b"answer")


async def test_too_much_under_way_is_told_when_there_is_room() -> None:
    """A sender who was stopped hears when it may go on."""
    wire = _Wire(_net(net_latency={"seconds": 1}))
    room: list[int] = []
    wire.way.room = lambda: room.append(1)
    wire.way.push(bytes(FULL + 1))
    assert wire.way.queued > FULL
    await asyncio.sleep(2)
    assert (wire.way.queued, room) == (0, [1])


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("net_los", {}, "no fault 'net_los' of a cable"),
        ("net_loss", {"rate": 1}, "does not take rate"),
        ("net_loss", {"share": 2}, "share cannot be 2"),
        ("net_drip", {"bytes": 0}, "bytes cannot be 0"),
        ("net_latency", {"seconds": "soon"}, "seconds is a number, not 'soon'"),
        ("net_blackhole", {"way": "up"}, "way is one of both, to_device, from_device, not 'up'"),
    ],
)
async def test_impossible_faults_are_refused(name: str, args: dict[str, Any], says: str) -> None:
    """The sentence says what would be possible; nothing stands after it."""
    net = _net()
    with pytest.raises((ValueError, UnknownError), match=says):
        net.stand(name, args)
    assert net.standing == {}


def test_every_fault_has_a_sentence() -> None:
    """The catalogue has words for all of them."""
    assert all(fault.sentence.endswith(".") for fault in NET_FAULTS.values())
