"""The open MQTT sink: records, scans and retained state out through one link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from gateway.errors import Rejected, SinkError
from gateway.model import Record, Scan
from gateway.sinks.base import SinkPorts
from gateway.sinks.encode import cloud_event, event_topic, publish_properties, scans_json, to_json
from gateway.sinks.mqtt_handover import FOR_EVER, REASONS, REFUSED
from gateway.sinks.mqtt_link import Link

log = structlog.get_logger()

SCANS_PER_MESSAGE: Final = 25
"""Scans of one device in one message under load: 2,500 values of 100-tag scans, some 0.3 ms of encoding."""
CHECKPOINT_S: Final = 1.0
RECORDS_A_TURN: Final = 4
"""Published in one go: some 0.3 ms."""


class MqttSink:
    """See gateway/sinks/mqtt.py for the topics."""

    def __init__(self, name: str, path: str, expiry_s: float, ports: SinkPorts, link: Link) -> None:
        self._name = name
        self._path = path
        self._ports = ports
        self._link = link
        self._expiring = publish_properties(expiry_s=int(expiry_s))
        self._plain = publish_properties()
        self._topics: dict[str, str] = {}
        self._dirty = dict.fromkeys(["gateway", *ports.board])
        self._stir = asyncio.Event()
        self._refused_states: set[str] = set()
        self._checkpoint = ""
        self._showing = asyncio.create_task(self._show_for_ever(), name=f"{name}: state")
        self._deaf = ports.board.listen(self._changed)

    # -- the lanes -------------------------------------------------------------------------------

    async def deliver(self, batch: Sequence[Record | Scan]) -> None:
        """All records, or all scans; each message waits for its PUBACK and its reason code."""
        records = [item for item in batch if isinstance(item, Record)]
        if records:
            await self._records(records)
        else:
            await self._scans([item for item in batch if isinstance(item, Scan)])

    async def _records(self, records: Sequence[Record]) -> None:
        link, ports = self._link, self._ports
        handover = link.handover()
        for position, record in enumerate(records):
            if link.full:
                await link.room()
            properties = publish_properties(user=cloud_event(record, ports.identity, ports.ledger_id))
            link.publish(handover, position, event_topic(self._path, record.kind), record.payload, properties)
            if position % RECORDS_A_TURN == RECORDS_A_TURN - 1:
                await asyncio.sleep(0)  # let polls and halts in between
        refused = await handover.settled()
        if refused:
            positions = sorted(refused)
            _refuse(refused, positions, [event_topic(self._path, records[position].kind) for position in positions])

    async def _scans(self, scans: Sequence[Scan]) -> None:
        link, boot = self._link, self._ports.identity.boot_id
        messages = by_device(scans)
        handover = link.handover()
        for number, positions in enumerate(messages):
            if link.full:
                await link.room()
            group = [scans[position] for position in positions]
            topic = self._telemetry_topic(group[0].tagset.device)
            link.publish(handover, number, topic, scans_json(group, boot), self._expiring)
            if len(group) > 1:
                await asyncio.sleep(0)  # a big message was encoded: let polls and halts in between
        refused = await handover.settled()
        if refused:
            lost = [messages[number] for number in sorted(refused)]
            topics = [self._telemetry_topic(scans[positions[0]].tagset.device) for positions in lost]
            _refuse(refused, [position for positions in lost for position in positions], topics)

    def _telemetry_topic(self, device: str) -> str:
        topic = self._topics.get(device)
        if topic is None:
            topic = self._topics[device] = f"{self._path}/telemetry/{device}"
        return topic

    async def closed(self) -> None:
        done, _ = await asyncio.wait((self._link.lost, self._showing), return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()

    # -- retained state, beside the lanes --------------------------------------------------------

    def _changed(self, topic: str) -> None:
        self._dirty[topic] = None
        self._stir.set()

    async def _show(self, topic: str) -> None:
        document = self._ports.board.get(topic)
        if topic == "gateway":
            payload = gateway_state(self._ports, online=True)
        else:
            payload = b"" if document is None else to_json(document)
        await self._retain(f"{self._path}/state/{topic}", payload)

    async def _retain(self, topic: str, payload: bytes) -> None:
        code = await self._link.send(topic, payload, self._plain, retain=True)
        if code >= REFUSED and topic not in self._refused_states:
            self._refused_states.add(topic)
            log.error("the broker refuses a retained topic; its ACL must allow it", sink=self._name, topic=topic)

    async def _show_for_ever(self) -> None:
        """Publish what changed on the Board, and the checkpoint when there is a newer one.  Ends with the link."""
        while True:
            self._stir.clear()
            while self._dirty:
                topic = next(iter(self._dirty))
                del self._dirty[topic]
                await self._show(topic)
            await self._show_checkpoint()
            try:
                async with asyncio.timeout(CHECKPOINT_S):
                    await self._stir.wait()
            except TimeoutError:
                continue

    async def _show_checkpoint(self) -> None:
        newest = self._ports.checkpoint()
        if newest and newest != self._checkpoint:
            self._checkpoint = newest
            await self._retain(f"{self._path}/checkpoint", newest.encode())

    async def stop(self) -> None:
        """Say that we are gone, if anybody can still hear it; never raises."""
        self._deaf()
        self._showing.cancel()
        await asyncio.gather(self._showing, return_exceptions=True)
        if self._link.error is not None:
            return
        try:
            async with asyncio.timeout(1.0):
                await self._retain(f"{self._path}/state/gateway", gateway_state(self._ports, online=False))
        except (SinkError, TimeoutError):
            log.debug("the broker was gone before goodbye", sink=self._name)


def gateway_state(ports: SinkPorts, *, online: bool) -> bytes:
    """The document on `state/gateway`; the offline one is also the will."""
    identity = ports.identity
    known = ports.board.get("gateway")
    return to_json(
        {
            **(known if online and isinstance(known, dict) else {}),
            "online": online,
            "gateway": identity.gateway_id,
            "path": identity.path,
            "boot": identity.boot_id,
            "version": identity.version,
            "ledger": ports.ledger_id,
        }
    )


def by_device(scans: Sequence[Scan]) -> list[list[int]]:
    """Positions of scans, one list for each message: in order for each device, no message too long."""
    if len(scans) == 1:
        return [[0]]
    messages: list[list[int]] = []
    growing: dict[str, list[int]] = {}
    for position, scan in enumerate(scans):
        message = growing.get(scan.tagset.device)
        if message is None or len(message) >= SCANS_PER_MESSAGE:
            message = growing[scan.tagset.device] = []
            messages.append(message)
        message.append(position)
    return messages


def _refuse(codes: Mapping[int, int], positions: Sequence[int], topics: Sequence[str]) -> None:
    """Rejected where it is for ever, SinkError where it may pass (quota, unspecified)."""
    code = min(codes.values(), key=lambda each: each in FOR_EVER)
    reason = f"{REASONS.get(code, hex(code))}: topic {', '.join(dict.fromkeys(topics))}"
    if code not in FOR_EVER:
        raise SinkError(f"the broker took nothing: {reason}")
    raise Rejected(positions, reason)
