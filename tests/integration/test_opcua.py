"""The OPC UA driver against a PackML machine on asyncua's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asyncua import ua

from gateway.demo.ports import free_port
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, Quality
from tests.opcua_peer import COMMANDS, LEAVES, TAKES, URI, Cable, Remote, kill, peer

OPEN = {"policy": "None", "mode": "None", "waiver": "loopback"}
ORDER = HaltOrder("filler:r", "filler", "r", "too light", 0)
TAGS = {"profile": "packml-tags", "prefix": "Filler"}
COMPANION = {
    "profile": "packml-companion",
    "root": "f:Unit",
    "tags": {
        "mode": {"node": "f:Filler.Status.UnitModeCurrent", "path": ""},
        "speed": {"node": "f:Filler.Status.MachSpeed", "path": ""},
    },
}
DIALECTS = pytest.mark.parametrize("dialect", [TAGS, COMPANION], ids=["tags", "companion"])


def config(url: str, **more: Any) -> OpcUaConfig:
    """With as much time as a slow machine needs; tests of a time give their own."""
    given = {"driver": "opcua", "url": url, "namespace": {"f": URI}, "period": "100ms", "security": OPEN}
    return OpcUaConfig.model_validate({**given, "timeout": "5s", "halt_budget": "5s", **more})


@pytest.fixture(scope="module")
def shared() -> Iterator[Remote]:
    """One machine for all tests here."""
    with peer() as running:
        yield running


@pytest.fixture
async def machine(shared: Remote) -> Remote:
    await shared.reset()
    return shared


@pytest.fixture
async def cable(machine: Remote) -> AsyncIterator[Cable]:
    """A line to the machine that can be pulled."""
    line = Cable(machine)
    await line.heal()
    yield line
    await line.cut()


async def poll_until(device: Any, wanted: Any, tries: int = 50) -> Any:
    """The first reading that `wanted` accepts."""
    for _ in range(tries):
        reading = await device.poll()
        if wanted(reading):
            return reading
    raise AssertionError(f"never seen; last {reading}")


async def poll_for_ever(device: Any) -> None:
    """Poll until an error ends it."""
    while True:
        await device.poll()


async def died(device: Any) -> tuple[float, float]:
    """Poll until a DeviceError; loop times of the last reading (or of now) and of the error."""
    loop = asyncio.get_running_loop()
    last = loop.time()
    while True:
        try:
            await device.poll()
        except DeviceError:
            return last, loop.time()
        last = loop.time()


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_reads_what_the_machine_says(machine: Remote, mode: str) -> None:
    """State, mode, speed and counts come with the machine's own time stamps, at once and when they change."""
    async with config(machine.url, mode=mode, **TAGS).connect("filler") as device:
        first = await device.poll()
        assert first.values == (4, 1, 60.0, 0, 0)
        assert not first.faults
        assert first.source_ns[0] > 1_600_000_000_000_000_000
        assert first.held is True, "Idle stands still"
        await machine.to(6)
        await machine.put("Admin.ProdProcessedCount", 12)
        reading = await poll_until(device, lambda reading: reading.values[3] == 12)
        assert reading.values[0] == 6
        assert reading.held is False
        assert device.identity["maker"]


@DIALECTS
@pytest.mark.parametrize("state", sorted(set(range(1, 18))))
async def test_every_state_is_read(machine: Remote, dialect: dict[str, Any], state: int) -> None:
    """The state number is the machine's in both dialects, also where inner machines still show an old state."""
    machine.stale_inner = True
    await machine.to(6)
    await machine.to(state)
    async with config(machine.url, **dialect).connect("filler") as device:
        assert (await device.poll()).values[0] == state


async def test_changes_of_one_moment_are_one_reading(machine: Remote) -> None:
    """A label's text and its count are never shown apart, however fast they change."""
    tags = {
        "units": {"node": "f:Filler.Admin.ProdProcessedCount"},
        "uid": {"node": "f:Filler.Label.Uid", "kind": "text"},
    }
    seen = []
    async with config(machine.url, tags=tags, queue=100).connect("labeller") as device:
        await machine.put("Label.Uid", "watched")
        await poll_until(device, lambda reading: reading.values[1] == "watched")
        for number in range(1, 21):  # several within one publishing interval
            await machine.put("Label.Uid", f"u{number}")
            await machine.put("Admin.ProdProcessedCount", number)
            await asyncio.sleep(0.01)
        while not seen or seen[-1][0] != 20:
            seen.append((await device.poll()).values)
    firsts = dict(reversed(seen))  # where the count was new
    firsts.pop(0, None)  # that one was new before
    assert firsts == {number: f"u{number}" for number in range(1, 21)}, seen


async def test_quality(machine: Remote) -> None:
    """A bad status takes the value away although the server sends it along; an uncertain one keeps it."""
    async with config(machine.url, **TAGS).connect("filler") as device:
        await machine.put("Status.MachSpeed", 61.0, ua.StatusCodes.BadSensorFailure)
        bad = await poll_until(device, lambda reading: 2 in reading.faults)
        assert bad.values[2] is None
        assert (bad.faults[2].quality, bad.faults[2].reason) == (Quality.BAD, "BadSensorFailure")
        await machine.put("Status.MachSpeed", 62.0, ua.StatusCodes.UncertainLastUsableValue)
        uncertain = await poll_until(device, lambda reading: reading.values[2] == 62.0)
        assert uncertain.faults[2].quality is Quality.UNCERTAIN
        await machine.put("Status.MachSpeed", float("nan"))
        assert (await poll_until(device, lambda reading: reading.values[2] is None)).faults[2].quality is Quality.BAD


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_missing_node_is_one_bad_tag(machine: Remote, mode: str) -> None:
    """The others go on; after the node was made it is found at the next connect."""
    made = config(machine.url, mode=mode, **TAGS, tags={"ghost": {"node": "f:Filler.Ghost"}})
    async with made.connect("filler") as device:
        reading = await device.poll()
        assert "BadNodeIdUnknown" in reading.faults[5].reason
        assert reading.values[:5] == (4, 1, 60.0, 0, 0)
        await machine.to(6)
        await poll_until(device, lambda reading: reading.values[0] == 6)
    node = await machine.run(
        machine.server.nodes.objects.add_variable(ua.NodeId("Filler.Ghost", machine.index), "Ghost", 5)
    )
    async with made.connect("filler") as device:
        assert (await device.poll()).values[5] == 5
    await machine.run(machine.server.delete_nodes([node]))


async def test_another_server(machine: Remote) -> None:
    """A server without our namespace is the wrong one: an error that names the namespace."""
    with pytest.raises(DeviceMisconfigured, match="no namespace urn:elsewhere"):
        async with config(machine.url, namespace={"f": "urn:elsewhere"}, **TAGS).connect("filler"):
            pass


async def test_namespaces_are_looked_up_at_each_connect() -> None:
    """After a restart with other namespace indexes the same tags are read."""
    port = free_port()
    seen = []
    for strangers in (0, 3):
        with peer(port, strangers) as machine:
            async with config(machine.url, **TAGS).connect("filler") as device:
                seen.append(((await device.poll()).values, machine.index))
    assert seen[0][0] == seen[1][0] == (4, 1, 60.0, 0, 0)
    assert seen[0][1] != seen[1][1]


@DIALECTS
@pytest.mark.parametrize("action", ["hold", "stop", "suspend", "abort"])
async def test_halts_a_running_machine(machine: Remote, dialect: dict[str, Any], action: str) -> None:
    """The halt returns once the machine's own state says that it stands still, and readings agree from then on."""
    await machine.to(6)
    async with config(machine.url, **dialect, halt={"action": action}).connect("filler") as device:
        await device.poll()
        proof = await device.halt(ORDER)
        name = {"hold": "Held (11)", "stop": "Stopped (2)", "suspend": "Suspended (5)", "abort": "Aborted (9)"}[action]
        assert (proof.state, proof.wrote) == (f"PackML {name}", True)
        after = [(await device.poll()).held for _ in range(6)]
        while after[-1] is not True and len(after) < 50:  # on the way (Stopping, Aborting) a machine says neither
            after.append((await device.poll()).held)
        assert False not in after, "no older notification contradicts it"
        assert after[-1] is True
        assert (await device.halt(ORDER)).wrote is False, "idempotent: it stood already"


@DIALECTS
@pytest.mark.parametrize("state", sorted(set(range(1, 18)) - {1, 7, 8, 15, 16}))
async def test_hold_from_every_state(machine: Remote, dialect: dict[str, Any], state: int) -> None:
    """Where Hold is taken it is given and read back; where the machine stands still it is proof without a write."""
    await machine.to(state)
    async with config(machine.url, **dialect, halt={"action": "hold"}).connect("filler") as device:
        if state == 10:  # on its way already: wait, write nothing
            machine.later(0.05, 11)
        proof = await device.halt(ORDER)
    assert proof.wrote is (state in TAKES["Hold"])
    assert machine.state == (11 if state in TAKES["Hold"] or state == 10 else state)
    assert bool(machine.calls or machine.writes) is proof.wrote


async def test_hold_is_given_again_where_it_is_taken(machine: Remote) -> None:
    """A controller that ignores Hold while Starting gets it again in Execute."""
    await machine.to(3)
    machine.deaf = {3}
    async with config(machine.url, **TAGS, halt={"action": "hold"}).connect("filler") as device:
        machine.later(0.1, 6)
        assert (await device.halt(ORDER)).state == "PackML Held (11)"


@DIALECTS
async def test_a_lying_controller_is_not_held(machine: Remote, dialect: dict[str, Any]) -> None:
    """Good to every write and call, and still running: NotHeld with the state seen, within the budget."""
    machine.behave = "lie"
    await machine.to(6)
    made = config(machine.url, **dialect, halt={"action": "hold"}, halt_budget="300ms")
    async with made.connect("filler") as device:
        took: list[float] = []
        while len(took) < 2 or (min(took) > 0.35 and len(took) < 10):  # the machine under this test may stall, too
            begun = asyncio.get_running_loop().time()
            with pytest.raises(NotHeld, match=r"the machine says PackML Execute \(6\)"):
                await device.halt(ORDER)
            took.append(asyncio.get_running_loop().time() - begun)
        assert min(took) <= 0.35, took
        assert (await device.poll()).held is False


async def test_a_pending_request_gets_a_new_edge(machine: Remote) -> None:
    """A controller that never took CmdChangeRequest sees it fall and rise again at the next try."""
    machine.behave = "ignore_tags"
    await machine.to(6)
    async with config(machine.url, **TAGS, halt={"action": "hold"}, halt_budget="500ms").connect("filler") as device:
        with pytest.raises(NotHeld):
            await device.halt(ORDER)
        machine.behave = "obey"
        assert (await device.halt(ORDER)).wrote
    edges = [data.Value.Value for name, data in machine.writes if name.endswith("CmdChangeRequest")]
    assert edges == [True, False, True]


async def test_a_refused_method_says_so(machine: Remote) -> None:
    """A method that answers with a bad status is not a halt; its status is in the error."""
    machine.behave = "refuse"
    await machine.to(6)
    made = config(machine.url, **COMPANION, halt={"action": "hold"}, halt_budget="500ms")
    async with made.connect("filler") as device:
        with pytest.raises(NotHeld, match=r"Hold: BadInvalidState.* PackML Execute"):
            await device.halt(ORDER)


async def test_a_refused_write_says_so(machine: Remote) -> None:
    """A command node that may not be written is named with the server's reason."""
    await machine.to(6)
    await machine.run(machine.nodes["Command.CntrlCmd"].set_read_only())
    made = config(machine.url, **TAGS, halt={"action": "hold"}, halt_budget="500ms")
    async with made.connect("filler") as device:
        with pytest.raises(NotHeld, match="CntrlCmd: Bad"):
            await device.halt(ORDER)


async def test_a_halt_without_its_nodes_is_refused_at_connect(machine: Remote) -> None:
    """What cannot be halted does not look ready."""
    with pytest.raises(DeviceMisconfigured, match=r"halt: .*BadNodeIdUnknown|halt: |cannot be read"):
        async with config(machine.url, **TAGS, halt={"action": "hold", "prefix": "f:Nowhere"}).connect("filler"):
            pass


async def test_writes_carry_no_time_and_the_right_type(machine: Remote) -> None:
    """Halt, withdrawal and heartbeat write a bare value of the node's own type: what S7 and open62541 accept."""
    await machine.to(6)
    made = config(machine.url, **TAGS, halt={"action": "hold"}, heartbeat={"write": "f:Filler.Heartbeat.In"})
    async with made.connect("filler") as device:
        await device.beat(65537)
        await device.halt(ORDER)
        await device.withdraw()
    assert [(name.removeprefix("Filler."), data.Value.Value) for name, data in machine.writes] == [
        ("Heartbeat.In", 1),
        ("Command.CntrlCmd", 4),
        ("Command.CmdChangeRequest", True),
        ("Command.CmdChangeRequest", False),
        ("Command.CntrlCmd", 0),
    ]
    kinds = {"In": "UInt16", "CntrlCmd": "Int32", "CmdChangeRequest": "Boolean"}
    for name, data in machine.writes:
        assert data.SourceTimestamp is None
        assert data.ServerTimestamp is None
        assert data.Value.VariantType.name == kinds[name.rpartition(".")[2]]
    assert machine.state == 11, "withdrawing never starts the machine"


async def test_a_plain_node_halts_too(machine: Remote) -> None:
    """One write, confirmed by a tag, taken back on release."""
    halt = {
        "write": {"node": "f:Filler.Relay", "value": True},
        "confirm": {"tag": "relay", "in": [True]},
        "release": {"node": "f:Filler.Relay", "value": False},
        "confirm_same": "accepted",
    }
    tags = {"relay": {"node": "f:Filler.Relay", "kind": "bool"}}
    async with config(machine.url, tags=tags, halt=halt).connect("conveyor") as device:
        assert (await device.poll()).held is False
        assert (await device.halt(ORDER)).state == "relay = True"
        assert (await device.poll()).held is True
        await device.withdraw()
        assert (await machine.run(machine.nodes["Relay"].read_value())) is False


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_server_that_dies_is_an_error_in_time(mode: str) -> None:
    """A poll that waits when the server goes away ends in a DeviceError within period and timeout."""
    loop = asyncio.get_running_loop()
    with peer() as machine:
        async with config(machine.url, mode=mode, timeout="500ms", **TAGS).connect("filler") as device:
            await device.poll()
            dead: list[float] = []
            dying = loop.run_in_executor(None, kill, machine)
            dying.add_done_callback(lambda _: dead.append(loop.time()))
            _, felt = await died(device)
            await dying
            await asyncio.sleep(0)
            assert felt - dead[0] < 1.5


def in_time(stale_s: float, felt_s: float) -> bool:
    """The last reading was no later than what was on its way, and the error came within period and timeout."""
    return stale_s < 0.25 and felt_s < 0.8


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_dead_link_is_never_a_fresh_value(machine: Remote, cable: Cable, mode: str) -> None:
    """A cable pulled without a goodbye: no reading at all, and a DeviceError within period and timeout."""
    made = config(f"opc.tcp://127.0.0.1:{cable.port}", mode=mode, timeout="300ms", **TAGS)
    tries: list[tuple[float, float]] = []
    while not tries or (len(tries) < 5 and not in_time(*tries[-1])):  # the machine under this test may stall, too
        cable.dead = False
        async with made.connect("filler") as device:
            await device.poll()
            await device.poll()
            cable.dead = True
            await asyncio.sleep(0.1)  # what was on the wire has arrived
            begun = asyncio.get_running_loop().time()
            last, felt = await died(device)
            tries.append((last - begun, felt - begun))
    assert in_time(*tries[-1]), tries


async def test_a_dead_subscription_is_an_error_though_reads_work(machine: Remote) -> None:
    """The server forgets our subscription but answers reads: found out by the missing keep-alive."""
    made = config(machine.url, timeout="300ms", **TAGS)
    async with made.connect("filler") as device:
        await machine.put("Status.MachSpeed", 61.0)
        await poll_until(device, lambda reading: reading.values[2] == 61.0)  # the subscription stands
        for subscription in list(machine.server.iserver.subscription_service.subscriptions.values()):
            await machine.run(subscription.stop())
        with pytest.raises(DeviceError, match="subscription has been silent"):
            async with asyncio.timeout(5):
                await poll_for_ever(device)


async def test_a_cancelled_poll_loses_nothing(machine: Remote) -> None:
    """A poll cut short for a halt: the next call is right, and no change is lost."""
    await machine.to(6)
    async with config(machine.url, **TAGS, halt={"action": "hold"}, period="2s").connect("filler") as device:
        await device.poll()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poll_for_ever(device), 0.05)
        assert (await device.halt(ORDER)).state == "PackML Held (11)"
        await machine.put("Admin.ProdProcessedCount", 5)
        reading = await poll_until(device, lambda reading: reading.values[3] == 5)
        assert reading.values[0] == 11


async def test_nobody_there() -> None:
    """A closed port is a DeviceError that names the address."""
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    with pytest.raises(DeviceError, match=url):
        async with config(url, **TAGS).connect("filler"):
            pass


async def test_a_cancelled_connect_leaves_nothing(machine: Remote, cable: Cable) -> None:
    """A session attempt given up half-way has ended before the next one begins."""
    cable.dead = True
    made = config(f"opc.tcp://127.0.0.1:{cable.port}", **TAGS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), made.connect("filler"):
            pass
    async with asyncio.timeout(10):
        while cable.open:  # noqa: ASYNC110  # it lives on another loop
            await asyncio.sleep(0.01)
    cable.dead = False
    async with made.connect("filler") as device:
        assert (await device.poll()).values[0] == 4


def test_the_peer_knows_the_commands() -> None:
    """The peer leaves for the states that the commands name (a check of the test's own oracle)."""
    assert set(COMMANDS.values()) == set(LEAVES) == set(TAKES)
