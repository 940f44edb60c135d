"""The simulated line put together: the plant, its devices, the ticker that moves them, the list of addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulators.balance import Balance
from simulators.cable import Proxy
from simulators.device import Device, UnknownError
from simulators.extras import BASE_PORT, EXTRAS, Stand, make_extra
from simulators.packml import State
from simulators.plant import Plant
from simulators.proxy_place import stand_before
from simulators.reservoir import Reservoir
from simulators.viscometer import Viscometer

if TYPE_CHECKING:
    from simulators.filler import Filler
    from simulators.labeller import Labeller

DEVICES: Final = ("balance", "filler", "labeller", "reservoir", "viscometer")
PORTS: Final = {"balance": 4001, "filler": 4841, "labeller": 4842, "reservoir": 5021, "viscometer": 5022}
TICK_S: Final = 0.02
_LONGEST_STEP_S: Final = 0.25
"""After a pause of the whole process (SIGSTOP) the plant goes on, it does not jump."""


@dataclass(frozen=True)
class Options:
    """What the line is started with.  Port 0: any free one."""

    seed: int
    run_dir: Path
    host: str = "127.0.0.1"
    speed: float = 1.0
    rate: float = 5.0
    oil_cel: float = 50.0
    tray_prefix: str = "L1"
    devices: Sequence[str] = DEVICES
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    balance_dialect: str = "mt-sics"
    trust: Path | None = None
    """Folder of trusted OPC UA client certificates; None: all are accepted."""
    extras: Sequence[str] = ()
    """Devices of `simulators.extras` to start too."""
    extras_port: int = BASE_PORT
    """Base of their ports; 0: any free ones."""
    proxy: bool = False
    """A fault proxy before every link; the devices' own ports are any free ones then."""


class Line:
    """All devices around one plant.  `start`, then `run` until cancelled, then `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.plant = Plant(
            options.seed,
            speed=options.speed,
            rate=options.rate,
            oil_cel=options.oil_cel,
            tray_prefix=options.tray_prefix,
        )
        self.devices: dict[str, Device] = {name: self._make(name) for name in options.devices}
        for name in options.extras:
            self.devices[name] = self._extra(name)
        self._proxies: list[Proxy] = []

    async def start(self) -> None:
        """Open every link.  OSError with the device's name if a port is taken."""
        for device in self.devices.values():
            try:
                if self.options.proxy:
                    proxies = await stand_before(device.links)
                    self._proxies += proxies
                    device.cables = proxies
                await device.start()
            except OSError as error:
                where = f"{self.options.host}:{self._port(device.name)}"
                raise OSError(f"{device.name} cannot listen on {where}: {error.strerror or error}") from error

    async def run(self) -> None:
        """Move plant and devices about fifty times a second, for ever."""
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            await self.step(min(now_s - last_s, _LONGEST_STEP_S))
            last_s = now_s

    async def step(self, dt_s: float) -> None:
        """Let `dt_s` seconds of wall time pass for all."""
        self.plant.step(dt_s)
        for device in self.devices.values():
            await device.step(dt_s)

    async def stop(self) -> None:
        """Close everything.  Safe if `start` failed half-way."""
        for proxy in self._proxies:
            await proxy.close()
        for device in self.devices.values():
            await device.stop()

    def device(self, name: str) -> Device:
        """UnknownError if this line has none of that name."""
        if name not in self.devices:
            raise UnknownError(f"no device {name!r} on this line; it has {', '.join(self.devices)}")
        return self.devices[name]

    @property
    def balance(self) -> Balance:
        device = self.device("balance")
        assert isinstance(device, Balance)
        return device

    @property
    def filler(self) -> Filler:
        from simulators.filler import Filler  # noqa: PLC0415  # asyncua is heavy: only lines that use it pay

        device = self.device("filler")
        assert isinstance(device, Filler)
        return device

    @property
    def labeller(self) -> Labeller:
        from simulators.labeller import Labeller  # noqa: PLC0415

        device = self.device("labeller")
        assert isinstance(device, Labeller)
        return device

    def addresses(self) -> dict[str, Any]:
        return {name: device.addresses() for name, device in self.devices.items()}

    def truth(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        return {
            "seed": self.plant.seed,
            "speed": self.plant.speed,
            "rate": self.plant.rate,
            "plant": self.plant.truth(),
            "devices": {name: self._shown(device) for name, device in self.devices.items()},
            "halts": self._halts(),
            "states": {int(state): state.name.capitalize() for state in State},
        }

    def _shown(self, device: Device) -> dict[str, Any]:
        cables = [cable.truth() for cable in device.cables]
        return {**device.truth(), "faults": device.faults} | ({"cables": cables} if cables else {})

    def _halts(self) -> list[dict[str, Any]]:
        seen = [halt for device in self.devices.values() for halt in getattr(device, "halts", ())]
        return [vars(halt) for halt in sorted(seen, key=lambda halt: int(halt.mono_ns))]

    def _make(self, name: str) -> Device:
        host, port, folder = self.options.host, self._port(name), self.options.run_dir
        match name:
            case "balance":
                return Balance(self.plant, host, port, folder / "balance.tty", self.options.balance_dialect)
            case "reservoir":
                return Reservoir(self.plant, host, port, folder / "reservoir.tty")
            case "viscometer":
                return Viscometer(self.plant, host, port)
            case "filler" | "labeller":
                return self._packml(name, port)
        raise UnknownError(f"no device {name!r}; there are {', '.join(DEVICES)}")

    def _port(self, name: str) -> int:
        """The TCP port a device begins with; 0: any free one."""
        if name in EXTRAS:
            return self.options.extras_port and self.options.extras_port + EXTRAS[name].offset
        return self.options.ports.get(name, 0)

    def _extra(self, name: str) -> Device:
        if name in self.devices:
            raise UnknownError(f"extra device {name!r} is asked for twice")
        port = self._port(name)
        options = self.options
        return make_extra(Stand(name, self.plant, options.host, options.run_dir, self.devices, port))

    def _packml(self, name: str, port: int) -> Device:
        from simulators.filler import Filler  # noqa: PLC0415
        from simulators.labeller import Labeller  # noqa: PLC0415
        from simulators.opcua_server import Place  # noqa: PLC0415

        place = Place(self.options.host, port, self.options.run_dir, self.options.trust)
        return Filler(self.plant, place) if name == "filler" else Labeller(self.plant, place)
