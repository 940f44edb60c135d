"""The stage: broker, simulated line, stand-in MES and gateway, each its own process in one folder.

Used by the demo and by the scenario tests.  Talks to the gateway only as people and the MES do (HTTP, MQTT) and to
the simulators only through their control port; imports neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.client import Client
from gateway.config import yaml as config_yaml
from gateway.demo.ports import free_port
from gateway.errors import LinegateError
from gateway.model import Json

ROOT: Final = Path(__file__).resolve().parents[2]
DEFAULT_PORTS: Final = {
    "mqtt": 1884,
    "control": 4800,
    "balance": 4001,
    "filler": 4841,
    "labeller": 4842,
    "reservoir": 5021,
    "viscometer": 5022,
    "console": 8377,
}
SCHEMES: Final = {"filler": "opc.tcp", "labeller": "opc.tcp"}
PASSWORD: Final = "demo-password-1"  # noqa: S105  # the demo's people; nobody else's
PEOPLE: Final = {
    "anna": ("Anna Admin", ["admin"]),
    "olga": ("Olga Operator", ["operator"]),
    "tom": ("Tom Technician", ["technician"]),
    "sue": ("Sue Supervisor", ["supervisor"]),
    "quinn": ("Quinn Quality", ["qa"]),
}


def ports(*, prefer_defaults: bool) -> dict[str, int]:
    """Port of each part: the documented ones where they are free, else any."""
    if not prefer_defaults:
        return {name: free_port() for name in DEFAULT_PORTS}
    return {name: port if _is_free(port) else free_port() for name, port in DEFAULT_PORTS.items()}


def _is_free(port: int) -> bool:
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(what: str, seen: Callable[[], Any], within_s: float, every_s: float = 0.1) -> Any:
    """Poll `seen` until it is true; its value.  Raises LinegateError naming what did not happen."""
    deadline = time.monotonic() + within_s
    while True:
        value = seen()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LinegateError(f"did not happen within {within_s:g} s: {what}")
        time.sleep(every_s)


class Simulators:
    """The simulators' control port: one JSON object a line each way.  Blocks; one caller at a time."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, verb: str, **arguments: Json) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self._port), 5) as link, link.makefile("rw") as lines:
            lines.write(json.dumps({"do": verb, **arguments}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
        if answer.get("ok") is False or "error" in answer:
            raise LinegateError(f"the simulators refuse {verb} {arguments}: {answer}")
        return dict(answer)


class Stage:
    """Starts, kills and restarts the parts.  Everything it writes is below `folder`."""

    def __init__(self, folder: Path, *, seed: int, speed: float, rate: float, prefer_defaults: bool = False) -> None:
        self.folder = folder.resolve()
        self.ports = ports(prefer_defaults=prefer_defaults)
        self.state = self.folder / "state"
        self.config = self.folder / "line.yaml"
        self.sim = Simulators(self.ports["control"])
        self.plant: dict[str, Any] = {}
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.speed = speed
        """Plant seconds in a second, at the start."""
        self.gateway_environment: Mapping[str, str] = {}
        """What the gateway's process finds in its environment besides ours."""
        self.gateways: list[int] = []
        """Process ids of all that were started."""
        self._seed, self._rate = seed, rate
        self._change: Callable[[dict[str, Any]], None] = lambda _: None

    # -- setting up ------------------------------------------------------------------------------

    def prepare(self, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        """An empty folder with the demo line's configuration, its addresses put in; `change` may edit it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copytree(ROOT / "config" / "recipes", self.folder / "recipes")
        shutil.copy(ROOT / "config" / "instruments.yaml", self.folder)
        document = config_yaml.read(ROOT / "config" / "line.yaml").data
        document["gateway"]["state_dir"] = str(self.state)
        document["gateway"]["recipes"] = str(self.folder / "recipes")
        document["gateway"]["console"] = {**document["gateway"].get("console", {}), "port": self.ports["console"]}
        for name, device in document["devices"].items():
            device["url"] = f"{SCHEMES.get(name, 'tcp')}://127.0.0.1:{self.ports[name]}"
            if "security" in device:
                pki = str(self.folder / "pki")
                device["security"] = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt", "pki": pki}
        document["sinks"]["mes"]["url"] = f"mqtt://127.0.0.1:{self.ports['mqtt']}"
        change(document)
        self.config.write_text(json.dumps(document, indent=2))  # JSON is YAML
        self.path = str(document["gateway"]["path"])

    def _spawn(self, name: str, command: Sequence[str], *, pipe: bool = False) -> subprocess.Popen[bytes]:
        out = (self.folder / f"{name}.log").open("ab")
        more = self.gateway_environment if name == "gateway" else {}
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **more}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE if pipe else out, stderr=out, cwd=ROOT, env=environment
        )
        out.close()
        self.parts[name] = process
        return process

    def start_broker(self) -> None:
        """Mosquitto on loopback, its data kept over a restart."""
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise LinegateError("mosquitto is not installed; `make demo` installs it (Debian package mosquitto)")
        data = self.folder / "broker"
        data.mkdir(exist_ok=True)
        file = self.folder / "mosquitto.conf"
        lines = (
            f"listener {self.ports['mqtt']} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {data}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 100000",
            *(("user root",) if os.geteuid() == 0 else ()),
        )
        file.write_text("\n".join(lines) + "\n")
        self._spawn("broker", [program, "-c", str(file)])
        wait_until("the broker listens", lambda: not _is_free(self.ports["mqtt"]), 10)

    def start_simulators(self, *more: str) -> None:
        """The simulated line; returns when every device listens."""
        arguments = [sys.executable, "-m", "simulators", "--seed", str(self._seed), "--speed", str(self.speed)]
        arguments += ["--rate", str(self._rate), "--run-dir", str(self.folder / "sim")]
        for name in ("control", "balance", "filler", "labeller", "reservoir", "viscometer"):
            arguments += [f"--{name}", str(self.ports[name])]
        process = self._spawn("simulators", [*arguments, *more], pipe=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            file = self.folder / "simulators.log"
            raise LinegateError(f"the simulators did not start; see {file}:\n{file.read_text()[-2000:]}")
        self.plant = json.loads(line)
        self._trust_machines()

    def _trust_machines(self) -> None:
        """What a person does once at commissioning: the machines' certificates go into the trust folder."""
        trust = self.folder / "pki" / "trust"
        trust.mkdir(parents=True, exist_ok=True)
        for name in SCHEMES:
            if name in self.plant["addresses"]:
                shutil.copy(self.plant["addresses"][name]["certificate"], trust / f"{name}.der")

    def start_mes(self) -> None:
        """The reference consumer: stores each record once, acknowledges what it has committed."""
        arguments = ["--url", f"mqtt://127.0.0.1:{self.ports['mqtt']}", "--path", self.path]
        consumer = str(ROOT / "docs" / "reference_consumer.py")
        self._spawn("mes", [sys.executable, consumer, *arguments, "--db", str(self.folder / "mes.db")])

    def start_gateway(self) -> str:
        """The gateway; returns the first-run token, empty when there are people already."""
        process = self._spawn("gateway", [sys.executable, "-m", "gateway.cli", "run", str(self.config)])
        self.gateways.append(process.pid)
        log = self.folder / "gateway.log"

        def ready() -> bool:
            if process.poll() is not None:
                tail = log.read_text()[-2000:]
                raise LinegateError(f"the gateway did not start (exit {process.returncode}):\n{tail}")
            return (self.state / "console.token").exists()

        wait_until("the gateway is ready", ready, 30, every_s=0.02)
        shown = log.read_text().rsplit("--first-run", 1)
        return shown[1].split()[0] if len(shown) == 2 else ""

    def add_people(self, token: str) -> None:
        """The first person by the token, the others by that person."""
        name, (full_name, roles) = next(iter(PEOPLE.items()))
        facts: dict[str, Any] = {"name": name, "full_name": full_name, "roles": roles, "password": PASSWORD}
        Client(self.state / "console.token").command("people.first", token=token, **facts)
        admin = self.person(name)
        for other, (full_name, roles) in list(PEOPLE.items())[1:]:
            admin.command("people.add", signed=True, name=other, full_name=full_name, roles=roles, password=PASSWORD)

    def person(self, name: str) -> Client:
        """Somebody at the line, logged in."""
        client = Client(self.state / "console.token", person=name, password=PASSWORD)
        client.login()
        return client

    # -- pulling cables --------------------------------------------------------------------------

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one part and wait until it is gone."""
        process = self.parts.pop(name)
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait(5)
        if process.stdout is not None:
            process.stdout.close()

    def stop(self) -> None:
        """Everything, gateway first."""
        for name in ("gateway", "mes", "simulators", "broker"):
            if name in self.parts:
                self.kill(name, signal.SIGTERM)

    def verify(self, bundle: Path, witness: str = "") -> subprocess.CompletedProcess[str]:
        """`linegate verify`, as an auditor would run it; `witness`: a checkpoint the MES kept."""
        command = [sys.executable, "-m", "gateway.cli", "verify", str(bundle)]
        if witness:
            (self.folder / "witness.txt").write_text(witness)
            command += ["--witness", str(self.folder / "witness.txt")]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def order(batch: str, units: int, *, recipe: str = "vape-1g-demo", uid: str = "") -> dict[str, Json]:
    """An order as the MES sends it: oil with its COA, cartridges, labels; each batch with a package UID of its own."""
    coa = {"id": "COA-7781", "lab": "Confidence Labs", "thc_percent": "86.4", "passed": True, "issued": "2026-10-01"}

    def lot(kind: str, number: int, quantity: str, unit: str, **more: Json) -> dict[str, Json]:
        uid = f"1A40103000{number:014d}"
        return {"kind": kind, "lot": f"{kind.upper()}-{number}", "uid": uid, "quantity": quantity, "unit": unit, **more}

    return {
        "order": f"PO-{batch}",
        "batch": batch,
        "sku": "VC-DIST-1G-DEMO",
        "recipe": recipe,
        "quantity": units,
        "uid": uid or f"1A4FF{zlib.crc32(batch.encode()):019d}",
        "materials": [
            lot("oil", 4711, str(units * 1.1 + 50), "g", coa=coa),
            lot("cartridge", 4712, str(units + 50), "{count}"),
            lot("label", 4713, str(units + 50), "{count}"),
        ],
    }


Facts = Mapping[str, Any]
