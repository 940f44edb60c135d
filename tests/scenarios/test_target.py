"""A scenario on a target: the real command against a line it did not start, a relay, and a person's answers."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.demo.stage import PASSWORD
from gateway.hil import lines
from gateway.hil.simulated import Simulated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STORY = ROOT / "docs" / "hil" / "cables.yaml"


class Relay:
    """A remote I/O whose coil 3 cuts the balance's cable; pymodbus's own server, on a thread of its own."""

    def __init__(self, floor: Simulated) -> None:
        self._floor = floor
        self.moves: list[bool] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        words = [SimData(0, values=[0] * 16, datatype=DataType.REGISTERS)]
        device = SimDevice(1, (bits, bits, words, words))
        server = ModbusTcpServer(device, address=("127.0.0.1", 0), trace_pdu=self._seen)
        await server.listen()
        assert server.transport is not None
        self.port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._ended = asyncio.Event()
        self._up.set()
        await self._ended.wait()
        await server.shutdown()

    def _seen(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending and pdu.function_code == 5 and pdu.address == 3:
            self.moves.append(bool(pdu.bits[0]))
            self._floor.sim("fault" if self.moves[-1] else "heal", device="balance", name="cut")
        return pdu

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)


class Somebody:
    """A person at the terminal: does what is asked at the simulated line, and says so."""

    def __init__(self, floor: Simulated) -> None:
        self._floor = floor
        self.told: list[str] = []

    def answer(self, line: str) -> str:
        """What they type when they read this line; nothing: they read on."""
        if not line.startswith(">>> "):
            return ""
        if line.startswith(">>> y yes"):
            return "y\n"
        if line.startswith(">>> NOW"):
            return self._act(self.told[-1])
        self.told.append(line[4:])
        return ""

    def _act(self, told: str) -> str:
        sim = self._floor.sim
        if told.startswith("Pull plug X4"):
            sim("fault", device="reservoir", name="cut")
            return ""  # that the gateway lost it is seen by itself
        if told.startswith("Put plug X4"):
            sim("heal", device="reservoir", name="cut")
        if told.startswith("At the panel of filler: press hold"):
            sim("operator", device="filler", action="hold")
        return "\n"


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Simulated]:
    """A line with a batch, that nobody told the command of."""
    line = Simulated(tmp_path / "line", lines.load(HERE / "lines" / "floor.yaml"))
    try:
        line.open()
        line.run_batch("quiet", 5000)
        yield line
    finally:
        line.close()


def target(folder: Path, floor: Simulated, relay: Relay) -> Path:
    (folder / "tom.password").write_text(PASSWORD + "\n")
    (folder / "tom.password").chmod(0o600)
    document = {
        "gateway": {
            "mqtt": f"mqtt://127.0.0.1:{floor.stage.ports['mqtt']}",
            "path": floor.stage.path,
            "token_file": str(floor.stage.state / "console.token"),
        },
        "people": {"tom": {"name": "tom", "password_file": "tom.password"}},
        "devices": {"filler": {"is": "filler", "state": "filler/state"}},
        "relays": {"balance": {"cut": {"url": f"tcp://127.0.0.1:{relay.port}", "unit": 1, "coil": 3}}},
        "countdown": "1s",
        "patience": "20s",
    }
    path = folder / "hil.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def played(folder: Path, hil: Path, person: Somebody) -> tuple[int, str]:
    """The real command with a person at its terminal; exit code and all it said."""
    reports = ["--junit", str(folder / "hil.xml"), "--html", str(folder / "hil.html")]
    command = [sys.executable, "-u", "-m", "gateway.cli", "hil", str(STORY), "--target", str(hil), *reports]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if typed := person.answer(line.rstrip("\n")):
            process.stdin.write(typed)
            process.stdin.flush()
    process.stdin.close()
    return process.wait(20), "".join(said)


def test_a_site_plays_its_own_scenario_on_its_line(floor: Simulated, tmp_path: Path) -> None:
    """The example of the manual passes: a relay cuts and mends, a person is told, asked and seen, tom releases."""
    relay, person = Relay(floor), Somebody(floor)
    try:
        code, said = played(tmp_path, target(tmp_path, floor, relay), person)
    finally:
        relay.close()

    assert code == 0, said
    assert relay.moves == [True, False]
    assert [told.split(" (")[0].rstrip(".") for told in person.told] == [
        "Pull plug X4 in cabinet 2",
        "Put plug X4 in again",
        "At the panel of filler: press hold, until it is Held",
        "Is it so? the counter of our heartbeat at the filler goes on",
    ]
    assert "    seen" in said
    suite = ET.parse(tmp_path / "hil.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "0")
    assert re.search(r"real line acme/denver.* at mqtt://127\.0\.0\.1", (tmp_path / "hil.html").read_text())
    assert "t.miller" not in said
    assert floor.crew.status().get("halts") in ({}, None)
