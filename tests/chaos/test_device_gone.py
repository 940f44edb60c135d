"""A device is gone with all its rules: one alarm for it, and what ten thousand blind rules cost.

The gateway as it is, with its stores and a real broker, in this process: what its loop does is seen from inside.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from line_kit import HOUSE, KitConfig, Machine
from servers import mosquitto

from gateway.app import Gateway
from gateway.config.reading import load
from gateway.sinks.mqtt_link import Link
from gateway.store.evidence import Evidence
from gateway.store.telemetry import Telemetry
from gateway.world import World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

LOOK_S: Final = 0.002
QUIET_S: Final = 2.0
"""Nothing was recorded for so long: it is over."""
LEAST_S: Final = 12.0
"""A station tries again within five seconds, and first values may take four periods."""
LONGEST_S: Final = 60.0
STALL_MS: Final = 20.0
CPU_S: Final = 1.0
RECORDS_A_DEVICE: Final = 7
"""Lost, alarm, what is under it; where it halts, the rule's alarm, requested, confirmed; one to spare."""


def _tags(device: int, count: int) -> list[str]:
    return [f"v{device}-{at}" for at in range(count)]


def _line(folder: Path, devices: int, tags: int, broker: str, **rule: Any) -> Path:
    """A rule for each tag of each device; a machine that can be held."""
    kit = {"driver": "kit", "period": "1s", "timeout": "500ms"}
    described: dict[str, Any] = {
        f"d{number}": {**kit, "tags": {name: {"unit": "Cel"} for name in _tags(number, tags)}}
        for number in range(devices)
    }
    described["press"] = {**kit, "can_halt": True, "halt_budget": "200ms", "tags": {"state": {}}}
    limits = {"unit": "Cel", "low": 0, "high": 90}
    line = {
        "gateway": {"id": "gw1", "path": "acme/denver/filling/line3/cell1", "state_dir": str(folder / "state")},
        "devices": described,
        "rules": {"within": {"kind": "limit", "input": "d*/v*", "limits": limits, **rule}},
        "sinks": {"mes": {"kind": "mqtt", "url": broker}},
    }
    folder.mkdir()
    (folder / "line.yaml").write_text(json.dumps(line))
    return folder / "line.yaml"


class Sent:
    """Messages to the broker, by what they are; telemetry apart."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.bytes = 0

    def clear(self) -> None:
        self.messages.clear()
        self.bytes = 0

    def saw(self, topic: str, payload: bytes) -> None:
        level = topic.split("/")[5]
        self.messages[level] += 1
        self.bytes += 0 if level == "telemetry" else len(payload)


@contextmanager
def _watched_link(patch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """What goes out by every MQTT link."""
    sent = Sent()
    publish = Link.publish

    def published(link: Link, handover: Any, at: int, topic: str, payload: bytes, *more: Any, **named: Any) -> None:
        sent.saw(topic, payload)
        publish(link, handover, at, topic, payload, *more, **named)

    with patch.context() as change:
        change.setattr(Link, "publish", published)
        yield sent


class Cost:
    """What the loop's thread did between two looks, in processor time: a starved machine does not lengthen that."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cpu_s = self.lasted_s = self.stall_ms = self.wall_ms = 0.0
        self.records: Counter[str] = Counter()

    async def until_quiet(self) -> None:
        """Until nothing is recorded any more."""
        loop, evidence = asyncio.get_running_loop(), self.gateway.evidence
        began, first = loop.time(), evidence.size
        size, quiet = first, began + LEAST_S
        process, before, last = time.process_time(), time.thread_time(), began
        while last < min(quiet, began + LONGEST_S):
            await asyncio.sleep(LOOK_S)
            now, cpu = loop.time(), time.thread_time()
            self.stall_ms = max(self.stall_ms, 1000 * (cpu - before))
            self.wall_ms = max(self.wall_ms, 1000 * (now - last - LOOK_S))
            before, last = cpu, now
            if evidence.size != size:
                size, quiet = evidence.size, max(quiet, now + QUIET_S)
        self.cpu_s, self.lasted_s = time.process_time() - process, last - began
        await self.gateway.journal.durable()
        self.records = Counter(record.kind for record in await evidence.read(first - 1, 1_000_000))


async def _idle_cpu(seconds: float) -> float:
    """Processor seconds a second of the same line where nothing happens, the watching included."""
    began, loop = time.process_time(), asyncio.get_running_loop()
    began_s = loop.time()
    for _ in range(round(seconds / LOOK_S / 1.5)):
        await asyncio.sleep(LOOK_S)
    return (time.process_time() - began) / (loop.time() - began_s)


@asynccontextmanager
async def _running(path: Path, machines: dict[str, Machine]) -> AsyncIterator[Gateway]:
    """The gateway but its console."""
    KitConfig.machines = machines
    settings = load(path, house=HOUSE)
    state, world, loop = Path(settings.gateway.state_dir), World(), asyncio.get_running_loop()
    state.mkdir(parents=True)
    evidence = Evidence.open(state, gateway_id="gw1", world=world, loop=loop)
    telemetry = Telemetry.open(state, writer=evidence.writer, world=world, max_bytes=1 << 30)
    gateway = Gateway(settings, evidence, telemetry, world)
    gateway.restore()
    lives = [*gateway.stations.values(), *gateway.forwarders]
    tasks = [asyncio.create_task(life.run()) for life in lives]
    tasks.append(asyncio.create_task(gateway.line.tick_for_ever()))
    gc.collect()
    gc.freeze()  # as `linegate run` does: a full collection is no part of what is measured
    try:
        yield gateway
    finally:
        gc.unfreeze()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gateway.close()


@pytest.mark.parametrize(("devices", "tags"), [(100, 100), (1, 1000)], ids=["100x100", "1x1000"])
@pytest.mark.parametrize("reaction", ["alarm", "halt"])
async def test_one_alarm_for_a_device_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int, tags: int, reaction: str
) -> None:
    """All links are cut at once, and are back: a few records a device, no stall, and the machine is held."""
    rule = {"bad_input": "halt", "halt": "press"} if reaction == "halt" else {}
    machines = {f"d{number}": Machine(dict.fromkeys(_tags(number, tags), 20.0), []) for number in range(devices)}
    machines["press"] = Machine({"state": 6}, [])
    with mosquitto(tmp_path) as broker, _watched_link(monkeypatch) as sent:
        path = _line(tmp_path / "line", devices, tags, f"mqtt://127.0.0.1:{broker.port}", **rule)
        async with _running(path, machines) as gateway:
            await asyncio.sleep(3)
            idle = await _idle_cpu(3)
            for word, link in (("gone", False), ("back", True)):
                sent.clear()
                for number in range(devices):
                    machines[f"d{number}"].link = link
                cost = Cost(gateway)
                await cost.until_quiet()
                alarms, messages = gateway.line.alarms, sent.messages.total() - sent.messages["telemetry"]
                net_s = cost.cpu_s - idle * cost.lasted_s
                _say(
                    f"{devices} x {tags}, {reaction}, {word}: {net_s:.2f} s CPU (of {CPU_S:g}) above idle, "
                    f"longest stall {cost.stall_ms:.1f} ms of CPU (of {STALL_MS:g}; wall {cost.wall_ms:.0f}), "
                    f"{cost.records.total()} records, {len(alarms.standing)} alarms shown, {len(alarms.hidden)} aside, "
                    f"{len(alarms.dependents)} under them, {messages} MQTT messages, {sent.bytes / 1e6:.2f} MB, "
                    f"{len(gateway.holds.standing)} latches"
                )
                assert cost.records["alarm.dependents"] >= devices
                assert cost.records.total() <= RECORDS_A_DEVICE * devices, cost.records
                assert len(alarms.standing) + len(alarms.hidden) <= 2 * devices
                assert len(alarms.dependents) == (0 if link else devices * tags - len(gateway.holds.standing))
                assert messages <= 2 * RECORDS_A_DEVICE * devices
                assert (len(gateway.holds.standing), machines["press"].held) == (
                    (devices, True) if reaction == "halt" else (0, False)
                )
                assert net_s <= CPU_S
                assert cost.stall_ms <= STALL_MS


def _say(what: str) -> None:
    print(what, flush=True)  # noqa: T201  # a promise prints its figure
