"""An open OPC UA device: poll, halt, beat.  Imported inside connect(), as it brings asyncua with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from gateway.drivers.opcua.connect import open_link
from gateway.drivers.opcua.convert import status_name, ua
from gateway.drivers.opcua.halt import Seen, bring_to_rest
from gateway.drivers.opcua.link import Link, Watch, edge
from gateway.drivers.opcua.prepare import Found, Outputs, find_inputs, find_outputs, identify
from gateway.drivers.opcua.settings import OpcUaSettings, deadband_of
from gateway.drivers.opcua.values import BACKLOG
from gateway.drivers.wire.opcua_publish import Item, Notice
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, HaltProof, Reading, Value

log = structlog.get_logger()

ALIVE: Final = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)
"""The cheapest proof of life: every server has it, none keeps it on the machine's side of the wire."""
SILENCE: Final = 3
"""Keep-alives missed in a row before a subscription counts as dead although the server still answers reads."""
MORE: Final = 64
"""Responses that say "more to come" in a row before they are shown anyway: a server may say so for ever."""
AFTER_HALT_S: Final = 1.0
"""So long after a proof (and two publishings) a notification may still be older than the read-back."""
NOTHING: Final[frozenset[int]] = frozenset()
WHOLE_S: Final = 60.0
"""A sparse device brings everything this often: whoever listens late knows all of it a minute later."""


@asynccontextmanager
async def open_device(config: OpcUaSettings, name: str) -> AsyncIterator[OpcUaDevice]:
    """Connect, look every node up, read everything once; subscribe where the configuration says so."""
    async with open_link(name, config.url, config.security) as link:
        found = await find_inputs(config, link)
        device = OpcUaDevice(config, link, name, found, await find_outputs(config, link))
        await device.begin(await identify(config, link))
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

    def __init__(self, config: OpcUaSettings, link: Link, name: str, found: Found, outputs: Outputs) -> None:
        self.identity: Mapping[str, str] = {}
        self._config = config
        self._link = link
        self._name = name
        self._nodes, self._values, self._confirms = found
        self._controller, self._heartbeat = outputs
        self._withholds = config.halt is not None and config.halt.action == "withhold"
        self._silent = False
        """Our heartbeat is withheld for a halt, until that is taken back."""
        self._holding = False
        """From the first attempt to halt until it is taken back."""
        self._asked_at = 0.0
        self._moving: Value = None
        """The state in which the last reading showed the machine moving, where one came since the last halt."""
        self._broken: DeviceError | None = None
        self._heard = asyncio.Event()
        self._heard_at = 0.0
        self._whole_at = 0.0
        self._silence_s = float("inf")
        self._doubt_until = 0.0
        self._publishing_s = self._keep_alive_s = 0.0
        self._gathered: list[Item] = []
        self._stamps: dict[int, int] = {}
        self._unfinished = 0

    async def begin(self, identity: Mapping[str, str]) -> None:
        """Read everything once: the first reading is there before anything changes."""
        await self._read_all()
        self._values.ready.append(self._values.reading())
        self.identity = identity
        self._heard_at = self._whole_at = asyncio.get_running_loop().time()

    # -- subscribing ------------------------------------------------------------------------------

    async def subscribe(self) -> int:
        """A subscription with nothing in it yet; its id."""
        config = self._config
        made = await self._link.subscribe(config.publishing_s or config.period_s, config.period_s)
        self._publishing_s, self._keep_alive_s = made.publishing_s, made.keep_alive_s
        return made.id

    async def _watch(self, subscription: int) -> None:
        config = self._config
        publishing_s = config.publishing_s or config.period_s
        both = config.timestamps == "both"
        watched = await self._link.watch(subscription, list(self._wanted(publishing_s)), both=both)
        for handle, code in watched.refused.items():
            self._values.spoil(handle, status_name(code))
        for handle, code in watched.unfiltered.items():
            tag = list(config.nodes)[handle]
            log.warning("deadband not taken by the server", device=self._name, tag=tag, status=status_name(code))
        self._heard_at = asyncio.get_running_loop().time()  # from here on silence counts
        self._silence_s = SILENCE * max(self._keep_alive_s, config.period_s) + config.timeout_s

    def _wanted(self, publishing_s: float) -> Iterator[Watch]:
        config = self._config
        tags = list(config.nodes.values())
        usual = publishing_s if config.sampling_s is None else config.sampling_s
        for handle, node in self._nodes:
            if handle >= len(tags):  # a part of a compound
                yield Watch(handle, node, usual, config.queue)
                continue
            tag = tags[handle]
            sampling_s = usual if tag.sampling_s is None else tag.sampling_s
            deadband = deadband_of(tag.deadband) if tag.deadband else None
            yield Watch(handle, node, sampling_s, tag.queue or config.queue, deadband)

    async def listen(self, subscription: int) -> None:
        """Watch, then one publish request after the other; whatever ends this is the next poll's DeviceError.

        To watch is no part of connecting: ten thousand items may take a server longer than a station waits for it,
        and no halt waits for them.
        """
        sequence: int | None = None
        try:
            await self._watch(subscription)
            while True:
                notice = await self._link.publish(sequence, subscription)
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
        if notice.server_ns:
            self._stamps |= notice.server_ns
        self._unfinished = self._unfinished + 1 if notice.more else 0
        if 0 < self._unfinished < MORE:
            return  # what belongs to one publishing cycle comes out as one
        if self._gathered:
            dropped = self._values.dropped
            self._values.take(self._gathered, self._stamps)
            self._gathered, self._stamps = [], {}
            if dropped == 0 and self._values.dropped:
                log.warning("readings dropped: nobody polls fast enough", device=self._name, kept=BACKLOG)
        self._heard.set()

    # -- the contract -----------------------------------------------------------------------------

    async def poll(self) -> Reading:
        reading = await (self._poll_news() if self._config.subscribes else self._poll_once())
        at = self._confirms
        self._moving = reading.values[at] if at is not None and reading.held is False else None
        return reading

    async def _asked(self, reading: Reading) -> Reading:
        """Where no tag says whether the machine stands, it is asked itself: once a period while a halt stands."""
        now = asyncio.get_running_loop().time()
        if self._confirms is not None or not self._holding or self._controller is None:
            return reading
        if self._config.subscribes and now - self._asked_at < self._config.period_s:
            return reading  # news may come many times a period; a poll comes once
        async with _budget(self._config.timeout_s, self._link.where):
            seen = await self._controller.look()
        self._asked_at = now
        if seen.value is None or seen.value in self._values.passing:
            return reading
        return msgspec.structs.replace(reading, held=seen.still)

    async def _poll_news(self) -> Reading:
        if not self._values.ready and self._broken is None:
            await self._listen_a_while()
        ready = self._values.ready
        if not ready and self._broken is not None:
            raise self._broken
        first = ready[0] if ready else self._values.reading(NOTHING if self._config.sparse else None)
        reading = await self._asked(
            await self._believed(first)
        )  # may be cancelled: what was not returned is still there
        if reading.changed is not None and asyncio.get_running_loop().time() - self._whole_at >= WHOLE_S:
            self._whole_at = asyncio.get_running_loop().time()
            reading = msgspec.structs.replace(reading, changed=None)
        if ready and ready[0] is first:
            ready.popleft()
        if not ready and self._broken is None:
            self._heard.clear()
        return reading

    async def _poll_once(self) -> Reading:
        if not self._values.ready:
            async with _budget(self._config.timeout_s, self._link.where):
                await self._read_all()
            return await self._asked(self._values.reading())
        return self._values.ready.popleft()

    async def _read_all(self) -> None:
        stamps: dict[int, int] | None = {} if self._config.timestamps == "both" else None
        items = await self._link.read([node for _, node in self._nodes], stamps)
        self._values.put(
            [(handle, *item[1:]) for (handle, _), item in zip(self._nodes, items, strict=True)],
            {self._nodes[at][0]: ns for at, ns in (stamps or {}).items()},
        )

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
        self._silent, self._holding = self._withholds, True
        if not self._config.subscribes:
            self._values.ready.clear()  # read at connect: older than the proof of this halt
        before = None if self._moving is None else self._controller.was(self._moving)
        self._moving = None
        proof, seen = await bring_to_rest(self._controller, self._config.halt_budget_s, self._name, before)
        self._note(seen)
        self._doubt_until = asyncio.get_running_loop().time() + 2 * self._publishing_s + AFTER_HALT_S
        return proof

    async def withdraw(self) -> None:
        if self._controller is not None:
            refusal = await self._controller.withdraw()
            if refusal:
                raise DeviceError(f"{self._link.where}: our hold request is not taken back: {refusal}")
        self._holding = self._silent = False

    async def beat(self, count: int) -> None:
        if self._heartbeat is None:
            raise DeviceMisconfigured(f"{self._link.where}: no `heartbeat:` is configured")
        if self._silent:
            return
        node, kind = self._heartbeat
        refusal = await self._link.write(node, count % _MODULUS.get(kind.name, 65536), kind)
        if refusal:
            raise DeviceError(f"{self._link.where}: heartbeat: {refusal}")


_MODULUS: Final = {"Boolean": 2, "SByte": 128, "Byte": 256, "Int16": 32768}
"""Where the count wraps in a type too small for 65535."""


@asynccontextmanager
async def _budget(seconds: float, where: str) -> AsyncIterator[None]:
    """A time limit that speaks of the device."""
    with edge(where):
        async with asyncio.timeout(seconds):
            yield
