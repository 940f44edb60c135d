"""The adapter through which an outside yardstick measures us: configuration, values, halts, releases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from servers import mosquitto

from gateway.config.reading import load

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

from run import Plant, percentile  # noqa: E402  # after the path to it
from yardstick import configure  # noqa: E402

DEVICES, REGS = 3, 20


def spec(work: Path, **more: Any) -> dict[str, Any]:
    given = {"devices": DEVICES, "regs": REGS, "period_ms": 50, "rule": False, "work": str(work)}
    return {**given, "modbus_port": 1502, "mqtt_port": 1883, **more}


@contextmanager
def adapter(given: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The adapter as the yardstick starts it: the spec in a file, the end by SIGTERM."""
    path = Path(given["work"]) / "spec.json"
    path.write_text(json.dumps(given))
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "yardstick.py")], env={**os.environ, "BENCH_SPEC": str(path)}
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def until(what: Any, within_s: float = 40) -> Any:
    deadline = time.monotonic() + within_s
    while not (seen := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return seen


@pytest.mark.parametrize("rule", [False, True])
def test_its_configuration_is_good(tmp_path: Path, *, rule: bool) -> None:
    """What it writes is a line with one rule on every tag, and a halt on each device where the scenario has one."""
    settings = load(configure(spec(tmp_path, rule=rule)))

    rules = settings.build_rules(None, None)
    assert len(rules) == DEVICES * REGS + (DEVICES if rule else 0)
    assert all(device.haltable() is rule for device in settings.devices.values())
    assert {len(tagset.tags) for tagset in settings.tagsets.values()} == {REGS}


def test_values_arrive_as_plain_numbers(tmp_path: Path) -> None:
    """Every device's registers come to the broker by name, under the topic the yardstick listens to."""
    seen: dict[str, dict[str, Any]] = {}
    plant = Plant(DEVICES, REGS)
    try:
        with mosquitto(tmp_path) as broker:
            client = paho.Client(paho.CallbackAPIVersion.VERSION2)
            client.on_message = lambda _c, _u, message: seen.update({message.topic: json.loads(message.payload)})
            client.connect("127.0.0.1", broker.port)
            client.subscribe("plant/+/+/+/telemetry/+", qos=1)
            client.loop_start()
            with adapter(spec(tmp_path, modbus_ports=plant.ports, mqtt_port=broker.port)):
                until(lambda: len(seen) == DEVICES)
            client.loop_stop()
    finally:
        plant.close()

    scan = next(iter(seen.values()))
    scans = scan.get("scans", [scan])
    assert scans[0]["values"] == {f"r{at}": 5000 for at in range(REGS)}


def test_it_halts_and_lets_go(tmp_path: Path) -> None:
    """A deviation is halted at the device; the robot releases it, so that the next one can be measured."""
    plant = Plant(DEVICES, REGS)
    try:
        with (
            mosquitto(tmp_path) as broker,
            adapter(spec(tmp_path, rule=True, modbus_ports=plant.ports, mqtt_port=broker.port)),
        ):
            until(lambda: plant.ask("count") > 10)
            for _ in range(2):
                total_us, react_us = until(lambda: plant.ask("deviate 0"))
                plant.ask("heal 0")
                assert 0 < react_us <= total_us
                until(lambda: not plant.ask("held 0"))
    finally:
        plant.close()


def test_percentiles() -> None:
    """The share of a hundred that is below; of one value, itself."""
    assert [percentile(range(100), share) for share in (0.5, 0.99, 1.0)] == [50, 99, 99]
    assert percentile([7], 0.99) == 7
