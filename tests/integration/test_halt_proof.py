"""What an OPC UA machine's word is worth: what proves a halt, who looks while it stands, how it is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from simulators.filler import Filler
from simulators.packml import Command, State
from tests.integration.test_halt_actions import ORDER, a_filler, config, moving

UNITS = {"profile": None, "tags": {"mode": {"node": "f:Filler.Status.UnitModeCurrent"}}}
"""A device whose tags do not say how the machine is."""
HOLD = {"dialect": "tags", "prefix": "f:Filler", "action": "hold"}


@asynccontextmanager
async def running(tmp_path: Path, fault: str) -> AsyncIterator[Filler]:
    """A filler in Execute, with this fault."""
    filler = a_filler(tmp_path)
    async with moving(filler):
        await filler.fault(fault, {})
        filler.machine.found(State.EXECUTE)
        await filler.publish()
        yield filler


async def put(filler: Filler, name: str, value: Any, status: int = 0) -> None:
    """A value with a status of its own, as a server gives it."""
    data = ua.DataValue(ua.Variant(value, ua.VariantType.Int32), StatusCode=ua.StatusCode(status))
    await filler.link.server.write_attribute_value(filler.link.node(name), data)


def commands(filler: Filler) -> list[tuple[str, object]]:
    """What was written to it, in order, but for the heartbeat."""
    return [(write.what, write.value) for write in filler.writes if write.what.startswith("C")]


PATIENCE_S = 5.0
"""However slowly a machine publishes its state and however quickly it is polled."""


async def held_is(device: Any, wanted: bool | None) -> bool:
    """A reading says so, sooner or later: polls in a row may all come before the machine's next word."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    while loop.time() < until:
        if (await device.poll()).held is wanted:
            return True
        await asyncio.sleep(0.005)
    return False


async def never_held_is(device: Any, unwanted: bool) -> bool:
    """None of the next readings says so."""
    readings = [await device.poll() for _ in range(20)]
    return all(reading.held is not unwanted for reading in readings)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_machine_without_a_state_tag_is_watched_while_it_is_halted(tmp_path: Path, mode: str) -> None:
    """No tag says how it is, so it is asked: somebody who starts it again while it is latched is seen."""
    async with (
        running(tmp_path, "unwatched") as filler,
        config(filler, "tags", HOLD, mode=mode, period="50ms", **UNITS).connect("filler") as device,
    ):
        await device.poll()
        await device.halt(ORDER)
        assert await held_is(device, wanted=True)
        filler.machine.command(Command.UNHOLD)
        assert await held_is(device, wanted=False)

        await device.halt(ORDER)
        await device.withdraw()
        assert (await device.poll()).held is None, "nobody asks it once it was let go"


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_machine_without_a_state_tag_that_goes_to_stopped_leaves_nothing(tmp_path: Path, mode: str) -> None:
    """Stop was pressed on one that is held: on its way it neither stands nor runs, as one with a state tag."""
    async with (
        running(tmp_path, "unwatched") as filler,
        config(filler, "tags", HOLD, mode=mode, period="50ms", **UNITS).connect("filler") as device,
    ):
        await device.poll()
        await device.halt(ORDER)
        assert await held_is(device, wanted=True)
        await put(filler, "Filler.Status.StateCurrent", int(State.STOPPING))
        assert await held_is(device, wanted=None)
        assert await never_held_is(device, unwanted=False)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_an_uncertain_state_proves_nothing(tmp_path: Path, mode: str) -> None:
    """A server without its controller goes on showing Held as the last usable value: not held, and it says why."""
    async with running(tmp_path, "lying") as filler:
        made = config(filler, "tags", {"action": "hold"}, mode=mode, halt_budget="1s", period="50ms")
        async with made.connect("filler") as device:
            await device.poll()
            status = ua.StatusCodes.UncertainLastUsableValue
            await put(filler, "Filler.Status.StateCurrent", int(State.HELD), status)
            assert await held_is(device, wanted=None)
            with pytest.raises(NotHeld, match="UncertainLastUsableValue"):
                await device.halt(ORDER)


async def test_a_command_of_the_panel_is_not_taken_back(tmp_path: Path) -> None:
    """The operator's Reset stands in CntrlCmd when our release comes: it is theirs."""
    async with (
        running(tmp_path, "unwatched") as filler,
        config(filler, "tags", {"action": "hold"}).connect("filler") as device,
    ):
        await device.poll()
        await device.halt(ORDER)
        await put(filler, "Filler.Command.CntrlCmd", int(Command.RESET))
        await device.withdraw()
        assert ("CntrlCmd", 0) not in commands(filler)

        await put(filler, "Filler.Command.CntrlCmd", int(Command.HOLD))
        await device.withdraw()
        assert commands(filler)[-1] == ("CntrlCmd", 0)


async def test_a_release_that_is_refused_is_no_release(tmp_path: Path) -> None:
    """The server refuses to take our request back: an error that says so, never a machine held by nobody knows what."""
    async with (
        running(tmp_path, "unwatched") as filler,
        config(filler, "tags", {"action": "hold"}).connect("filler") as device,
    ):
        await device.poll()
        await device.halt(ORDER)
        await filler.fault("refuses", {})
        with pytest.raises(DeviceError, match="not taken back: CntrlCmd: Bad"):
            await device.withdraw()


async def test_one_node_by_two_names_proves_nothing(tmp_path: Path) -> None:
    """What is written and what confirms turn out to be one node: such a device does not look ready."""
    filler = a_filler(tmp_path)
    path = "/Objects/f:Filler/f:Heartbeat/f:In"
    halt = {"write": {"node": "f:Filler.Heartbeat.In", "value": 1}, "confirm": {"tag": "held", "in": [1]}}
    more: dict[str, Any] = {"profile": None, "tags": {"held": {"node": path}}, "heartbeat": None}
    async with moving(filler):
        with pytest.raises(DeviceMisconfigured, match="one node"):
            async with config(filler, "tags", halt, **more).connect("filler"):
                pass
        async with config(filler, "tags", {**halt, "confirm_same": "accepted"}, **more).connect("filler") as device:
            assert (await device.poll()).held is False


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_what_was_read_at_connect_is_older_than_a_halt(tmp_path: Path, mode: str) -> None:
    """Ordered while the machine was out of reach, a halt comes before the first poll, which shows it held since."""
    async with (
        running(tmp_path, "unwatched") as filler,
        config(filler, "tags", {"action": "hold"}, mode=mode, period="50ms").connect("filler") as device,
    ):
        await device.halt(ORDER)
        assert (await device.poll()).held is True
