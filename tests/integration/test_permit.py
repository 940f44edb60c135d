"""A machine without any interface, held by a relay on another device than the one that is measured; whole processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_kit import ROOT, Process, running, written

from simulators.client import Client

HALT = "filler-permit:too-hot"


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[Client, dict[str, Any]]]:
    """A reservoir that is measured and a relay in the run circuit of a filler; the back door and the addresses."""
    command = [sys.executable, "-m", "simulators", "--seed", "7", "--devices", "reservoir", "--with", "relay"]
    command += ["--run-dir", str(tmp_path / "sim"), "--control", "0", "--reservoir", "0", "--extras-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    addresses = json.loads(process.stdout.readline())["addresses"]
    host, _, port = addresses["control"].rpartition(":")
    with Client.connect(host, int(port)) as sim:
        yield sim, addresses
    process.terminate()
    process.wait(10)


def line(folder: Path, addresses: dict[str, Any]) -> Path:
    common = {"driver": "modbus", "period": "100ms", "timeout": "500ms"}
    return written(
        folder,
        devices={
            "reservoir": {
                **common,
                "profile": "watlow-ez-zone-pm",
                "url": f"tcp://{addresses['reservoir']['tcp']}",
            },
            "filler-permit": {
                **common,
                "profile": "permissive-relay-mirror",
                "url": f"tcp://{addresses['relay']['tcp']}",
            },
        },
        rules={
            "too-hot": {
                "kind": "limit",
                "input": "reservoir/temperature",
                "limits": {"unit": "Cel", "high": 90},
                "alarm": "high",
                "halt": "filler-permit",
            }
        },
    )


def relay(sim: Client) -> dict[str, Any]:
    return dict(sim.do("truth")["devices"]["relay"])


def heat(sim: Client, degrees: float | None) -> None:
    sim.do("deviate", tag="reservoir/temperature", value=degrees)


def did(gateway: Process, *arguments: str, who: str = "") -> None:
    code, _, err = gateway.cli(*arguments, who=who)
    assert code == 0, err


def test_the_measured_device_is_not_the_held_one(plant: tuple[Client, dict[str, Any]], tmp_path: Path) -> None:
    """Oil too hot: the filler's relay drops, read back; a release permits and starts nothing; a weld is shouted."""
    sim, addresses = plant
    sim.do("fault", device="relay", name="no_watchdog")  # it would drop before a gateway that starts slowly
    sim.do("operator", device="relay", action="start")
    with running(line(tmp_path / "gw", addresses)) as gateway:
        gateway.until("the line fills", lambda: sim.do("truth")["plant"]["units"] > 0)
        heat(sim, 95.0)
        gateway.until("the relay drops", lambda: not relay(sim)["closed"], 15.0)
        halt = gateway.until("the halt is confirmed", lambda: confirmed(gateway), 15.0)
        assert halt["proof"] == "contact_open (discrete input 0) = True"
        assert not relay(sim)["running"]

        token = gateway.first_token()
        did(gateway, "people", "add", "anna", "--full-name", "Anna A", "--first-run", token)
        did(gateway, "people", "add", "tom", "--role", "technician", who="anna")
        heat(sim, None)
        occurrence = gateway.until("the oil is well again", lambda: over(gateway), 15.0)
        did(gateway, "alarms", "ack", "too-hot", occurrence, who="tom")
        version = str(gateway.status()["halts"][HALT]["version"])
        did(gateway, "halts", "release", HALT, "--version", version, "--reason", "controller replaced", who="tom")
        gateway.until("the relay permits", lambda: relay(sim)["closed"], 15.0)
        assert not relay(sim)["running"]

        sim.do("operator", device="relay", action="start")
        sim.do("fault", device="relay", name="welded")
        heat(sim, 95.0)
        gateway.until("HALT FAILED", lambda: "halt-failed:filler-permit" in gateway.alarms(), 20.0)
        assert (relay(sim)["coil"], relay(sim)["running"]) == (False, True)
        sim.do("heal", device="relay", name="welded")
        gateway.until("held after all", lambda: confirmed(gateway), 15.0)
        assert not relay(sim)["running"]


def confirmed(gateway: Process) -> dict[str, Any] | None:
    halt = (gateway.status().get("halts") or {}).get(HALT)
    return halt if halt and halt["state"] == "confirmed" else None


def over(gateway: Process) -> str:
    """The occurrence to acknowledge, once the condition is gone."""
    alarm = gateway.alarms().get("too-hot", {})
    return str(alarm["occurrence"]) if alarm.get("state") == "rtn_unack" else ""
