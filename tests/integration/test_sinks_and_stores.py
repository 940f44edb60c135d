"""Forwarder, real stores and real broker together: a restart in the middle of an outage loses and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.forwarder import Forwarder
from gateway.model import Draft, Identity, Lane, Scan
from gateway.sinks.mqtt import MqttConfig
from gateway.store.evidence import Evidence
from gateway.store.telemetry import Telemetry
from gateway.world import World
from tests.servers import Server, mosquitto
from tests.sink_fakes import TAGS, make_ports, scan

PATH = "acme/line3"


class Boot:
    """One run of the gateway's stores and of one sink."""

    def __init__(self, folder: Path, port: int) -> None:
        self.world = World(seed=1)
        loop = asyncio.get_running_loop()
        self.evidence = Evidence.open(folder, gateway_id="gw", world=self.world, loop=loop)
        self.telemetry = Telemetry.open(folder, writer=self.evidence.writer, world=self.world)
        ports = msgspec.structs.replace(
            make_ports(),
            identity=Identity("gw", PATH, self.world.boot_id, "0"),
            ledger_id=self.evidence.ledger_id,
        )
        config = MqttConfig(url=f"mqtt://127.0.0.1:{port}", timeout=10.0)  # who answers late has it twice
        self.forwarder = Forwarder("mes", config, self.evidence, self.telemetry, ports, self.world)

    def live(self, *seqs: int) -> None:
        for seq in seqs:
            each: Scan = scan(seq, (float(seq), 65.0, "auto"), tagset=TAGS)
            self.telemetry.put(each)
            self.forwarder.offer(each)

    def note(self, *kinds: str) -> None:
        drafts = [Draft(kind, {}, lane=Lane.ALARMS if kind.startswith("halt") else Lane.EVIDENCE) for kind in kinds]
        self.evidence.submit(drafts)

    async def drained(self) -> None:
        async with asyncio.timeout(20):
            while self.telemetry.pending("mes") or self.forwarder.status().unhanded:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.05)


@asynccontextmanager
async def booted(folder: Path, port: int) -> AsyncIterator[Boot]:
    boot = Boot(folder, port)
    task = asyncio.create_task(boot.forwarder.run())
    try:
        yield boot
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await boot.telemetry.close()
        await boot.evidence.close()


class Collector:
    """Everything telemetry and events say, by their ids."""

    def __init__(self, port: int) -> None:
        self.scans: list[tuple[str, int]] = []
        self.indexes: list[int] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_connect = lambda client, *_: client.subscribe(f"{PATH}/#", 1)
        self.client.on_message = lambda _c, _d, message: self._take(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(15)

    def _take(self, message: Any) -> None:
        if "/event/" in message.topic:
            self.indexes.append(json.loads(message.payload)["index"])
        elif "/telemetry/" in message.topic:
            document = json.loads(message.payload)
            self.scans += [(each["boot"], each["seq"]) for each in document.get("scans", [document])]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path) as server:
        yield server


async def test_restart_in_an_outage(broker: Server, tmp_path: Path) -> None:
    """Scans and records of two boots, with the broker away over the restart, each arrive once under their own id."""
    folder = tmp_path / "state"
    folder.mkdir()
    broker.stop()
    async with booted(folder, broker.port) as first:
        first.live(*range(1, 301))
        first.note("gateway.started", "halt.requested", "check.judged")
        await asyncio.sleep(0.5)
    broker.start()
    collector = Collector(broker.port)
    try:
        async with booted(folder, broker.port) as second:
            second.live(*range(1, 101))
            second.note("gateway.started")
            await second.drained()
            second.live(*range(101, 201))
            await second.drained()
        async with booted(folder, broker.port) as third:
            third.live(1)
            await third.drained()
        async with asyncio.timeout(10):
            while len(collector.scans) < 501 or len(collector.indexes) < 4:  # noqa: ASYNC110  # another thread
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # what comes twice comes now
    finally:
        collector.close()

    boots = [boot.world.boot_id for boot in (first, second, third)]
    expected = {(boots[0], n) for n in range(1, 301)} | {(boots[1], n) for n in range(1, 201)} | {(boots[2], 1)}
    assert set(collector.scans) == expected
    assert len(collector.scans) == len(expected)
    assert sorted(collector.indexes) == [0, 1, 2, 3]
