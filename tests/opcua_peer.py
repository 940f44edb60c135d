"""A PackML machine of our own on asyncua's server, for the tests of the OPC UA driver.

Browse names, state numbers and state node ids are typed off the nodeset Opc.Ua.PackML 1.01 (node-opcua-nodesets
2.157.0), not off the driver: both sides are held to the standard, not to each other.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.common.methods import uamethod
from asyncua.common.utils import ServiceError

from gateway.demo.ports import free_port

URI = "urn:test:filler"
PACKML = "http://opcfoundation.org/UA/PackML/"
# state -> (browse name, numeric node id in the nodeset)
NODESET = {
    1: ("Clearing", 55),
    2: ("Stopped", 53),
    3: ("Starting", 29),
    4: ("Idle", 28),
    5: ("Suspended", 31),
    6: ("Execute", 36),
    7: ("Stopping", 54),
    8: ("Aborting", 61),
    9: ("Aborted", 62),
    10: ("Holding", 33),
    11: ("Held", 34),
    12: ("Unholding", 35),
    13: ("Suspending", 30),
    14: ("Unsuspending", 32),
    15: ("Resetting", 27),
    16: ("Completing", 37),
    17: ("Complete", 38),
    18: ("Running", 75),
    19: ("Cleared", 71),
}
BASE, MACHINE = {8, 9}, {1, 2, 7}
COMMANDS = {3: "Stop", 4: "Hold", 6: "Suspend", 8: "Abort"}
LEAVES = {"Hold": (10, 11), "Stop": (7, 2), "Suspend": (13, 5), "Abort": (8, 9)}
TAKES = {
    "Hold": {3, 5, 6, 12, 13, 14},
    "Suspend": {6},
    "Stop": set(range(3, 18)) - {7, 8, 9},
    "Abort": set(range(1, 18)) - {8, 9},
}
VALUES = {
    "Status.StateCurrent": (4, ua.VariantType.Int32),
    "Status.UnitModeCurrent": (1, ua.VariantType.Int32),
    "Status.MachSpeed": (60.0, ua.VariantType.Double),
    "Command.CntrlCmd": (0, ua.VariantType.Int32),
    "Command.CmdChangeRequest": (False, ua.VariantType.Boolean),
    "Admin.ProdProcessedCount": (0, ua.VariantType.Int32),
    "Admin.ProdDefectiveCount": (0, ua.VariantType.Int32),
    "Dose.Setpoint": (1.0, ua.VariantType.Double),
    "Label.Uid": ("u0", ua.VariantType.String),
    "Relay": (False, ua.VariantType.Boolean),
    "Heartbeat.In": (0, ua.VariantType.UInt16),
}


class Peer:
    """One machine.  `behave`: obey, lie (says Good, does nothing), refuse (a bad status), ignore_tags."""

    def __init__(self, port: int = 0, strangers: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self.behave = "obey"
        self.state = 4
        self.step_s = 0.01
        self.stale_inner = False
        """Leave the inner machines showing the state they were left in, as many servers do."""
        self.deaf: set[int] = set()
        """States in which commands are ignored although the standard takes them."""
        self.writes: list[tuple[str, ua.DataValue]] = []
        self.calls: list[str] = []
        self.server = Server()
        self._strangers = strangers
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, pki: Path | None = None, trusted: Any = None) -> None:
        await self.server.init()
        self.server.set_endpoint(self.url)
        self.server.set_server_name("peer")
        if pki is None:
            self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            await self._secure(pki, trusted)
        for number in range(self._strangers):
            await self.server.register_namespace(f"urn:stranger:{number}")
        self.index = await self.server.register_namespace(URI)
        self.packml = await self.server.register_namespace(PACKML)
        await self._tags()
        await self._companion()
        self.server.subscribe_server_callback(CallbackType.PreWrite, self._note_writes)
        await self.server.start()
        await self.to(self.state)

    async def reset(self) -> None:
        """As it was after start: the next test's machine."""
        self.behave, self.deaf, self.stale_inner = "obey", set(), False
        for name, (value, _) in VALUES.items():
            await self.nodes[name].set_writable()
            await self.put(name, value)
        await self.to(4)
        self.writes.clear()
        self.calls.clear()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.server.stop()

    async def _secure(self, pki: Path, trusted: Any) -> None:
        await self.server.set_application_uri("urn:test:server")
        self.server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await self.server.load_certificate(str(pki / "own.der"))
        await self.server.load_private_key(str(pki / "own.pem"))
        if trusted is not None:

            async def validate(cert: Any, _application: Any) -> None:
                if not trusted(cert):
                    raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

            self.server.set_certificate_validator(validate)

    async def _tags(self) -> None:
        self.nodes = {}
        for name, (value, kind) in VALUES.items():
            node = await self.server.nodes.objects.add_variable(
                ua.NodeId(f"Filler.{name}", self.index), ua.QualifiedName(name, self.index), value, varianttype=kind
            )
            await node.set_writable()
            self.nodes[name] = node
        self.server.iserver.aspace.add_datachange_callback(
            self.nodes["Command.CmdChangeRequest"].nodeid, ua.AttributeIds.Value, self._requested
        )

    async def _companion(self) -> None:
        top = await self.server.nodes.objects.add_object(ua.NodeId("Unit", self.index), f"{self.packml}:Unit")
        base = await top.add_object(ua.NodeId("Unit.B", self.index), f"{self.packml}:BaseStateMachine")
        machine = await base.add_object(ua.NodeId("Unit.M", self.index), f"{self.packml}:MachineState")
        execute = await machine.add_object(ua.NodeId("Unit.E", self.index), f"{self.packml}:ExecuteState")
        self.levels = [await self._state_variable(level) for level in (base, machine, execute)]
        for owner, names in ((base, ("Abort",)), (machine, ("Stop",)), (execute, ("Hold", "Suspend"))):
            for name in names:
                await owner.add_method(
                    ua.NodeId(f"Unit.{name}", self.index), f"{self.packml}:{name}", self._method(name), [], []
                )

    async def _state_variable(self, owner: Any) -> tuple[Any, Any]:
        current = await owner.add_variable(
            ua.NodeId(f"{owner.nodeid.Identifier}.Current", self.index), "0:CurrentState", ua.LocalizedText("Idle")
        )
        ident = await current.add_property(
            ua.NodeId(f"{owner.nodeid.Identifier}.Id", self.index), "0:Id", ua.NodeId(28, self.packml)
        )
        return current, ident

    # -- the machine ------------------------------------------------------------------------------

    async def to(self, state: int) -> None:
        """Go to a state, in both dialects at once."""
        self.state = state
        inner = [19, 18, state]
        if state in BASE:
            inner = [state, None, None]
        elif state in MACHINE:
            inner = [19, state, None]
        for (current, ident), shown in zip(self.levels, inner, strict=True):
            if shown is None and self.stale_inner:
                continue
            name, node = NODESET[shown] if shown else ("", 0)
            await current.write_value(ua.LocalizedText(name))
            await ident.write_value(ua.NodeId(node, self.packml if shown else 0))
        await self.put("Status.StateCurrent", state)

    async def put(self, name: str, value: Any, status: int = 0) -> None:
        data = ua.DataValue(ua.Variant(value, VALUES[name][1]), ua.StatusCode(status), SourceTimestamp=now())
        await self.server.write_attribute_value(self.nodes[name].nodeid, data)

    async def drive(self, command: str) -> None:
        if self.behave == "lie" or self.state not in TAKES[command] - self.deaf:
            return
        passing, last = LEAVES[command]
        await self.to(passing)
        await asyncio.sleep(self.step_s)
        await self.to(last)

    def spawn_to(self, state: int) -> None:
        """Go there soon: for timers."""
        self._keep(asyncio.create_task(self.to(state)))

    def _spawn(self, command: str) -> None:
        self._keep(asyncio.create_task(self.drive(command)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _method(self, name: str) -> Any:
        @uamethod
        async def called(_parent: Any) -> Any:
            self.calls.append(name)
            if self.behave == "refuse":
                return ua.StatusCode(ua.StatusCodes.BadInvalidState)
            self._spawn(name)
            return None

        return called

    async def _requested(self, _handle: Any, data: ua.DataValue) -> None:
        if not data.Value.Value or self.behave == "ignore_tags":
            return
        number = await self.nodes["Command.CntrlCmd"].read_value()
        if number in COMMANDS:
            self._spawn(COMMANDS[number])

    def _note_writes(self, event: Any, _service: Any) -> None:
        if not event.is_external:
            return
        for item in event.request_params.NodesToWrite:
            self.writes.append((str(item.NodeId.Identifier), item.Value))


def now() -> Any:
    return datetime.now(UTC)


class Remote:
    """A peer on a loop and thread of its own: the standard address space takes seconds to build, so tests share one.

    Attributes are the peer's; its coroutines run over there and are awaited here.
    """

    def __init__(self, peer: Peer) -> None:
        self.__dict__["peer"] = peer
        self.__dict__["loop"] = asyncio.new_event_loop()
        self.__dict__["thread"] = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.peer, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **more: self.run(found(*args, **more))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.peer, name, value)

    def run(self, work: Any) -> asyncio.Future[Any]:
        """Run a coroutine on the peer's loop; awaitable here."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def later(self, delay_s: float, state: int) -> None:
        """Have the machine go to a state by itself."""
        self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, self.peer.spawn_to, state)


class Cable:
    """A TCP line to the server, on the peer's own loop: it may lose bytes, keep the answers back, or be cut."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._target = remote.peer.port
        self.port = free_port()
        self.dead = False
        """Bytes get lost, both ways, and nobody is told: a pulled plug."""
        self._kept: list[tuple[asyncio.StreamWriter, bytes]] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        return len(self._writers) // 2

    async def heal(self) -> None:
        self.dead, self._kept = False, None
        if self._server is None:
            self._server = await self._remote.run(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    async def mute(self) -> None:
        self._kept = []

    async def unmute(self) -> None:
        await self._remote.run(self._release())

    async def cut(self) -> None:
        await self._remote.run(self._break())

    async def _release(self) -> None:
        kept, self._kept = self._kept or [], None
        for writer, data in kept:
            writer.write(data)

    async def _break(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        answers = asyncio.create_task(self._pump(there, writer, True))
        try:
            await self._pump(reader, back, False)
        finally:
            answers.cancel()
            self._writers -= {writer, back}
            back.close()
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if answers and self._kept is not None:
                    self._kept.append((sink, data))
                elif not self.dead:
                    sink.write(data)


@contextmanager
def peer(port: int = 0, strangers: int = 0, **start: Any) -> Iterator[Remote]:
    """A running machine; gone when the block ends, or when `kill()` was called before."""
    remote = Remote(Peer(port, strangers))
    remote.thread.start()
    asyncio.run_coroutine_threadsafe(remote.peer.start(**start), remote.loop).result(60)
    try:
        yield remote
    finally:
        kill(remote)
        remote.loop.close()


def kill(remote: Remote) -> None:
    """Stop the server and everything on its loop."""
    if not remote.thread.is_alive():
        return
    asyncio.run_coroutine_threadsafe(_end(remote.peer), remote.loop).result(30)
    remote.loop.call_soon_threadsafe(remote.loop.stop)
    remote.thread.join(10)


async def _end(machine: Peer) -> None:
    await machine.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:  # the server leaves the loops of broken sessions behind
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
