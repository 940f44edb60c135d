"""The whole simulated line as its own process, talked to with plain pymodbus, asyncua and sockets."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from asyncua import Client as OpcClient
from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from simulators.certificate import application_certificate
from simulators.client import Client, ControlError

FREE = [f"--{name}=0" for name in ("control", "balance", "filler", "labeller", "reservoir", "viscometer")]
MACHINES = ("filler", "labeller")
PACKML = "http://opcfoundation.org/UA/PackML/"


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


class Sim:
    """The process and its addresses."""

    def __init__(self, run_dir: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "simulators", *FREE, "--run-dir", str(run_dir), "--seed=11", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.addresses = self.ready["addresses"]

    def control(self) -> Client:
        return Client.connect(*_host_port(self.addresses["control"]))

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sim]:
    sim = Sim(tmp_path_factory.mktemp("sim"), "--speed=10", "--oil-cel=62", "--tray-prefix=B7")
    yield sim
    assert sim.end() == 0


@pytest.fixture
def line(sim: Sim) -> Iterator[Client]:
    """The control, with every fault healed and both machines back in Stopped afterwards."""
    with sim.control() as client:
        yield client
        for device in ("balance", "filler", "labeller", "reservoir", "viscometer"):
            client.do("heal", device=device, name="all")
        for machine in MACHINES:
            client.do("operator", device=machine, action="stop")
        _stand_stopped(client)


def _stand_stopped(client: Client) -> None:
    """Both machines are on the net, and have come to rest."""
    deadline_s = time.monotonic() + 10
    while True:
        devices = client.do("truth")["devices"]
        if all(devices[name]["state_name"] == "Stopped" and not devices[name]["faults"] for name in MACHINES):
            return
        assert time.monotonic() < deadline_s, devices
        time.sleep(0.02)


async def _until(look: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not await look():  # noqa: ASYNC110  # what is waited for lives in another process
            await asyncio.sleep(0.02)


async def _press(line: Client, device: str, *actions: str) -> None:
    """Keys at the panel, each once the machine takes it."""

    async def taken(action: str) -> bool:
        return bool(line.do("operator", device=device, action=action)["done"])

    for action in actions:
        await _until(lambda action=action: taken(action))


async def _state(client: OpcClient, title: str = "Filler") -> int:
    return int(await (await _tag(client, f"{title}.Status.StateCurrent")).read_value())


async def _tag(client: OpcClient, path: str) -> Any:
    index = await client.get_namespace_index(f"urn:linegate:sim:{path.partition('.')[0].lower()}")
    return client.get_node(ua.NodeId(path, index))


async def _execute_state(client: OpcClient) -> Any:
    packml = await client.get_namespace_index(PACKML)
    own = await client.get_namespace_index("urn:linegate:sim:filler")
    path = ["PackMLObjects", None, "BaseStateMachine", "MachineState", "ExecuteState"]
    return await client.nodes.objects.get_child([f"{packml}:{name}" if name else f"{own}:Filler" for name in path])


async def _write(node: Any, value: object, kind: ua.VariantType) -> None:
    await node.write_value(ua.DataValue(ua.Variant(value, kind)))


def test_ready_names_seed_and_addresses(sim: Sim) -> None:
    """The first line on stdout says that all listens, with which seed and where."""
    assert sim.ready["ready"] is True
    assert sim.ready["seed"] == 11
    assert set(sim.addresses) == {"control", "balance", "filler", "labeller", "reservoir", "viscometer"}
    assert Path(sim.addresses["reservoir"]["serial"]).exists()


async def test_reservoir_over_tcp_and_rtu(sim: Sim, line: Client) -> None:
    """Both cables give the same degF, low word first; a written setpoint reaches the plant; holes are exception 02."""
    host, port = _host_port(sim.addresses["reservoir"]["tcp"])
    tcp = AsyncModbusTcpClient(host, port=port, retries=0, timeout=10)
    rtu = AsyncModbusSerialClient(sim.addresses["reservoir"]["serial"], baudrate=9600, retries=0, timeout=10)
    try:
        for client in (tcp, rtu):
            assert await client.connect()
            reply = await client.read_holding_registers(360, count=2, device_id=1)
            degf = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32, word_order="little")
            cel = line.do("truth")["plant"]["temperature_cel"]
            assert degf == pytest.approx(cel * 9 / 5 + 32, abs=1.0)
            words = client.convert_to_registers(140.0, client.DATATYPE.FLOAT32, word_order="little")
            assert not (await client.write_registers(2160, words, device_id=1)).isError()
            assert line.do("truth")["plant"]["setpoint_cel"] == pytest.approx(60.0)
            line.do("heater", setpoint_cel=62)
            wrong = await client.read_holding_registers(100, count=1, device_id=1)
            assert wrong.isError()
            assert wrong.exception_code == 2
    finally:
        tcp.close()
        rtu.close()


async def test_viscometer(sim: Sim, line: Client) -> None:
    """Viscosity, density and temperature by function 04, high word first; NaN after a critical error."""
    host, port = _host_port(sim.addresses["viscometer"]["tcp"])
    client = AsyncModbusTcpClient(host, port=port, retries=0, timeout=10)
    try:
        assert await client.connect()

        async def value(register: int) -> float:
            words = (await client.read_input_registers(register, count=2, device_id=1)).registers
            return float(client.convert_from_registers(words, client.DATATYPE.FLOAT32, word_order="big"))

        assert 300 < await value(40) < 600
        assert await value(48) == pytest.approx(1.005, abs=0.01)
        assert await value(56) == pytest.approx(line.do("truth")["plant"]["temperature_cel"], abs=1.0)
        line.do("fault", device="viscometer", name="sensor_break")
        assert math.isnan(await value(40))
        assert (await client.read_input_registers(43, count=1, device_id=1)).registers == [0b101]
    finally:
        client.close()


async def test_filler_runs_and_stands_still_by_both_dialects(sim: Sim, line: Client) -> None:
    """Method Hold, then CntrlCmd Hold: each ends in Held, units stop, the truth keeps both halts with their time."""
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as filler:
        before = len(line.do("truth")["halts"])
        await _press(line, "filler", "reset", "start")
        await _until(lambda: _is(filler, 6))
        units = await _tag(filler, "Filler.Admin.ProdProcessedCount")
        await _until(lambda: _above(units, 2))
        execute = await _execute_state(filler)
        packml = await filler.get_namespace_index(PACKML)
        asked_ns = time.monotonic_ns()
        await execute.call_method(f"{packml}:Hold")
        answered_ns = time.monotonic_ns()
        await _until(lambda: _is(filler, 11))
        current = await execute.get_child("0:CurrentState")
        assert (await current.read_value()).Text == "Held"
        assert await (await current.get_child("0:Number")).read_value() == 11
        assert await (await current.get_child("0:Id")).read_value() == ua.NodeId(34, packml)
        with pytest.raises(ua.uaerrors.BadInvalidState):
            await execute.call_method(f"{packml}:Hold")
        await _press(line, "filler", "unhold")
        await _until(lambda: _is(filler, 6))
        request = await _tag(filler, "Filler.Command.CmdChangeRequest")
        await _write(await _tag(filler, "Filler.Command.CntrlCmd"), 4, ua.VariantType.Int32)
        await asyncio.sleep(0.1)
        assert await _state(filler) == 6  # nothing happens before the request
        await _write(request, True, ua.VariantType.Boolean)
        await _until(lambda: _is(filler, 11))
        assert await request.read_value() is False
        standing = await units.read_value()
        await asyncio.sleep(0.5)
        assert await units.read_value() == standing
        truth = line.do("truth")
        tray = await (await _tag(filler, "Filler.Tray.Id")).read_value()
        assert tray == truth["devices"]["filler"]["tray"]
        assert re.fullmatch(r"B7-T\d{3}", tray), "which of them hangs on how many units were made meanwhile"
        halts = truth["halts"][before:]
        assert [(halt["how"], halt["applied"]) for halt in halts] == [
            ("method Hold", True),
            ("method Hold", False),
            ("CntrlCmd Hold", True),
        ]
        assert asked_ns < halts[0]["mono_ns"] < answered_ns


async def _is(client: OpcClient, state: int) -> bool:
    return await _state(client) == state


async def _above(node: Any, floor: int) -> bool:
    return bool(await node.read_value() > floor)


async def test_a_lying_filler_says_good_and_runs_on(sim: Sim, line: Client) -> None:
    """Hold is answered Good, the state stays Execute, and the truth has it as not applied."""
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as filler:
        await _press(line, "filler", "reset", "start")
        await _until(lambda: _is(filler, 6))
        line.do("fault", device="filler", name="lying")
        execute = await _execute_state(filler)
        await execute.call_method(f"{await filler.get_namespace_index(PACKML)}:Hold")
        await asyncio.sleep(0.4)
        assert await _state(filler) == 6
        assert line.do("truth")["halts"][-1]["applied"] is False


async def test_nested_machines_say_which_is_active(sim: Sim, line: Client) -> None:
    """In Stopped the base machine says Cleared, the next Stopped, and the innermost has no state."""
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as filler:
        execute = await _execute_state(filler)
        machine = await execute.get_parent()
        base = await machine.get_parent()
        names = [(await (await node.get_child("0:CurrentState")).read_value()).Text for node in (base, machine)]
        assert names == ["Cleared", "Stopped"]
        data = await (await execute.get_child("0:CurrentState")).read_data_value(raise_on_bad_status=False)
        assert data.StatusCode.name == "BadStateNotActive"


async def test_subscription_counts_units_and_the_heartbeat(sim: Sim, line: Client) -> None:
    """Changes arrive by subscription; the heartbeat counts."""
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as filler:
        seen: dict[str, list[Any]] = {}

        class Handler:
            def datachange_notification(self, node: Any, value: Any, _: Any) -> None:
                seen.setdefault(node.nodeid.Identifier, []).append(value)

        subscription = await filler.create_subscription(20, Handler())
        paths = ("Filler.Admin.ProdProcessedCount", "Filler.Heartbeat.Out")
        await subscription.subscribe_data_change([await _tag(filler, path) for path in paths])
        await _press(line, "filler", "reset", "start")

        async def both() -> bool:
            return all(len(seen.get(path, ())) >= 3 for path in paths)

        await _until(both)
        counts = seen[paths[0]]
        assert counts == sorted(counts)
        await subscription.delete()


async def test_a_lost_heartbeat_holds_the_filler(sim: Sim, line: Client) -> None:
    """Once written, a heartbeat that stops for two seconds makes the controller hold by itself and note it."""
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as filler:
        await _press(line, "filler", "reset", "start")
        await _until(lambda: _is(filler, 6))
        heart = await _tag(filler, "Filler.Heartbeat.In")
        for beat in range(1, 8):
            await _write(heart, beat, ua.VariantType.UInt16)
            await asyncio.sleep(0.4)
        assert await _state(filler) == 6
        await _until(lambda: _is(filler, 11))
        assert line.do("truth")["devices"]["filler"]["notes"][-1] == "heartbeat lost"
        line.do("fault", device="filler", name="reboot", seconds=0.2)  # forgets that it ever had a gateway

        async def forgot() -> bool:
            return line.do("truth")["devices"]["filler"]["heartbeat_in"] is None

        await _until(forgot)
        await _until(lambda: _listens(sim.addresses["filler"]["url"]))


async def _listens(url: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(*_host_port(url.removeprefix("opc.tcp://").rstrip("/")))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_labeller_prints_what_the_roll_says(sim: Sim, line: Client) -> None:
    """Units become labels with the roll's content; a wrong roll shows at once; a cut link comes back by itself."""
    line.do("roll", batch="B7", uid="1A4060300000000000000007", thc=84.2, warning="W7")
    await _press(line, "labeller", "reset", "start")
    await _press(line, "filler", "reset", "start")
    async with OpcClient(sim.addresses["labeller"]["url"], timeout=10) as client:
        count = await _tag(client, "Labeller.Label.Count")
        floor = int(await count.read_value())
        await _until(lambda: _above(count, floor + 2), 10.0)
        content = [
            await (await _tag(client, f"Labeller.Label.{name}")).read_value()
            for name in ("Batch", "Uid", "Thc", "Warning")
        ]
        assert content == ["B7", "1A4060300000000000000007", 84.2, "W7"]
        line.do("fault", device="labeller", name="wrong_roll", thc=12.3)
        thc = await _tag(client, "Labeller.Label.Thc")

        async def wrong() -> bool:
            return bool(await thc.read_value() == 12.3)

        await _until(wrong)


async def test_cut_and_healed_without_restart(sim: Sim, line: Client) -> None:
    """A cut filler refuses connections, a healed one takes them on the same address."""
    url = sim.addresses["filler"]["url"]
    line.do("fault", device="filler", name="cut")
    with pytest.raises((ConnectionError, OSError)):
        await OpcClient(url, timeout=1).connect()
    line.do("heal", device="filler", name="cut")
    async with OpcClient(url, timeout=10) as client:
        assert await _state(client) == 2


def test_a_cut_serial_line_hangs_up_and_comes_back(sim: Sim, line: Client) -> None:
    """An open port fails when the line is cut; the same path works again once it is healed."""
    path = sim.addresses["balance"]["serial"]
    with serial.Serial(path, 9600, timeout=10) as port:
        line.do("fault", device="balance", name="cut")
        with pytest.raises(serial.SerialException):
            port.read(1)
    with pytest.raises(serial.SerialException):
        serial.Serial(path, 9600)
    line.do("heal", device="balance", name="cut")
    with serial.Serial(path, 9600, timeout=10) as port:
        port.write(b"I4\r\n")
        assert port.readline() == b'I4 A "B123456789"\r\n'


async def test_silent_accepts_and_never_answers(sim: Sim, line: Client) -> None:
    """A silent balance takes the connection and the command, and says nothing."""
    line.do("fault", device="balance", name="silent")
    reader, writer = await asyncio.open_connection(*_host_port(sim.addresses["balance"]["tcp"]))
    writer.write(b"SI\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.3)
    line.do("heal", device="balance", name="silent")
    writer.write(b"SI\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"S ")
    writer.close()


async def test_silent_opcua_server(sim: Sim, line: Client) -> None:
    """A silent filler takes the TCP connection and then nothing comes."""
    line.do("fault", device="filler", name="silent")
    with pytest.raises(TimeoutError):
        await OpcClient(sim.addresses["filler"]["url"], timeout=0.5).connect()
    line.do("heal", device="filler", name="silent")
    async with OpcClient(sim.addresses["filler"]["url"], timeout=10) as client:
        assert await _state(client) == 2


async def test_weighing_over_tcp_and_serial(sim: Sim, line: Client) -> None:
    """A placed unit weighs its own net on both cables; empty pan weighs nothing."""
    await _press(line, "filler", "reset", "start")

    async def filled() -> bool:
        return bool(line.do("truth")["plant"]["units"] >= 2)

    await _until(filled)
    net_g = line.do("place", unit=2)["net_g"]
    reader, writer = await asyncio.open_connection(*_host_port(sim.addresses["balance"]["tcp"]))
    writer.write(b"S\r\n")
    answer = await asyncio.wait_for(reader.readline(), 20)
    assert answer.startswith(b"S S ")
    assert float(answer[4:14]) == pytest.approx(net_g, abs=3e-4)
    writer.close()
    with serial.Serial(sim.addresses["balance"]["serial"], 9600, timeout=10) as port:
        port.write(b"SI\r\n")
        assert float((await asyncio.to_thread(port.readline))[4:14]) == pytest.approx(net_g, abs=0.01)
    line.do("remove")


async def test_sign_and_encrypt(sim: Sim, tmp_path: Path) -> None:
    """The secured endpoint works with a self-signed client certificate."""
    certificate, key = application_certificate(tmp_path, "client", "urn:linegate:test:client")
    client = OpcClient(sim.addresses["filler"]["url"], timeout=4)
    client.application_uri = "urn:linegate:test:client"
    await client.set_security(
        SecurityPolicyBasic256Sha256,
        certificate=certificate,
        private_key=key,
        server_certificate=Path(sim.addresses["filler"]["certificate"]),
        mode=ua.MessageSecurityMode.SignAndEncrypt,
    )
    async with client:
        assert await _state(client) == 2


async def test_an_untrusted_client_is_refused(tmp_path: Path) -> None:
    """With a trust folder only the certificates in it get a session; without `filler` no other device is started."""
    trust = tmp_path / "trust"
    trust.mkdir()
    sim = Sim(tmp_path / "run", "--devices=filler", f"--trust={trust}")
    try:
        assert set(sim.addresses) == {"control", "filler"}
        certificate, key = application_certificate(tmp_path, "client", "urn:linegate:test:client")

        async def connect() -> int:
            client = OpcClient(sim.addresses["filler"]["url"], timeout=10)
            client.application_uri = "urn:linegate:test:client"
            await client.set_security(SecurityPolicyBasic256Sha256, certificate, key)
            async with client:
                return await _state(client)

        with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
            await connect()
        (trust / "client.der").write_bytes(certificate.read_bytes())
        assert await connect() == 2
    finally:
        assert sim.end() == 0


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Exit code 2, and a sentence that names device and address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "simulators", "--devices=balance", "--control=0", f"--balance={port}"]
        run = subprocess.run(
            [*command, f"--run-dir={tmp_path}"], capture_output=True, text=True, timeout=20, check=False
        )
    assert run.returncode == 2
    assert f"balance cannot listen on 127.0.0.1:{port}" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_killed_simulate_leaves_nothing_behind(tmp_path: Path) -> None:
    """`linegate simulate` is the line itself: kill -9 ends all of it, and its ports are free again."""
    command = [sys.executable, "-m", "gateway.cli", "simulate", "--devices=balance", "--control=0", "--balance=0"]
    with subprocess.Popen([*command, f"--run-dir={tmp_path}"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        address = _host_port(ready["addresses"]["control"])
        socket.create_connection(address, 5).close()
        process.kill()
        process.wait(10)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)


def test_control_says_no_with_a_reason(line: Client) -> None:
    """A wrong verb raises with the control's own sentence."""
    with pytest.raises(ControlError, match="no verb"):
        line.do("dance")
