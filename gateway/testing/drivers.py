"""What every driver must do.  A driver's test subclasses `DriverSuite` and gives it a peer: the far end, in our hand.

    class TestTorque(DriverSuite):
        @pytest.fixture
        async def peer(self): ...

Peers are real far ends on real sockets and ptys (`gateway.testing.lines` has what to build them from); nothing here
reaches into a driver.  Needs pytest and pytest-asyncio with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pytest
from pydantic import ValidationError

from gateway.drivers.base import Beating, DriverConfig, Haltable
from gateway.errors import DeviceError, NotHeld
from gateway.model import HaltOrder, Quality, Reading

PATIENCE_S = 5.0
"""Nothing here takes longer on a busy machine."""


class Peer(Protocol):
    """The far end of one device."""

    def config(self, **changes: Any) -> DriverConfig:
        """A configuration that reaches it; `timeout` and `period` short."""
        ...

    @property
    def expected(self) -> Mapping[str, Any]:
        """What a good reading shows now; floats are compared approximately."""
        ...

    async def change(self) -> None:
        """Give every tag a new value; `expected` follows."""
        ...

    async def mute(self) -> None:
        """Hear, and keep the answers back."""
        ...

    async def unmute(self) -> None:
        """Give the answers kept back, and answer again."""
        ...

    async def cut(self) -> None:
        """Break the link, and let nobody in."""
        ...

    async def heal(self) -> None:
        """Be reachable again at the same address."""
        ...

    async def spoil(self) -> str | None:
        """Make one tag bad and say which; None where the device has no such thing."""
        ...


class HaltPeer(Peer, Protocol):
    """The far end of a device that can be held."""

    @property
    def held(self) -> bool:
        """Does it stand still?"""
        ...

    @property
    def writes(self) -> Sequence[Any]:
        """Every write it saw, oldest first."""
        ...

    async def lie(self) -> None:
        """Take the halt, answer well, and go on running."""
        ...

    async def run(self) -> None:
        """The operator starts it."""
        ...


ORDER = HaltOrder(id="device:rule", device="device", rule="rule", text="too light", requested_ns=1)


def shown(config: DriverConfig, reading: Reading) -> dict[str, Any]:
    """The good values of a reading, by tag."""
    names = [spec.name for spec in config.tags()]
    return {
        name: value
        for at, (name, value) in enumerate(zip(names, reading.values, strict=True))
        if at not in reading.faults
    }


def matches(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Equal, floats approximately."""
    if found.keys() != expected.keys():
        return False
    return all(
        found[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
        for name, value in expected.items()
    )


async def until(device: Any, seen: Callable[[Reading], bool]) -> Reading:
    """Poll until it is seen; a subscription may bring old news first."""
    reading: Reading | None = None
    async with asyncio.timeout(PATIENCE_S):
        while reading is None or not seen(reading):
            reading = await device.poll()
    return reading


async def poll_on(device: Any, seconds: float) -> None:
    """Poll until an error, or until the time is up: TimeoutError, with a poll cancelled in flight."""
    async with asyncio.timeout(seconds):
        while True:
            await device.poll()


async def fail_inside(config: DriverConfig) -> None:
    """Leave an open device by an error of our own."""
    async with config.connect("device") as device:
        await device.poll()
        raise RuntimeError("ours")


class DriverSuite:
    """Every driver."""

    @pytest.fixture
    async def peer(self) -> Any:
        raise NotImplementedError("a driver's test gives its peer")

    def test_tags_are_known_without_the_device(self, peer: Peer) -> None:
        """Tags, address and halting are known before the device was ever reached."""
        config = peer.config()

        assert {spec.name for spec in config.tags()} == set(peer.expected)
        assert config.address()
        assert isinstance(config.haltable(), bool)

    def test_unknown_key_is_refused(self, peer: Peer) -> None:
        """A typo in the configuration is an error, not ignored."""
        with pytest.raises(ValidationError):
            peer.config(peroid="1s")

    def test_config_is_frozen(self, peer: Peer) -> None:
        """What was validated stays what it was."""
        with pytest.raises(ValidationError):
            peer.config().period_s = 9.0  # type: ignore[misc]  # that it cannot be set is the point

    async def test_poll_brings_every_tag(self, peer: Peer) -> None:
        """A poll brings all tags, in the config's order, in the config's units."""
        config = peer.config()
        async with config.connect("device") as device:
            reading = await until(device, lambda reading: not reading.faults)

            assert isinstance(device.identity, Mapping)

        assert matches(shown(config, reading), peer.expected), (shown(config, reading), peer.expected)

    async def test_poll_brings_the_new_value(self, peer: Peer) -> None:
        """What changed at the device is in a following reading."""
        config = peer.config()
        async with config.connect("device") as device:
            await until(device, lambda reading: not reading.faults)
            await peer.change()

            await until(device, lambda reading: matches(shown(config, reading), peer.expected))

    async def test_bad_is_never_a_number(self, peer: Peer) -> None:
        """A bad tag is a fault with a reason and no value; the others are kept."""
        name = await peer.spoil()
        if name is None:
            pytest.skip("this device has no bad value")
        config = peer.config()
        at = [spec.name for spec in config.tags()].index(name)
        async with config.connect("device") as device:
            reading = await until(device, lambda reading: at in reading.faults)

        assert reading.values[at] is None
        assert reading.faults[at].quality is Quality.BAD
        assert reading.faults[at].reason
        assert len(reading.faults) < len(reading.values) or len(reading.values) == 1

    async def test_cancelled_poll_leaves_the_next_right(self, peer: Peer) -> None:
        """After a poll was cancelled its late answer never answers the next one."""
        config = peer.config()
        async with config.connect("device") as device:
            await until(device, lambda reading: not reading.faults)
            await peer.mute()
            with pytest.raises(TimeoutError):
                await poll_on(device, 0.05)
            await peer.unmute()
            await peer.change()

            await until(device, lambda reading: matches(shown(config, reading), peer.expected))
            for _ in range(3):
                await device.poll()
            assert matches(shown(config, await until(device, lambda _: True)), peer.expected)

    async def test_cut_is_felt_at_once(self, peer: Peer) -> None:
        """A link that breaks ends the poll in flight with a DeviceError that names the device, and so the next."""
        config = peer.config(timeout="30s", period="200ms")
        async with config.connect("mixer_7") as device:
            await until(device, lambda reading: not reading.faults)
            await peer.mute()
            polls = asyncio.create_task(poll_on(device, PATIENCE_S))
            await asyncio.sleep(0.05)
            await peer.cut()

            with pytest.raises(DeviceError, match="mixer_7"):
                await polls
            with pytest.raises(DeviceError, match="mixer_7"):
                await poll_on(device, PATIENCE_S)

    async def test_absent_device_is_a_device_error(self, peer: Peer) -> None:
        """Nobody there: connect raises DeviceError naming the device, in time."""
        await peer.cut()
        began = time.monotonic()

        with pytest.raises(DeviceError, match="mixer_7"):
            async with peer.config().connect("mixer_7"):
                pass

        assert time.monotonic() - began < PATIENCE_S

    async def test_comes_back_after_a_cut(self, peer: Peer) -> None:
        """The same configuration connects again when the cable is back; nothing has to be restarted."""
        config = peer.config()
        async with config.connect("device") as device:
            await until(device, lambda reading: not reading.faults)
            await peer.cut()
        await peer.heal()

        async with config.connect("device") as device:
            reading = await until(device, lambda reading: not reading.faults)

        assert matches(shown(config, reading), peer.expected)

    async def test_leaves_no_task_behind(self, peer: Peer) -> None:
        """When the block is left, by an error too, nothing of it goes on."""
        before = asyncio.all_tasks()

        with pytest.raises(RuntimeError, match="ours"):
            await fail_inside(peer.config())

        assert asyncio.all_tasks() == before

    def test_a_device_that_cannot_halt_says_so(self, peer: Peer) -> None:
        """haltable() is true only of kinds that can halt."""
        config = peer.config()

        assert config.halts or not config.haltable()


class HaltSuite(DriverSuite):
    """Drivers of machines that can be held."""

    async def test_halt_is_done_when_the_machine_says_so(self, peer: HaltPeer) -> None:
        """A halt writes, and returns the machine's own words once it stands still."""
        async with peer.config().connect("device") as device:
            assert isinstance(device, Haltable)
            proof = await device.halt(ORDER)

        assert proof.wrote
        assert proof.state
        assert peer.held

    async def test_halt_writes_nothing_when_held(self, peer: HaltPeer) -> None:
        """A machine that stands already is not written to: halting is idempotent."""
        async with peer.config().connect("device") as device:
            await device.halt(ORDER)
            seen = len(peer.writes)
            proof = await device.halt(ORDER)

        assert not proof.wrote
        assert len(peer.writes) == seen

    async def test_a_liar_is_never_held(self, peer: HaltPeer) -> None:
        """A controller that says Good and goes on running: NotHeld, within the budget."""
        await peer.lie()
        took: list[float] = []
        async with peer.config(halt_budget="300ms").connect("mixer_7") as device:
            while not took or (took[-1] >= 1.5 and len(took) < 3):  # the machine under this test may stall, too
                began = time.monotonic()
                with pytest.raises(NotHeld, match="mixer_7"):
                    await device.halt(ORDER)
                took.append(time.monotonic() - began)

        assert took[-1] < 1.5, took
        assert not peer.held

    async def test_halt_after_a_cancelled_poll(self, peer: HaltPeer) -> None:
        """A halt cuts into a poll in flight and is right all the same."""
        async with peer.config(halt_budget="2s").connect("device") as device:
            await device.poll()
            await peer.mute()
            with pytest.raises(TimeoutError):
                await poll_on(device, 0.03)
            await peer.unmute()
            proof = await device.halt(ORDER)

        assert proof.wrote
        assert peer.held

    async def test_halt_on_a_dead_link_is_a_device_error(self, peer: HaltPeer) -> None:
        """A halt that cannot be sent says so: it is never believed."""
        async with peer.config().connect("device") as device:
            await until(device, lambda reading: not reading.faults)
            await peer.cut()
            with pytest.raises(DeviceError):
                async with asyncio.timeout(PATIENCE_S):
                    await device.halt(ORDER)

        assert not peer.held

    async def test_polls_show_the_machine_s_own_word(self, peer: HaltPeer) -> None:
        """Reading.held follows the machine, both ways."""
        async with peer.config().connect("device") as device:
            await until(device, lambda reading: reading.held is False)
            await device.halt(ORDER)
            await until(device, lambda reading: reading.held is True)

    async def test_withdraw_never_starts(self, peer: HaltPeer) -> None:
        """Taking our hold back leaves the machine standing until its operator starts it."""
        async with peer.config().connect("device") as device:
            await device.halt(ORDER)
            await device.withdraw()

            assert peer.held
            await peer.run()
            assert not bool(peer.held)
            await until(device, lambda reading: reading.held is False)


async def beat_is_written(peer: HaltPeer, read: Callable[[], int], changes: Mapping[str, Any]) -> None:
    """For drivers with a heartbeat: the count reaches the controller, and wraps."""
    async with peer.config(**changes).connect("device") as device:
        assert isinstance(device, Beating)
        await device.beat(41)
        assert read() == 41
        await device.beat(65535)
        assert read() == 65535
