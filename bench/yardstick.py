"""Lets an outside yardstick measure Linegate: reads $BENCH_SPEC, writes our configuration, runs the gateway.

    GATEWAY_CMD="python bench/yardstick.py" ... bench.py external all

One limit rule stands on every tag.  Where the yardstick injects deviations, a robot in a process of its own plays the
technician: it acknowledges and releases each latched halt, as a person would.  Ends with the gateway.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.client import Client

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # ours is imported where it is used: a yardstick counts the start from here

PASSWORD = "bench-password-1"
PATH = "plant/bench/line/cell"
SERVICE_NICE = -10
"""What CPUWeight=1000 of deploy/systemd/linegate.service comes to."""
FIRST_REST_S, REST_S = 0.05, 0.25
"""Between two looks at the line, each of which costs the gateway some milliseconds.  The first halt is released soon:
a yardstick may think that nobody ever will."""


def modbus(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Devices and rules of a Modbus scenario."""
    last = spec["regs"] - 1
    period = f"{spec['period_ms']}ms"
    ports = spec.get("modbus_ports") or [spec["modbus_port"] + number for number in range(spec["devices"])]
    devices, rules = {}, {}
    for number in range(spec["devices"]):
        name = f"d{number}"
        device: dict[str, Any] = {
            "driver": "modbus",
            "url": f"tcp://127.0.0.1:{ports[number]}",
            "unit_id": 1,
            "period": period,
            "timeout": "1s",
            "tags": {f"r[0..{last}]": {"address": 0, "type": "u16"}},
        }
        if spec["rule"]:
            device["halt"] = {
                "write": {"register": 900, "value": 1},
                "confirm": {"tag": "halted", "equals": 1},
                "confirm_same": "accepted",
                "release": {"register": 900, "value": 0},
            }
            device["tags"]["halted"] = {"address": 900, "type": "u16", "polled": False}
            window = {"unit": "1", "low": 4800, "high": 5200}
            rules[f"deviation-{name}"] = {"kind": "limit", "input": f"{name}/r0", "limits": window, "halt": name}
        devices[name] = device
    rules["range"] = {"kind": "limit", "input": "*/r*", "limits": {"unit": "1", "low": 0, "high": 65535}}
    return devices, rules


def by_uri(endpoint: str, node: str) -> str:
    """`ns=2;s=v{i}` with the server's own URI in place of the index, as whoever commissions a line reads it there."""
    from asyncua.sync import Client as Server

    index, _, rest = node.removeprefix("ns=").partition(";")
    with Server(endpoint) as server:
        return f"nsu={server.get_namespace_array()[int(index)]};{rest}"


def opcua(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One OPC UA server, its variables subscribed."""
    node, halted = (by_uri(spec["opcua_endpoint"], spec[name]) for name in ("opcua_node", "opcua_halt"))
    tags: dict[str, Any] = {f"r[0..{spec['regs'] - 1}]": {"node": node}}
    device: dict[str, Any] = {
        "driver": "opcua",
        "url": spec["opcua_endpoint"],
        "period": f"{spec['publish_ms']}ms",
        "timeout": "5s",
        "tags": tags,
        "queue": 1,
        "security": {"policy": "None", "mode": "None", "waiver": "a bench on loopback"},
    }
    rules: dict[str, Any] = {
        "range": {"kind": "limit", "input": "ua/r*", "limits": {"unit": "1", "low": 0, "high": 65535}}
    }
    if spec["rule"]:
        device["tags"]["halted"] = {"node": halted}
        device["halt"] = {
            "write": {"node": halted, "value": 1},
            "confirm": {"tag": "halted", "in": [1]},
            "release": {"node": halted, "value": 0},
            "confirm_same": "accepted",
        }
        window = {"unit": "1", "low": 4800, "high": 5200}
        rules["deviation"] = {"kind": "limit", "input": "ua/r0", "limits": window, "halt": "ua"}
    return {"ua": device}, rules


def configure(spec: dict[str, Any]) -> Path:
    """Write line.yaml (JSON is YAML) into the spec's work folder."""
    work = Path(spec["work"])
    devices, rules = opcua(spec) if spec.get("opcua") else modbus(spec)
    document = {
        "gateway": {"id": "bench", "path": PATH, "state_dir": str(work / "state"), "console": {"port": 0}},
        "devices": devices,
        "rules": rules,
        "sinks": {"mes": {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{spec['mqtt_port']}", "ack": "none"}},
    }
    path = work / "line.yaml"
    path.write_text(json.dumps(document, indent=1))
    return path


def robot(state: Path, token: str, parent: int) -> None:
    """Acknowledge and release whatever is confirmed, once its condition is gone; ends with the gateway."""
    prioritize(0)
    from gateway.client import Client

    facts = {"name": "rita", "full_name": "Rita Robot", "roles": ["technician"], "password": PASSWORD}
    door, person = Client(state / "console.token"), Client(state / "console.token", person="rita", password=PASSWORD)
    for first in (lambda: door.command("people.first", token=token, **facts), person.login):
        while not attempt(first):
            alive(parent, FIRST_REST_S)
    rest_s = FIRST_REST_S
    while True:
        alive(parent, rest_s)
        rest_s = REST_S if attempt(lambda: release(person)) else rest_s


def release(person: Client) -> bool:
    """One look at the line: was any halt released?"""
    status, released = person.status("halts", "alarms"), False
    for halt in (status.get("halts") or {}).values():
        if halt["state"] != "confirmed" and not halt["trouble"]:
            continue  # the machine has not been asked long enough
        alarm = (status.get("alarms") or {}).get(halt["rule"])
        if alarm and alarm["state"] in ("unack", "rtn_unack"):
            person.command("alarm.acknowledge", alarm=halt["rule"], occurrence=int(alarm["occurrence"]))
        arguments = {"halt": halt["halt"], "version": halt["version"], "reason": "bench"}
        person.command("halt.release", signed=True, **arguments)
        released = True
    return released


def attempt(what: Callable[[], object]) -> bool:
    """What is refused or not there yet is tried again.  False: it is not done."""
    from gateway.errors import LinegateError

    try:
        return what() is not False
    except LinegateError as error:
        print(f"robot: {error}", file=sys.stderr)
        return False


def alive(parent: int, rest_s: float) -> None:
    """A rest, then the end where the process that runs the gateway is gone."""
    time.sleep(rest_s)
    if os.getppid() != parent:
        sys.exit()


def compiled() -> None:
    """An installation has its bytecode; where this one may not write any, it is kept beside, from the first run on."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        from tempfile import gettempdir

        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(gettempdir()) / "linegate-bench-bytecode")


def prioritize(nice: int) -> None:
    """As the service has it: ten times the processor's time of what else runs (its CPUWeight), where we may."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def main() -> None:
    prioritize(SERVICE_NICE)
    spec = json.loads(Path(os.environ["BENCH_SPEC"]).read_text())
    command = [sys.executable, "-m", "gateway.cli", "run", str(configure(spec))]
    compiled()
    os.chdir(ROOT)
    if not spec["rule"]:
        os.execv(command[0], command)
    import subprocess

    log = Path(spec["work"]) / "linegate.out"
    with log.open("wb") as out:
        gateway = subprocess.Popen(command, stdout=out)
    signal.signal(signal.SIGTERM, lambda *_: gateway.terminate())
    while gateway.poll() is None and b"--first-run" not in log.read_bytes():
        time.sleep(0.05)
    token = log.read_text().rsplit("--first-run", 1)[-1].split()
    me = os.getpid()
    if token and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        robot(Path(spec["work"]) / "state", token[0], me)
    sys.exit(gateway.wait())


if __name__ == "__main__":
    main()
