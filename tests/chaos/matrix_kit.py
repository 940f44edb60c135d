"""The link matrix's parts: real drivers and sinks on real sockets and ptys, a fault proxy before each, a witness."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.drivers.balance.kind import BalanceConfig
from gateway.drivers.base import DriverConfig
from gateway.drivers.lights.kind import LightsConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.reader.kind import ReaderConfig
from gateway.forwarder import Forwarder
from gateway.model import HaltProof, Scan, TagSet
from gateway.sinks.base import SinkConfig
from gateway.sinks.influx import InfluxConfig
from gateway.sinks.mqtt import MqttConfig
from gateway.station.station import Station
from gateway.world import World
from simulators.balance import Balance
from simulators.cable import Proxy, TcpProxy
from simulators.cable_pty import PtyProxy
from simulators.device import Device
from simulators.extras import Stand
from simulators.filler import Filler
from simulators.lights import Lights
from simulators.opcua_server import Place
from simulators.packml import State
from simulators.plant import Plant
from simulators.reader import Reader
from simulators.reservoir import Reservoir
from tests.servers import influxd, mosquitto
from tests.sink_fakes import FakeEvidence, FakeTelemetry, make_ports, scan

TIMEOUT_S: Final = 1.0
"""The configured timeout of every device here."""
SINK_TIMEOUT_S: Final = 5.0
PERIOD_S: Final = 0.2
DEVICES: Final = (
    "opc ua",
    "modbus tcp",
    "modbus rtu",
    "balance tcp",
    "balance serial",
    "reader tcp",
    "reader serial",
    "lights tcp",
    "lights serial",
)
SINKS: Final = ("mqtt", "http sink")


class Witness:
    """What the line would have been told: when a value was good, when it was told of trouble."""

    def __init__(self) -> None:
        self.good: list[float] = []
        self.bad: list[float] = []
        self.connects = 0

    def take(self, scan: Scan, *, keep: bool = True) -> None:
        del keep
        now = asyncio.get_running_loop().time()
        (self.bad if 0 in scan.faults else self.good).append(now)

    def connected(self, device: str, identity: Mapping[str, str]) -> None:
        self.connects += 1

    def lost(self, device: str, reason: str) -> None:
        self.bad.append(asyncio.get_running_loop().time())

    def commanded(self, halt_id: str) -> None: ...

    def confirmed(self, halt_id: str, proof: HaltProof) -> None: ...

    def not_held(self, halt_id: str, reason: str) -> None: ...

    def withdrawn(self, device: str) -> None: ...


@dataclass
class Link:
    """One transport with its proxy, alive."""

    proxy: Proxy
    witness: Witness
    timeout_s: float
    dials: Callable[[], int] = lambda: 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Hall:
    """The far ends that all cells share, and the clock that moves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: list[Device] = []
        self.brokers: dict[str, int] = {}
        self._count = itertools.count()

    @asynccontextmanager
    async def open(self, transports: Sequence[str]) -> AsyncIterator[Hall]:
        async with AsyncExitStack() as stack:
            if "mqtt" in transports:
                self.brokers["mqtt"] = stack.enter_context(mosquitto(self._home("mosquitto"))).port
            if "http sink" in transports:
                self.brokers["http sink"] = stack.enter_context(influxd(self._home("influxd"), "line")).port
            if "opc ua" in transports:
                self.filler = Filler(Plant(3), Place("127.0.0.1", 0, self.folder))
                await self.filler.start()
                stack.push_async_callback(self.filler.stop)
                self.filler.machine.found(State.EXECUTE)
                self.devices.append(self.filler)
            clock = asyncio.create_task(self._tick(), name="hall clock")
            try:
                yield self
            finally:
                clock.cancel()
                await asyncio.gather(clock, return_exceptions=True)

    def _home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir()
        return home

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for device in tuple(self.devices):
                await device.step(0.05)

    async def forget(self) -> None:
        """What far ends keep of those who went away is not the gateway's leak."""
        for device in self.devices:
            if isinstance(device, Filler):
                await device.link.end_sessions()

    @asynccontextmanager
    async def link(self, transport: str) -> AsyncIterator[Link]:
        """A station (or forwarder) of its own behind a proxy of its own."""
        async with AsyncExitStack() as stack:
            if transport in SINKS:
                yield await stack.enter_async_context(self._sink(transport))
            else:
                proxy, config = await self._device(transport, stack)
                yield await stack.enter_async_context(_station(proxy, config))

    async def _device(self, transport: str, stack: AsyncExitStack) -> tuple[Proxy, DriverConfig]:
        number = next(self._count)
        if transport == "opc ua":
            proxy = await _tcp(stack, lambda: ("127.0.0.1", self.filler.link.port))
            return proxy, _opcua(proxy.port, self.folder)
        device = await self._own(transport, number, stack)
        if transport.endswith("tcp"):
            link: Any = device.links[0]
            proxy = await _tcp(stack, lambda: (link.host, link.port))
            url = f"tcp://127.0.0.1:{proxy.port}"
        else:
            pty_link: Any = device.links[1]
            path = self.folder / f"front{number}.tty"
            pty_proxy = PtyProxy(path, pty_link.path)
            await pty_proxy.open()
            stack.push_async_callback(pty_proxy.close)
            return pty_proxy, _serial(transport, f"serial://{path}?baudrate=115200")
        return proxy, _serial(transport, url)

    async def _own(self, transport: str, number: int, stack: AsyncExitStack) -> Device:
        device = _far_end(transport, number, self.folder)
        await device.start()
        self.devices.append(device)
        stack.push_async_callback(device.stop)
        stack.callback(self.devices.remove, device)
        return device

    @asynccontextmanager
    async def _sink(self, transport: str) -> AsyncIterator[Link]:
        async with AsyncExitStack() as stack:
            number = next(self._count)
            proxy = await _tcp(stack, lambda: ("127.0.0.1", self.brokers[transport]))
            config = _mqtt(proxy.port, number) if transport == "mqtt" else _influx(proxy.port)
            telemetry, witness = FakeTelemetry(), Witness()
            forwarder = Forwarder(f"sink{number}", config, FakeEvidence(), telemetry, make_ports(), World(number))
            forwarder.on_turn = lambda _, up, __: None if up else witness.lost("", "")
            tasks = [
                asyncio.create_task(forwarder.run(), name=f"forwarder {number}"),
                asyncio.create_task(_feed(forwarder, telemetry, witness), name=f"feed {number}"),
            ]
            try:
                yield Link(proxy, witness, SINK_TIMEOUT_S, lambda: proxy.accepted)
            finally:
                await _end(tasks)


class BusyReader(Reader):
    """A reader before a belt that never stands: a read each 50 ms, so that silence is trouble."""

    async def step(self, dt_s: float) -> None:
        self.read(f"LOT-{self.sent}")
        await super().step(dt_s)


def _far_end(transport: str, number: int, folder: Path) -> Device:
    plant = Plant(number, oil_cel=50.0)
    stand = Stand(f"device{number}", plant, "127.0.0.1", folder, {})
    match transport.partition(" ")[0]:
        case "reader":
            return BusyReader(stand)
        case "lights":
            return Lights(stand)
        case "modbus":
            return Reservoir(plant, "127.0.0.1", 0, folder / f"device{number}.tty")
    return Balance(plant, "127.0.0.1", 0, folder / f"device{number}.tty")


async def _feed(forwarder: Forwarder, telemetry: FakeTelemetry, witness: Witness) -> None:
    """Ten scans a second; each delivery seen is a good moment."""
    loop, delivered = asyncio.get_running_loop(), 0
    for seq in itertools.count(1000):
        made = scan(seq)
        telemetry.put(made)
        forwarder.offer(made)
        await asyncio.sleep(0.1)
        status = forwarder.status()
        if status.scans > delivered:
            delivered = status.scans
            witness.good.append(loop.time())
        if not status.connected:
            witness.bad.append(loop.time())


@asynccontextmanager
async def _station(proxy: Proxy, config: DriverConfig) -> AsyncIterator[Link]:
    witness = Witness()
    station = Station("d", config, TagSet("d", config.tags()), witness, World(), itertools.count(1).__next__)
    task = asyncio.create_task(station.run(), name="station")
    try:
        yield Link(proxy, witness, config.timeout_s, lambda: getattr(proxy, "accepted", 0), task)
    finally:
        await _end([task])


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    done, late = await asyncio.wait(tasks, timeout=10)
    assert not late, f"did not end in 10 s: {late}"
    for task in done:
        with suppress(asyncio.CancelledError):
            task.result()


async def _tcp(stack: AsyncExitStack, target: Callable[[], tuple[str, int]]) -> TcpProxy:
    proxy = TcpProxy("127.0.0.1", 0, target)
    await proxy.open()
    stack.push_async_callback(proxy.close)
    return proxy


_TIMES: Final = {"period": f"{PERIOD_S * 1000:g}ms", "timeout": f"{TIMEOUT_S:g}s"}


def _serial(transport: str, url: str) -> DriverConfig:
    if transport.startswith("modbus"):
        given: dict[str, Any] = {"driver": "modbus", "profile": "watlow-ez-zone-pm", "url": url, **_TIMES}
        return ModbusConfig.model_validate(given)
    if transport.startswith("reader"):
        form = {"prefix": "\x02", "terminator": "\x03", "heartbeat": "ALIVE", "silence": f"{TIMEOUT_S:g}s"}
        parts = {"separator": ";", "fields": ["code", "grade", "angle"]}
        return ReaderConfig.model_validate({"url": url, **form, **parts, **_TIMES})
    if transport.startswith("lights"):
        lamps = {name: {"coil": at} for at, name in enumerate(("red", "amber", "blue", "green", "horn"))}
        return LightsConfig.model_validate({"url": url, "lamps": lamps, "watchdog": "module", **_TIMES})
    return BalanceConfig.model_validate({"driver": "balance", "dialect": "mt-sics", "url": url, **_TIMES})


def _opcua(port: int, folder: Path) -> DriverConfig:
    return OpcUaConfig.model_validate(
        {
            "driver": "opcua",
            "url": f"opc.tcp://127.0.0.1:{port}/",
            "namespace": {"f": "urn:linegate:sim:filler"},
            "tags": {"state": {"node": "f:Filler.Status.StateCurrent"}, "units": {"node": "f:Filler.Heartbeat.Out"}},
            "security": {"policy": "None", "mode": "None", "waiver": "the matrix is about the cable"},
            **_TIMES,
        }
    )


def _mqtt(port: int, number: int) -> SinkConfig:
    return MqttConfig.model_validate(
        {"url": f"mqtt://127.0.0.1:{port}", "timeout": f"{SINK_TIMEOUT_S:g}s", "client_id": f"matrix-{number}"}
    )


def _influx(port: int) -> SinkConfig:
    return InfluxConfig.model_validate(
        {
            "url": f"http://127.0.0.1:{port}",
            "api": "v1",
            "database": "line",
            "timeout": f"{SINK_TIMEOUT_S:g}s",
            "linger": "100ms",
        }
    )
