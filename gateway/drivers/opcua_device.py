"""An open OPC UA device: poll, halt, beat.  Imported inside connect(), as it brings asyncua with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from gateway.drivers.opcua import STATE, OpcUaConfig
from gateway.drivers.opcua_connect import open_link
from gateway.drivers.opcua_halt import (
    CompanionController,
    Controller,
    PlainController,
    Seen,
    TagsController,
    bring_to_rest,
)
from gateway.drivers.opcua_link import Link, NodeId, Watched, edge, status_name, ua
from gateway.drivers.opcua_nodes import NodeRef
from gateway.drivers.opcua_packml import MACHINES, MOTIONS, URI, Motion
from gateway.drivers.opcua_values import BACKLOG, Composed, Values
from gateway.drivers.wire.opcua_publish import Item, Notice
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, HaltProof, Reading, Value

log = structlog.get_logger()

ALIVE: Final = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)
"""The cheapest proof of life: every server has it, none keeps it on the machine's side of the wire."""
BUILD: Final = ua.NodeId(ua.ObjectIds.Server_ServerStatus_BuildInfo)
SILENCE: Final = 3
"""Keep-alives missed in a row before a subscription counts as dead although the server still answers reads."""
MORE: Final = 64
"""Responses that say "more to come" in a row before they are shown anyway: a server may say so for ever."""
AFTER_HALT_S: Final = 1.0
"""So long after a proof (and two publishings) a notification may still be older than the read-back."""
_PART_NAMES: Final = (("CurrentState", "Number"), ("CurrentState", "Id"), ("CurrentState",))
_NAMEPLATE: Final = {
    "maker": "Manufacturer",
    "model": "Model",
    "serial": "SerialNumber",
    "firmware": "SoftwareRevision",
}
_DI: Final = "http://opcfoundation.org/UA/DI/"


@asynccontextmanager
async def open_device(config: OpcUaConfig, name: str) -> AsyncIterator[OpcUaDevice]:
    """Connect, look every node up, read everything once; subscribe where the configuration says so."""
    async with open_link(name, config.url, config.security) as link:
        device = OpcUaDevice(config, link, name)
        await device.prepare()
        if not config.subscribes:
            yield device
            return
        listening = asyncio.create_task(device.listen(await device.subscribe()), name=f"opcua publish {name}")
        try:
            yield device
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if not listening.cancelled():
                listening.result()  # DeviceErrors are caught in there: whatever else it died of is a bug, to be seen


class OpcUaDevice:
    """See `gateway.drivers.base.Device`, `Haltable` and `Beating`."""

    def __init__(self, config: OpcUaConfig, link: Link, name: str) -> None:
        self.identity: Mapping[str, str] = {}
        self._config = config
        self._link = link
        self._name = name
        self._nodes: list[tuple[int, NodeId]] = []
        self._controller: Controller | None = None
        self._confirms: int | None = None
        self._heartbeat: tuple[NodeId, ua.VariantType] | None = None
        self._broken: DeviceError | None = None
        self._heard = asyncio.Event()
        self._heard_at = 0.0
        self._silence_s = float("inf")
        self._doubt_until = 0.0
        self._publishing_s = 0.0
        self._gathered: list[Item] = []
        self._unfinished = 0

    # -- connecting -------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """DeviceMisconfigured: nothing here can be read, or the halt or heartbeat has no node to write."""
        composed = await self._find_nodes()
        self._values = Values(self._config.tags(), status_name, composed, self._rest())
        for handle, reason in self._missing.items():
            self._values.spoil(handle, reason)
        await self._read_all()
        self._values.ready.append(self._values.reading())
        await self._find_outputs()
        self.identity = await self._identify()
        self._heard_at = asyncio.get_running_loop().time()

    async def _find_nodes(self) -> Composed | None:
        """Today's node ids of all tags.  One that is missing is one bad tag, looked for again at the next connect."""
        names = list(self._config.nodes)
        plain = [at for at, name in enumerate(names) if self._config.nodes[name].compose is None]
        found = await self._link.resolve([self._config.tag_ref(names[at]) for at in plain])
        self._missing = {at: node for at, node in zip(plain, found, strict=True) if isinstance(node, str)}
        self._nodes = [(at, node) for at, node in zip(plain, found, strict=True) if not isinstance(node, str)]
        composed = await self._find_composed(names)
        if self._missing and not self._nodes:
            raise DeviceMisconfigured(
                f"{self._link.where}: none of the tags is there: {next(iter(self._missing.values()))}"
            )
        return composed

    async def _find_composed(self, names: Sequence[str]) -> Composed | None:
        at = next((at for at, name in enumerate(names) if self._config.nodes[name].compose), None)
        if at is None:
            return None
        parts = await self._parts(self._config.tag_ref(names[at]))
        present = [(len(names) + part, node) for part, node in enumerate(parts) if node is not None]
        if not present:
            self._missing[at] = f"BadNodeIdUnknown: no PackML state machine below {self._config.tag_ref(names[at])}"
            return None
        self._nodes += present
        return Composed(at, len(names), self._link.namespace(URI) or 0)

    async def _parts(self, root: NodeRef) -> list[NodeId | None]:
        """Number, Id and text of the three machines below a PackML object; None for what the server does not have."""
        refs = [
            _below(root, machine, tuple(("", name) for name in part)) for machine in MACHINES for part in _PART_NAMES
        ]
        return [None if isinstance(node, str) else node for node in await self._link.resolve(refs)]

    def _rest(self) -> tuple[int, frozenset[Value]] | None:
        """Which tag says that the machine stands still, and with which values."""
        names = list(self._config.nodes)
        halt = self._config.halt
        if halt is not None and halt.confirm is not None:
            self._confirms = names.index(halt.confirm.tag)
            return self._confirms, frozenset(halt.confirm.among)
        if STATE not in names or (self._config.dialect is None and halt is None):
            return None
        self._confirms = names.index(STATE)
        return self._confirms, frozenset(int(state) for state in MOTIONS[halt.action if halt else "hold"].still)

    async def _find_outputs(self) -> None:
        """The nodes we may write: what cannot be halted or beaten must not look ready."""
        if self._config.halt is not None:
            self._controller = await self._find_controller()
        if self._config.heartbeat is not None:
            node = await self._needed(self._config.ref(self._config.heartbeat.write), "heartbeat")
            self._heartbeat = node, await self._link.type_of(node)

    async def _needed(self, ref: NodeRef, what: str) -> NodeId:
        (node,) = await self._link.resolve([ref])
        if isinstance(node, str):
            raise DeviceMisconfigured(f"{self._link.where}: {what}: {node}")
        return node

    async def _find_controller(self) -> Controller:
        halt = self._config.halt
        assert halt is not None
        if halt.write is not None:
            return await self._plain_controller()
        dialect, place = self._config.halt_place()
        motion = MOTIONS[halt.action]
        if dialect == "companion":
            return await self._companion_controller(self._config.ref(place), motion)
        state, command, request = [
            await self._needed(self._config.ref(f"{place}.{tag}"), "halt")
            for tag in ("Status.StateCurrent", "Command.CntrlCmd", "Command.CmdChangeRequest")
        ]
        return await TagsController(self._link, motion, state, command, request).prepare()

    async def _companion_controller(self, root: NodeRef, motion: Motion) -> Controller:
        parts = await self._parts(root)
        if not any(parts):
            raise DeviceMisconfigured(f"{self._link.where}: halt: no PackML state machine below {root}")
        machine = MACHINES[motion.machine]
        target = await self._needed(_below(root, machine), "halt")
        (method,) = await self._link.resolve([_below(root, (*machine, motion.method))])
        packml = self._link.namespace(URI) or 0
        if isinstance(method, str):  # 10000-4 §5.12.2: an instance may leave its methods to the type
            method = ua.NodeId(motion.method_id, packml)
        return CompanionController(self._link, motion, parts, packml, (target, method))

    async def _plain_controller(self) -> Controller:
        halt = self._config.halt
        assert halt is not None
        assert halt.write is not None
        assert halt.confirm is not None
        confirm = await self._needed(self._config.tag_ref(halt.confirm.tag), "halt.confirm")
        writes: list[tuple[NodeId, Value, ua.VariantType]] = []
        for what in (halt.write, halt.release):
            if what is not None:
                node = await self._needed(self._config.ref(what.node), "halt")
                kind = ua.VariantType[what.type] if what.type else await self._link.type_of(node)
                writes.append((node, what.value, kind))
        release = writes[1] if len(writes) > 1 else None
        return PlainController(self._link, (halt.confirm.tag, confirm, halt.confirm.among), writes[0], release)

    async def _identify(self) -> dict[str, str]:
        """The nameplate of the machine where it has one (DI Identification), else the server's build info."""
        identity = {}
        build = await self._link.read_raw(BUILD)
        if isinstance(build, ua.BuildInfo):
            identity = {"maker": build.ManufacturerName, "model": build.ProductName, "firmware": build.SoftwareVersion}
        place = self._config.identification or self._config.root
        if place is not None and self._link.namespace(_DI) is not None:
            identity |= await self._nameplate(self._config.ref(self._config.with_alias(place)))
        return {key: str(value) for key, value in identity.items() if value}

    async def _nameplate(self, place: NodeRef) -> dict[str, str]:
        refs = [
            place._replace(path=(*place.path, (_DI, "Identification"), (_DI, name))) for name in _NAMEPLATE.values()
        ]
        found = {}
        for key, node in zip(_NAMEPLATE, await self._link.resolve(refs), strict=True):
            if not isinstance(node, str):
                (item,) = await self._link.read([node])
                if item[1] is not None:
                    found[key] = str(item[1])
        return found

    # -- subscribing ------------------------------------------------------------------------------

    async def subscribe(self) -> Watched:
        config = self._config
        publishing_s = config.publishing_s or config.period_s
        watched = await self._link.subscribe(
            self._nodes, publishing_s, config.sampling_s or publishing_s, config.period_s, config.queue
        )
        for handle, code in watched.refused.items():
            self._values.spoil(handle, status_name(code))
        self._publishing_s = watched.publishing_s
        self._silence_s = SILENCE * max(watched.keep_alive_s, config.period_s) + config.timeout_s
        return watched

    async def listen(self, watched: Watched) -> None:
        """One publish request after the other; whatever ends this is the next poll's DeviceError."""
        sequence: int | None = None
        try:
            while True:
                notice = await self._link.publish(sequence, watched.id)
                sequence = None if notice.empty else notice.sequence
                self._take(notice)
        except DeviceError as exc:
            self._broken = exc
            self._heard.set()

    def _take(self, notice: Notice) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if notice.status:
            raise DeviceError(f"{self._link.where}: the server ended the subscription: {status_name(notice.status)}")
        self._gathered += notice.items
        self._unfinished = self._unfinished + 1 if notice.more else 0
        if 0 < self._unfinished < MORE:
            return  # what belongs to one publishing cycle comes out as one
        if self._gathered:
            dropped = self._values.dropped
            self._values.take(self._gathered)
            self._gathered = []
            if dropped == 0 and self._values.dropped:
                log.warning("readings dropped: nobody polls fast enough", device=self._name, kept=BACKLOG)
        self._heard.set()

    # -- the contract -----------------------------------------------------------------------------

    async def poll(self) -> Reading:
        if not self._config.subscribes:
            return await self._poll_once()
        if not self._values.ready and self._broken is None:
            await self._listen_a_while()
        ready = self._values.ready
        if not ready and self._broken is not None:
            raise self._broken
        first = ready[0] if ready else self._values.reading()
        reading = await self._believed(first)  # may be cancelled: what was not returned is still there
        if ready and ready[0] is first:
            ready.popleft()
        if not ready and self._broken is None:
            self._heard.clear()
        return reading

    async def _poll_once(self) -> Reading:
        if not self._values.ready:
            async with _budget(self._config.timeout_s, self._link.where):
                await self._read_all()
            return self._values.reading()
        return self._values.ready.popleft()

    async def _read_all(self) -> None:
        items = await self._link.read([node for _, node in self._nodes])
        self._values.put([(handle, *item[1:]) for (handle, _), item in zip(self._nodes, items, strict=True)])

    async def _listen_a_while(self) -> None:
        """Until the server says anything, a keep-alive included; after a silent period a read proves that it lives."""
        try:
            async with asyncio.timeout(self._config.period_s):
                await self._heard.wait()
        except TimeoutError:
            await self._prove_alive()

    async def _prove_alive(self) -> None:
        """A dead link is an error, and so is a subscription that died while the server lives: never stale as fresh."""
        async with _budget(self._config.timeout_s, self._link.where):
            await self._link.read([ALIVE])
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        if silent_s > self._silence_s:
            raise DeviceError(
                f"{self._link.where} answers, but its subscription has been silent for {silent_s:.1f} s; "
                "a keep-alive was due"
            )

    async def _believed(self, reading: Reading) -> Reading:
        """A notification may be older than the read-back that proved a halt: then the machine is asked, not trusted."""
        if reading.held is not False or self._controller is None:
            return reading
        if asyncio.get_running_loop().time() > self._doubt_until:
            return reading
        async with _budget(self._config.timeout_s, self._link.where):
            seen = await self._controller.look()
        if not seen.still:
            return reading
        self._note(seen)
        assert self._confirms is not None
        values = list(reading.values)
        values[self._confirms] = seen.value
        return msgspec.structs.replace(reading, values=tuple(values), held=True)

    def _note(self, seen: Seen) -> None:
        """What the machine itself said is newer than anything in the snapshot."""
        if self._confirms is not None and seen.value is not None:
            self._values.put([(self._confirms, seen.value, 0, seen.source_ns)])

    async def halt(self, order: HaltOrder) -> HaltProof:  # noqa: ARG002  # every order asks the same of the machine
        if self._controller is None:
            raise NotHeld(f"{self._link.where}: no `halt:` is configured")
        proof, seen = await bring_to_rest(self._controller, self._config.halt_budget_s, self._name)
        self._note(seen)
        self._doubt_until = asyncio.get_running_loop().time() + 2 * self._publishing_s + AFTER_HALT_S
        return proof

    async def withdraw(self) -> None:
        if self._controller is not None:
            await self._controller.withdraw()

    async def beat(self, count: int) -> None:
        if self._heartbeat is None:
            raise DeviceMisconfigured(f"{self._link.where}: no `heartbeat:` is configured")
        node, kind = self._heartbeat
        refusal = await self._link.write(node, count % _MODULUS.get(kind.name, 65536), kind)
        if refusal:
            raise DeviceError(f"{self._link.where}: heartbeat: {refusal}")


_MODULUS: Final = {"Boolean": 2, "SByte": 128, "Byte": 256, "Int16": 32768}
"""Where the count wraps in a type too small for 65535."""


def _below(root: NodeRef, names: Sequence[str], rest: tuple[tuple[str, str], ...] = ()) -> NodeRef:
    return root._replace(path=(*root.path, *((URI, name) for name in names), *rest))


@asynccontextmanager
async def _budget(seconds: float, where: str) -> AsyncIterator[None]:
    """A time limit that speaks of the device."""
    with edge(where):
        async with asyncio.timeout(seconds):
            yield
