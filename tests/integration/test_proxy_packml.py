"""The bad manners of the simulated PackML machines, met by a plain OPC UA client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua

from simulators.device import UnknownError
from simulators.filler import Filler
from simulators.opcua_server import Place
from simulators.packml import State
from simulators.plant import Plant

HOLD = 4


class _Stage:
    """A filler that executes, with its clock running, and clients that are closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.filler = Filler(Plant(5), Place("127.0.0.1", 0, folder))
        self.clients: list[Client] = []

    async def open(self) -> None:
        await self.filler.start()
        self.filler.machine.found(State.EXECUTE)
        self._clock = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            await self.filler.step(0.01)

    async def close(self) -> None:
        for client in self.clients:
            try:
                await asyncio.wait_for(client.disconnect(), 1)
            except (OSError, TimeoutError, ua.UaError):
                client.disconnect_socket()
        self._clock.cancel()
        await asyncio.gather(self._clock, return_exceptions=True)
        await self.filler.stop()

    async def client(self) -> Client:
        client = Client(self.filler.addresses()["url"], timeout=10)
        await client.connect()
        self.clients.append(client)
        return client

    async def write(self, client: Client, path: str, value: Any, kind: ua.VariantType, **stamps: Any) -> None:
        node = client.get_node(self.filler.link.node(f"Filler.{path}"))
        await node.write_attribute(ua.AttributeIds.Value, ua.DataValue(ua.Variant(value, kind), **stamps))

    async def hold(self, client: Client) -> None:
        await self.write(client, "Command.CntrlCmd", HOLD, ua.VariantType.Int32)
        await self.write(client, "Command.CmdChangeRequest", True, ua.VariantType.Boolean)

    async def until(self, *states: State) -> None:
        async with asyncio.timeout(10):
            while self.filler.machine.state not in states:  # noqa: ASYNC110  # a machine has no event for us
                await asyncio.sleep(0.01)

    @property
    def state(self) -> State:
        return self.filler.machine.state


async def _stage(folder: Path, play: Callable[[_Stage], Awaitable[None]]) -> None:
    stage = _Stage(folder)
    await stage.open()
    try:
        await play(stage)
    finally:
        await stage.close()
        await asyncio.sleep(0.05)


@pytest.fixture
def played(tmp_path: Path) -> Callable[[Callable[[_Stage], Awaitable[None]]], Awaitable[None]]:
    return lambda play: _stage(tmp_path, play)


async def test_lying_answers_good_and_does_nothing(played: Any) -> None:
    """The write is answered Good, the machine runs on, the truth has the halt as not applied."""

    async def play(stage: _Stage) -> None:
        await stage.filler.fault("lying", {})
        await stage.hold(await stage.client())
        assert stage.state is State.EXECUTE
        assert [halt.applied for halt in stage.filler.halts] == [False]

    await played(play)


async def test_relents_holds_and_goes_on(played: Any) -> None:
    """Held for a moment, then it unholds by itself."""

    async def play(stage: _Stage) -> None:
        await stage.filler.fault("relents", {"seconds": 0.1})
        await stage.hold(await stage.client())
        await stage.until(State.HELD)
        await stage.until(State.EXECUTE)

    await played(play)


@pytest.mark.parametrize("applied", [False, True])
async def test_cut_on_command_leaves_the_client_in_the_dark(played: Any, applied: bool) -> None:
    """The connection breaks before the answer; whether it was carried out, only the state tells."""

    async def play(stage: _Stage) -> None:
        client = await stage.client()
        await stage.filler.fault("cut_on_command", {"applied": applied})
        with pytest.raises((OSError, TimeoutError, ua.UaError)):
            await stage.hold(client)
        await stage.filler.heal("all")
        await stage.until(State.HELD if applied else State.EXECUTE)
        again = await stage.client()
        await stage.hold(again)
        await stage.until(State.HELD)

    await played(play)


async def test_refuses_stamps(played: Any) -> None:
    """A value with a source time stamp is refused, the same one without is taken."""

    async def play(stage: _Stage) -> None:
        client = await stage.client()
        await stage.filler.fault("refuses_stamps", {})
        with pytest.raises(ua.UaStatusCodeError, match="BadWriteNotSupported"):
            await stage.write(client, "Command.CntrlCmd", HOLD, ua.VariantType.Int32, SourceTimestamp=datetime.now(UTC))
        await stage.hold(client)
        await stage.until(State.HELD)

    await played(play)


async def test_few_sessions(played: Any) -> None:
    """The second session is refused; with the limit gone it is taken."""

    async def play(stage: _Stage) -> None:
        await stage.client()
        await stage.filler.fault("few_sessions", {"most": 1})
        second = Client(stage.filler.addresses()["url"], timeout=2)
        with pytest.raises(ua.UaStatusCodeError, match="TooManySessions"):
            await second.connect()
        second.disconnect_socket()
        await stage.filler.heal("few_sessions")
        await stage.client()

    await played(play)


async def test_a_node_is_missing_and_comes_back(played: Any) -> None:
    """One node is unknown, its neighbours are not."""

    async def play(stage: _Stage) -> None:
        client = await stage.client()
        speed = client.get_node(stage.filler.link.node("Filler.Status.MachSpeed"))
        await stage.filler.fault("node_missing", {"tag": "speed"})
        with pytest.raises(ua.UaStatusCodeError, match="BadNodeIdUnknown"):
            await speed.read_value()
        assert await client.get_node(stage.filler.link.node("Filler.Status.StateCurrent")).read_value() == 6
        await stage.filler.heal("all")
        assert await speed.read_value() == 300.0

    await played(play)


async def test_a_bad_status_keeps_the_old_value(played: Any) -> None:
    """The value stays what it was under a bad status, whatever the machine does."""

    async def play(stage: _Stage) -> None:
        client = await stage.client()
        node = client.get_node(stage.filler.link.node("Filler.Status.MachSpeed"))
        await stage.filler.fault("bad_status", {"tag": "speed"})
        stage.filler.plant.rate = 9.0
        await asyncio.sleep(0.05)
        data = await node.read_data_value(raise_on_bad_status=False)
        assert data.StatusCode is not None
        assert data.StatusCode.name == "BadSensorFailure"
        assert data.Value is not None
        assert data.Value.Value == 300.0
        await stage.filler.heal("all")
        await asyncio.sleep(0.05)
        assert await node.read_value() == 540.0

    await played(play)


async def test_slow_state_and_found_held(played: Any) -> None:
    """Holding lasts; and a machine may stand in Held without any command of ours."""

    async def play(stage: _Stage) -> None:
        await stage.filler.fault("slow_state", {"seconds": 0.5})
        await stage.hold(await stage.client())
        await asyncio.sleep(0.3)
        assert stage.state is State.HOLDING
        await stage.until(State.HELD)
        stage.filler.machine.found(State.EXECUTE)
        await stage.filler.fault("found_held", {})
        assert stage.state is State.HELD
        assert len(stage.filler.halts) == 1

    await played(play)


async def test_refuses(played: Any) -> None:
    """A command is answered Bad and nothing happens."""

    async def play(stage: _Stage) -> None:
        await stage.filler.fault("refuses", {})
        with pytest.raises(ua.UaStatusCodeError, match="BadInvalidState"):
            await stage.hold(await stage.client())
        assert stage.state is State.EXECUTE

    await played(play)


async def test_a_fault_of_a_tag_needs_one_that_exists(played: Any) -> None:
    """What cannot be is said, and nothing stands."""

    async def play(stage: _Stage) -> None:
        for args in ({}, {"tag": "sped"}):
            with pytest.raises(UnknownError, match="tag"):
                await stage.filler.fault("bad_status", args)
        assert stage.filler.faults == {}
        assert all(getattr(fault, "sentence", "") for fault in stage.filler.known_faults().values())

    await played(play)
