"""Which checks a machine and a line need."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.doctor import files, held, machine, network
from gateway.doctor.finding import Finding, Job
from gateway.errors import ConfigError
from gateway.world import World

if TYPE_CHECKING:
    from gateway.config.model import Settings
    from gateway.drivers.base import DriverConfig


def jobs(path: Path | None, world: World) -> list[Job]:
    """The checks of this machine, and of the line in `path`; a line that cannot be read is a finding, not an error."""
    found = [
        Job("versions", machine.versions, 10.0),
        Job("clock", partial(machine.clock, world)),
        Job("service", machine.service),
    ]
    if path is None:
        return [*found, Job("serial ports", machine.ports)]
    found.append(Job("configuration", partial(files.configuration, path), 30.0))
    settings = _settings(path)
    return found if settings is None else [*found, *_line(settings, world)]


def _settings(path: Path) -> Settings | None:
    """None: the configuration's own check says why."""
    from gateway.config.reading import load  # noqa: PLC0415  # drivers and rules come with it

    try:
        return load(path)
    except ConfigError:
        return None


async def _device(name: str, device: DriverConfig, pid: str | None) -> list[Finding]:
    """One after the other: some devices take one connection only."""
    found = await network.device(name, device, pid)
    if pid is not None or not device.haltable() or any(finding.level == "fail" for finding in found):
        return found
    return [*found, *await held.word(name, device)]


def _line(settings: Settings, world: World) -> list[Job]:
    gateway = settings.gateway
    state, console = gateway.state_dir, gateway.console
    pid = files.running(state)

    async def second() -> list[Finding]:
        if pid is None:
            return [Finding("ok", "gateway", "none runs on this state folder")]
        return [Finding("ok", "gateway", f"runs (pid {pid}); a second one on this state folder would be refused")]

    found = [
        Job("gateway", second),
        Job("console", partial(network.free, "console", console.host, console.port, pid)),
        Job("state folder", partial(files.folder, state, gateway.telemetry_cap_mb), 30.0),
        Job("keys", partial(files.keys, state)),
    ]
    for name, device in settings.devices.items():
        found.append(Job(f"device {name}", partial(_device, name, device, pid), 12.0))
        found.append(Job(f"device {name}", partial(files.certificates, f"device {name}", device, world)))
    for name, sink in settings.sinks.items():
        found.append(Job(f"sink {name}", partial(network.sink, name, sink, world), 10.0))
        found.append(Job(f"sink {name}", partial(files.certificates, f"sink {name}", sink, world)))
    return found
