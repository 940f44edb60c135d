"""`linegate doctor`: each thing that is wrong is found and said with what to do; what is well is said too, in time."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from serial_peers import Registers, TcpLine, TcpServant
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.demo.ports import free_port
from gateway.doctor import files, held, machine, network
from gateway.doctor.finding import Finding, Job, aside, examine
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.replay.kind import ReplayConfig
from gateway.sinks.influx import InfluxConfig
from gateway.sinks.mqtt import MqttConfig
from gateway.store.folder import Lock
from gateway.world import World
from tests.servers import influxd, mosquitto

NOBODY = ".".join(["no-such-host"] * 24)
"""Longer than a name may be: the resolver says so itself, and asks no server of names that may be slow."""


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in findings]


def modbus(url: str) -> ModbusConfig:
    return ModbusConfig.model_validate({"url": url, "tags": {"a": {"address": 0}}})


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# -- how checks are run ------------------------------------------------------------------------------


async def test_what_hangs_holds_nobody_up() -> None:
    """Checks run at once; one that hangs is a failure within its own limit, the others are answered."""

    async def hang() -> list[Finding]:
        await aside(lambda: time.sleep(30))
        return []

    async def well() -> list[Finding]:
        await asyncio.sleep(0.05)
        return [Finding("ok", "well", "fine")]

    async def broken() -> list[Finding]:
        raise OSError(5, "Input/output error")

    done: list[str] = []
    began = time.monotonic()
    jobs = [Job("slow", hang, 0.2), *[Job("well", well)] * 10, Job("broken", broken)]
    found = await examine(jobs, lambda job: done.append(job.area))

    assert time.monotonic() - began < 10
    assert said(found) == [("fail", "no answer within 0.2 s"), *[("ok", "fine")] * 10, ("fail", "Input/output error")]
    assert done.index("slow") > done.index("broken")
    assert len(done) == 12


async def test_a_bug_is_not_a_finding() -> None:
    """An error of our own goes through, from a thread too."""
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)


# -- the network -------------------------------------------------------------------------------------


async def test_devices_answer_or_not(listening: int) -> None:
    """Someone listens; nobody does; the name is unknown: each in words, with what to do."""
    there = await network.device("a", modbus(f"tcp://127.0.0.1:{listening}"), None)
    nobody = await network.device("a", modbus(f"tcp://127.0.0.1:{free_port()}"), None)
    unknown = await network.device("a", modbus(f"tcp://{NOBODY}:502"), None)

    assert said(there) == [("ok", f"127.0.0.1:{listening} answers")]
    assert nobody[0].level == "fail"
    assert "nobody listens there" in nobody[0].text
    assert nobody[0].todo
    assert "nobody knows this name" in unknown[0].text


async def test_a_running_gateway_s_devices_are_left_alone(listening: int) -> None:
    """Some devices take one connection: while the gateway has it, nobody else knocks."""
    found = await network.device("a", modbus(f"tcp://127.0.0.1:{listening}"), "123")

    assert found[0].text.startswith("left alone: the gateway (pid 123) has it")


async def test_a_machine_is_asked_whether_it_stands() -> None:
    """Its own word, now: who knows better sees that the confirm tag is the wrong one.  Nothing is written."""
    registers = Registers()
    line = TcpLine(TcpServant(registers).hear)
    await line.heal()
    registers.put("holding", 9, 6)
    halt = {"write": {"register": 4, "value": 1}, "confirm": {"tag": "state", "equals": 11}}
    given = {"url": f"tcp://{line.address}", "tags": {"state": {"address": 9}}, "halt": halt}
    press = ModbusConfig.model_validate(given)
    moves = await held.word("press", press)
    registers.put("holding", 9, 11)
    stands = await held.word("press", press)
    await line.cut()
    gone = await held.word("press", press)

    assert said([*moves, *stands]) == [("ok", "press says that it moves"), ("ok", "press says that it stands still")]
    assert gone[0].level == "warn"
    assert "does not say whether it stands" in gone[0].text
    assert not registers.writes


async def test_a_device_that_is_a_file(tmp_path: Path) -> None:
    """A driver without an address is asked what it sees itself."""
    config = ReplayConfig.model_validate({"file": tmp_path / "a.csv", "tags": {"a": {}}})
    missing = await network.device("r", config, None)
    (tmp_path / "a.csv").write_text("time,a\n2026-01-01T00:00:00Z,1\n")

    assert said(missing) == [("fail", "a.csv: No such file or directory")]
    assert (await network.device("r", config, None))[0].level == "ok"


async def test_the_port_of_the_console(listening: int) -> None:
    """Free, the running gateway's own, another program's, or not listened on although the gateway runs."""
    spare = free_port()

    assert (await network.free("console", "127.0.0.1", spare, None))[0].level == "ok"
    assert (await network.free("console", "127.0.0.1", listening, "7"))[0].level == "ok"
    assert "taken by another program" in (await network.free("console", "127.0.0.1", listening, None))[0].text
    assert (await network.free("console", "127.0.0.1", spare, "7"))[0].level == "warn"


async def test_a_broker_lets_us_in_or_not(tmp_path: Path) -> None:
    """A CONNECT is answered, and a refusal comes with the broker's own words; no session is taken over."""
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    with mosquitto(tmp_path / "open") as broker, mosquitto(tmp_path / "closed", "allow_anonymous false") as closed:
        well = await network.sink("m", MqttConfig(url=f"mqtt://127.0.0.1:{broker.port}"), World())
        refused = await network.sink("m", MqttConfig(url=f"mqtt://127.0.0.1:{closed.port}"), World())

    assert said(well) == [("ok", f"the broker 127.0.0.1:{broker.port} lets us in")]
    assert refused[0].level == "fail"
    assert "Not authorized" in refused[0].text


async def test_a_port_that_is_no_broker(listening: int) -> None:
    """Something listens and says nothing: a failure within seconds, not a hang."""
    found = await network.sink("m", MqttConfig(url=f"mqtt://127.0.0.1:{listening}"), World())

    assert said(found) == [("fail", f"the broker 127.0.0.1:{listening} says: nothing, and closes the connection")]


async def test_influx_answers_or_not(tmp_path: Path) -> None:
    """A real InfluxDB answers its ping with its version; a port where nobody listens fails."""
    with influxd(tmp_path) as server:
        config = InfluxConfig(url=f"http://127.0.0.1:{server.port}", api="v1", database="d")
        found = await network.sink("i", config, World())
    gone = await network.sink("i", config, World())

    assert found[0].level == "ok"
    assert "InfluxDB 1" in found[0].text
    assert gone[0].level == "fail"


def make(folder: Path, name: str, days: float) -> Path:
    """A certificate for 127.0.0.1 that ends in so many days, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=min(days - 1, -1)))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = folder / f"{name}.key"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    secret.chmod(0o600)
    return path


async def test_a_broker_s_certificate(tmp_path: Path) -> None:
    """Trusted and ending soon is a warning with the days; a stranger's is a failure that says whom to trust."""
    (tmp_path / "m").mkdir()
    path, stranger = make(tmp_path, "broker", 9.5), make(tmp_path, "stranger", 400)
    lines = (f"certfile {path}", f"keyfile {path.with_suffix('.key')}")
    with mosquitto(tmp_path / "m", *lines) as broker:
        url = f"mqtts://localhost:{broker.port}"
        mine = await network.sink("m", MqttConfig(url=url, ca=path), World())
        other = await network.sink("m", MqttConfig(url=url, ca=stranger), World())

    assert [finding.level for finding in mine] == ["warn", "ok"]
    assert mine[0].text == "the server's certificate expires in 9 day(s)"
    assert [finding.level for finding in other] == ["fail"]
    assert "its certificate is not trusted" in other[0].text
    assert "ca:" in other[0].todo


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "level", "words"), [(400, "ok", "holds"), (9, "warn", "expires in"), (-3, "fail", "expired 3 day(s) ago")]
)
async def test_certificates_that_a_sink_names(tmp_path: Path, days: float, level: str, words: str) -> None:
    """Each certificate of the configuration with the days it holds."""
    path = make(tmp_path, "mine", days)
    config = MqttConfig(url="mqtts://127.0.0.1:8883", ca=path)
    found = await files.certificates("sink m", config, World())

    assert found[0].level == level
    assert words in found[0].text
    assert "CN=mine" in found[0].text


async def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    """A private key with a mode for others is a failure with the command that closes it."""
    path = make(tmp_path, "mine", 400)
    path.with_suffix(".key").chmod(0o644)
    config = MqttConfig(url="mqtts://127.0.0.1:8883", cert=path, key=path.with_suffix(".key"))
    found = await files.certificates("sink m", config, World())

    assert {(finding.level, finding.text.split(" (")[0]) for finding in found} >= {
        ("fail", "mine.key is a key that others can read")
    }
    assert any("chmod 600" in finding.todo for finding in found)


async def test_certificates_that_wait_to_be_trusted(tmp_path: Path) -> None:
    """A server's certificate in the rejected folder is told, with the command that trusts it; it is not judged."""
    rejected = tmp_path / "pki" / "trust" / "rejected"
    rejected.mkdir(parents=True)
    make(rejected, "AABBCC", -5)
    config = MqttConfig(url="mqtts://127.0.0.1:8883", ca=tmp_path / "pki")
    found = await files.certificates("device f", config, World())

    assert [finding.level for finding in found if "AABBCC" not in finding.text] == ["warn"]
    assert "linegate opcua trust AABBCC" in found[0].todo


async def test_the_state_folder(tmp_path: Path) -> None:
    """Made at the first start, open to everybody, on a full disk: it is said, and nothing is left behind."""
    state = tmp_path / "state"
    fresh = await files.folder(state, 1)
    state.mkdir()
    state.chmod(0o755)
    open_to_all = await files.folder(state, 10**9)

    assert "made at the first start" in fresh[0].text
    assert any("a safe write takes" in finding.text for finding in fresh)
    assert [finding.todo for finding in open_to_all if "everybody" in finding.text] == [f"chmod 700 {state}"]
    assert any("telemetry_cap_mb" in finding.todo for finding in open_to_all)
    assert list(state.iterdir()) == []


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A state folder that nobody can make is a failure that names the place."""
    found = await files.folder(Path("/proc/nowhere/state"), 16)

    assert [finding.level for finding in found] == ["fail"]
    assert "/proc" in found[0].text


async def test_keys_in_the_state_folder(tmp_path: Path) -> None:
    """The ledger's key and the people file are the gateway's alone."""
    for name in ("ledger.key", "people.json"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    assert (await files.keys(tmp_path))[0].level == "ok"

    (tmp_path / "ledger.key").chmod(0o640)

    assert said(await files.keys(tmp_path)) == [("fail", "ledger.key can be read by others (mode 640)")]


def test_a_second_gateway_is_seen(tmp_path: Path) -> None:
    """The folder's lock says that a gateway runs, and which; looking takes no lock away."""
    assert files.running(tmp_path) is None
    lock = Lock(tmp_path)
    assert files.running(tmp_path) == str(os.getpid())
    lock.release()

    assert files.running(tmp_path) is None
    Lock(tmp_path).release()


# -- the machine -------------------------------------------------------------------------------------


class Clock(World):
    def __init__(self, state: str) -> None:
        super().__init__()
        self.state = state

    def clock(self) -> str:
        return self.state


async def test_the_clock() -> None:
    """A clock that nobody sets is a warning: records carry its time."""
    assert (await machine.clock(Clock("synchronised")))[0].level == "ok"
    assert (await machine.clock(Clock("unsynchronised")))[0].level == "warn"
    assert (await machine.clock(Clock("unsynchronised")))[0].todo


async def test_versions() -> None:
    """The Python and the SQLite here are good: the stores would refuse otherwise."""
    assert {finding.level for finding in await machine.versions()} == {"ok"}


async def test_serial_ports(tmp_path: Path) -> None:
    """A port that is there; one that is not; a file that is none."""
    _, slave = pty.openpty()
    (tmp_path / "file").write_text("")
    there = await machine.serial_port("d", os.ttyname(slave))
    missing = await machine.serial_port("d", str(tmp_path / "ttyUSB7"))
    wrong = await machine.serial_port("d", str(tmp_path / "file"))
    os.close(slave)

    assert there[0].level == "ok"
    assert missing[0].level == "fail"
    assert "/dev/serial/by-id" in missing[0].todo
    assert "is not a serial port" in wrong[0].text


# -- the command -------------------------------------------------------------------------------------


def line(folder: Path, **changes: Any) -> Path:
    state, port = folder / "state", changes.get("port", 0)
    path = folder / "line.yaml"
    path.write_text(
        f"gateway: {{id: g, path: a/b, state_dir: {state}, console: {{port: 0}}, telemetry_cap_mb: 16}}\n"
        f'devices:\n  d: {{driver: modbus, url: "tcp://127.0.0.1:{port}", tags: {{a: {{address: 0}}}}}}\n'
    )
    return path


def test_the_command_says_what_to_do(tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0 where nothing fails, 1 where something does; --json is one document."""
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)  # a disk that is busy just now is a failure, too
    well = CliRunner().invoke(app, ["doctor", str(line(tmp_path, port=listening))])
    ill = CliRunner().invoke(app, ["doctor", str(line(tmp_path, port=free_port()))])
    told = CliRunner().invoke(app, ["doctor", str(line(tmp_path, port=free_port())), "--json"])

    assert well.exit_code == 0, well.output
    assert "device d: 127.0.0.1:" in well.output
    assert ill.exit_code == 1
    assert "-> start what listens there" in ill.output
    document = json.loads(told.stdout)
    assert document["ok"] is False
    assert {"level", "area", "text", "todo"} == set(document["findings"][0])


def test_a_line_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    """Each error of the configuration is told with its place; the machine is looked at all the same."""
    path = line(tmp_path, port=1)
    path.write_text(path.read_text().replace("driver: modbus", "driver: modbos"))
    found = CliRunner().invoke(app, ["doctor", str(path)])

    assert found.exit_code == 1
    assert "line.yaml:3:15: devices.d.driver: there is no driver 'modbos'" in found.output
    assert "sqlite" in found.output


def test_without_a_line_only_the_machine() -> None:
    """The machine alone can be looked at before there is a configuration."""
    found = CliRunner().invoke(app, ["doctor"])

    assert found.exit_code == 0, found.output
    assert "sqlite" in found.output


async def test_a_server_nobody_has_looked_at_is_told(tmp_path: Path) -> None:
    """With a trust folder and nothing in it the first connect is refused: the doctor says so, and how it goes on."""
    security = {"pki": str(tmp_path / "pki")}
    tags = {"x": {"node": "i=2258"}}
    device: dict[str, Any] = {"driver": "opcua", "url": "opc.tcp://10.0.0.9:4840", "security": security, "tags": tags}

    (found,) = await files.certificates("device f", OpcUaConfig.model_validate(device), World())
    assert found.level == "warn"
    assert "linegate browse opc.tcp://10.0.0.9:4840 --pki" in found.todo

    waived = {"policy": "None", "mode": "None", "waiver": "alone on its port"}
    assert (
        await files.certificates("device f", OpcUaConfig.model_validate({**device, "security": waived}), World()) == []
    )
