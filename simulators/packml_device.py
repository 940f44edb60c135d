"""What filler and labeller share: a PackML machine behind an OPC UA server, in both dialects, with a heartbeat.

Two dialects: the companion model's methods, and PackTags (`Command.CntrlCmd` is obeyed when `CmdChangeRequest` turns
TRUE, which the machine then takes back).  The controller counts `Heartbeat.Out` each second; when the gateway has ever
written `Heartbeat.In` and it stops changing for two seconds, the controller holds the machine by itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from asyncua import ua

from simulators.device import Device, Fault, UnknownError, Value
from simulators.opcua_server import OpcUaLink, Place
from simulators.packml import Command, Machine, State
from simulators.packml_nodes import Companion
from simulators.plant import Plant

HEARTBEAT_LIMIT_S: Final = 2.0
PRODUCE: Final = 1
WRITES_KEPT: Final = 100
_HALTING: Final = frozenset({Command.HOLD, Command.STOP, Command.ABORT, Command.SUSPEND})
_KIND: Final[dict[type, ua.VariantType]] = {
    bool: ua.VariantType.Boolean,
    int: ua.VariantType.Int32,
    float: ua.VariantType.Double,
    str: ua.VariantType.String,
}


@dataclass(frozen=True)
class Halt:
    """A command to stand still, as the machine met it.  `mono_ns` is CLOCK_MONOTONIC, comparable on one computer."""

    device: str
    how: str
    mono_ns: int
    time_ns: int
    applied: bool
    state: int
    """The state it was met in."""


@dataclass(frozen=True)
class Write:
    """Something a client asked of the machine over the network, whatever came of it."""

    what: str
    """`Heartbeat.In`, `CntrlCmd`, `CmdChangeRequest`, `method Hold`, `Dose.Setpoint`."""
    value: Value
    mono_ns: int


class PackmlDevice(Device):
    """A machine; subclasses name their values and what a running machine does."""

    title: ClassVar[str]
    """First part of every node id: `Filler`, `Labeller`."""
    nodes: ClassVar[Mapping[str, str]]
    """Tag -> node path below the title, in the order they are published."""
    own_faults: ClassVar = {
        "lying": Fault("It answers Good to every command and does nothing."),
        "refuses": Fault("It answers every command, method or CntrlCmd, with BadInvalidState."),
        "relents": Fault(
            "It holds, and goes on by itself after `seconds`: somebody's logic takes the command back.", "seconds"
        ),
        "cut_on_command": Fault(
            "A command breaks every connection before it is answered; carried out if `applied`.", "applied"
        ),
        "slow_state": Fault("Each acting state (Holding, Stopping, ...) takes so many `seconds` more.", "seconds"),
        "found_held": Fault("It stands in Held, and no command came over the network."),
        "jam": Fault("The machine jams and holds itself whenever it runs."),
        "unwatched": Fault("Somebody switched the controller's watch over our heartbeat off."),
        "refuses_stamps": Fault("A write that carries a time stamp is answered with BadWriteNotSupported."),
        "few_sessions": Fault("No more than so many sessions (`most`): BadTooManySessions for the next.", "most"),
        "node_missing": Fault("The node of a `tag` is not there any more, for who connects from now on.", "tag"),
        "bad_status": Fault("The value of a `tag` stays what it was, under the status BadSensorFailure.", "tag"),
    }

    def __init__(self, plant: Plant, place: Place) -> None:
        super().__init__()
        self.plant = plant
        self.machine = Machine(self._changed)
        self.link = OpcUaLink(self.name, place, self.gate)
        self.links = (self.link,)
        self.halts: list[Halt] = []
        self.writes: deque[Write] = deque(maxlen=WRITES_KEPT)
        """The newest, in the order they came."""
        self.notes: list[str] = []
        """What the controller did by itself, and why."""
        self._companion = Companion(self.link, self.title, self.called)
        self._beat_out = 0
        self._beat_due_s = 1.0
        self._beat_in: int | None = None
        self._beat_age_s = 0.0
        self._command = 0
        self._held_s = 0.0

    def values(self) -> dict[str, Value]:
        """The values of `nodes`, by tag."""
        raise NotImplementedError

    def running_changed(self, running: bool) -> None:
        """The machine entered or left Execute."""

    async def start(self) -> None:
        await self.link.build(self._populate)
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        await self.link.close()

    def addresses(self) -> dict[str, str]:
        return {"url": self.link.address, "certificate": str(self.link.certificate), "namespace": self.link.uri}

    def truth(self) -> dict[str, Any]:
        return {
            "state": int(self.machine.state),
            "state_name": self.machine.state.name.capitalize(),
            "heartbeat_in": self._beat_in,
            "heartbeat_out": self._beat_out,
            "notes": self.notes,
            "writes": [asdict(write) for write in self.writes],
            **self.values(),
        }

    async def step(self, dt_s: float) -> None:
        self.machine.step(dt_s)
        self._watch(dt_s)
        self._relent(dt_s)
        if self.machine.state is State.EXECUTE and "jam" in self.faults:
            self._hold_myself("jam")
        await self.publish()

    async def fault(self, name: str, args: dict[str, Any]) -> None:
        if "tag" in args and args["tag"] not in self.nodes:
            raise UnknownError(f"{self.name} has no tag {args['tag']!r}; it has {', '.join(self.nodes)}")
        if name in ("node_missing", "bad_status") and "tag" not in args:
            raise UnknownError(f"{name} needs a tag: one of {', '.join(self.nodes)}")
        await super().fault(name, args)
        if name == "found_held":
            self.machine.found(State.HELD)
        await self._spoil_nodes()

    async def heal(self, name: str) -> list[str]:
        gone = await super().heal(name)
        await self._spoil_nodes()
        return gone

    def faults_changed(self) -> None:
        self.machine.slow_s = float(
            self.faults.get("slow_state", {}).get("seconds", 3.0 * ("slow_state" in self.faults))
        )
        few = self.faults.get("few_sessions")
        most = None if few is None else int(few.get("most", 1))
        self.link.refuse(
            {self.link.node(f"{self.title}.Command.CntrlCmd")} if "refuses" in self.faults else frozenset()
        )
        self.link.be_picky(stamps="refuses_stamps" in self.faults, most_sessions=most)

    async def _spoil_nodes(self) -> None:
        missing, doubted = self.faults.get("node_missing"), self.faults.get("bad_status")
        self.link.hide({self._by_tag[missing["tag"]]} if missing else set())
        await self.link.doubt({self._by_tag[doubted["tag"]]} if doubted else set())
        await self.publish()

    def _relent(self, dt_s: float) -> None:
        if self.machine.state is not State.HELD or "relents" not in self.faults:
            self._held_s = 0.0
            return
        self._held_s += dt_s
        if self._held_s >= float(self.faults["relents"].get("seconds", 0.5)):
            self.machine.command(Command.UNHOLD)

    async def publish(self) -> None:
        """Write what changed to the nodes; nothing while frozen."""
        if "frozen" in self.faults:
            return
        shown = {**self.values(), **self.forced}
        for tag, node in self._by_tag.items():
            await self.link.show(node, shown[tag])
        await self.link.show(self._out, self._beat_out)
        await self._companion.show(self.machine.state)

    async def force(self, tag: str, value: Value | None) -> None:
        await super().force(tag, value)
        await self.publish()

    def coerce(self, tag: str, value: Value) -> Value:
        return type(self.values()[tag])(value)

    def called(self, command: Command, how: str) -> bool:
        """A method of the companion model."""
        self._note(how, int(command))
        return self.remote(command, how)

    def remote(self, command: Command, how: str) -> bool:
        """A command over the network; True: answered Good.  A lying controller says Good and does nothing."""
        lying = "lying" in self.faults
        state = int(self.machine.state)
        cut = self.faults.get("cut_on_command")
        deaf = lying or "refuses" in self.faults or (cut is not None and not cut.get("applied", False))
        applied = not deaf and self.machine.command(command)
        if cut is not None:
            self.link.drop()
        if command in _HALTING:
            self.halts.append(Halt(self.name, how, time.monotonic_ns(), time.time_ns(), applied, state))
        return applied or lying

    def operator(self, action: str) -> bool:
        try:
            command = Command[action.upper()]
        except KeyError:
            keys = ", ".join(key.name.lower() for key in Command)
            raise UnknownError(f"{self.name} has no key {action!r}; it has {keys}") from None
        return self.machine.command(command)

    def on_reboot(self) -> None:
        self._beat_in, self._beat_out = None, 0
        self.machine.reboot()

    def _changed(self, state: State) -> None:
        self.running_changed(state is State.EXECUTE)

    def _hold_myself(self, why: str) -> None:
        if self.machine.command(Command.HOLD):
            self.notes.append(why)

    def _watch(self, dt_s: float) -> None:
        self._beat_due_s -= dt_s
        if self._beat_due_s <= 0:
            self._beat_due_s += 1.0
            self._beat_out = (self._beat_out + 1) % 65536
        self._beat_age_s += dt_s
        watched = self._beat_in is not None and "unwatched" not in self.faults
        if watched and self._beat_age_s > HEARTBEAT_LIMIT_S and self.machine.state is State.EXECUTE:
            self._hold_myself("heartbeat lost")

    async def _populate(self, link: OpcUaLink) -> None:
        root = await link.folder(self.title)
        folders = {path.partition(".")[0] for path in self.nodes.values()} | {"Command", "Heartbeat"}
        homes = {name: await link.folder(f"{self.title}.{name}", root) for name in sorted(folders)}
        values = self.values()
        self._by_tag = {}
        for tag, path in self.nodes.items():
            home = homes[path.partition(".")[0]]
            written = self._setpoint if tag == "dose_setpoint" else None
            kind = _KIND[type(values[tag])]
            self._by_tag[tag] = await link.variable(f"{self.title}.{path}", home, kind, values[tag], written)
        await self._populate_commands(link, homes)
        await self._companion.build()
        await self.publish()

    async def _populate_commands(self, link: OpcUaLink, homes: Mapping[str, ua.NodeId]) -> None:
        int32, boolean, uint16 = ua.VariantType.Int32, ua.VariantType.Boolean, ua.VariantType.UInt16
        command, beat = homes["Command"], homes["Heartbeat"]
        await link.variable(f"{self.title}.Command.CntrlCmd", command, int32, 0, self._cntrl_cmd)
        path = f"{self.title}.Command.CmdChangeRequest"
        self._request = await link.variable(path, command, boolean, value=False, written=self._change_request)
        await link.variable(f"{self.title}.Heartbeat.In", beat, uint16, 0, self._beat)
        self._out = await link.variable(f"{self.title}.Heartbeat.Out", beat, uint16, 0)

    def _note(self, what: str, value: object) -> None:
        # the order of writes is what a restart is judged by: the hold comes before the heartbeat
        self.writes.append(Write(what, value if isinstance(value, Value) else str(value), time.monotonic_ns()))

    async def _cntrl_cmd(self, value: object) -> None:
        self._note("CntrlCmd", value)
        self._command = int(value) if isinstance(value, int) else 0

    async def _change_request(self, value: object) -> None:
        self._note("CmdChangeRequest", value)
        if value is not True:
            return
        if self._command in Command.__members__.values():
            command = Command(self._command)
            self.remote(command, f"CntrlCmd {command.name.capitalize()}")
        await self.link.show(self._request, value=False)
        await self.publish()

    async def _beat(self, value: object) -> None:
        self._note("Heartbeat.In", value)
        self._beat_in = int(value) if isinstance(value, int) else None
        self._beat_age_s = 0.0

    async def _setpoint(self, value: object) -> None:
        """Only the filler has one."""
