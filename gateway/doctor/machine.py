"""The machine itself: Python, SQLite, clock, systemd, serial ports."""

from __future__ import annotations

import asyncio
import getpass
import grp
import os
import stat
import sys
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding, aside
from gateway.world import World

_SQLITE: Final = (3, 51, 3)
"""Before it the write-ahead log could be reset under a second connection, and lose commits."""
_PYTHON: Final = (3, 11)
_UNIT: Final = "linegate.service"
_PORTS: Final = ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttymxc*")


async def versions() -> list[Finding]:
    """Python and the SQLite that the stores use."""
    import apsw  # noqa: PLC0415  # only the doctor's own process pays for it

    python = ".".join(map(str, sys.version_info[:3]))
    sqlite = apsw.sqlite_lib_version()
    found = [Finding("ok", "python", python)]
    if sys.version_info[:2] < _PYTHON:
        found = [Finding("fail", "python", python, "install Python 3.11 or later")]
    if tuple(map(int, sqlite.split("."))) < _SQLITE:
        todo = "install a newer apsw: this SQLite can lose commits (WAL reset)"
        return [*found, Finding("fail", "sqlite", f"{sqlite} (apsw {apsw.apsw_version()})", todo)]
    return [*found, Finding("ok", "sqlite", f"{sqlite} (apsw {apsw.apsw_version()})")]


async def clock(world: World) -> list[Finding]:
    """Does anybody set this clock?  By the kernel's word, else by systemd's."""
    state = world.clock()
    if state == "unknown":
        said = await _said("timedatectl", "show", "--property=NTPSynchronized", "--value")
        state = {"yes": "synchronised", "no": "unsynchronised"}.get(said.strip(), "unknown")
    if state == "synchronised":
        return [Finding("ok", "clock", state)]
    todo = "set up chrony or systemd-timesyncd against the plant's time server: records carry this clock's time"
    return [Finding("warn", "clock", "nothing sets it" if state == "unsynchronised" else "nobody can tell", todo)]


async def service() -> list[Finding]:
    """Is the gateway a service that is watched and started again?"""
    if not await aside(lambda: Path("/run/systemd/system").is_dir()):
        todo = "see to it that whatever runs it starts it again (docker: restart: always)"
        return [Finding("warn", "service", "systemd does not run here", todo)]
    names = "LoadState,ActiveState,WatchdogUSec,UnitFileState"
    said = await _said("systemctl", "show", _UNIT, f"--property={names}")
    state = dict(line.partition("=")[::2] for line in said.splitlines())
    if state.get("LoadState") != "loaded":
        return [
            Finding("warn", "service", f"{_UNIT} is not installed", "copy deploy/systemd/linegate.service, enable it")
        ]
    found = [Finding("ok", "service", f"{_UNIT} is {state.get('ActiveState', 'unknown')}")]
    if state.get("UnitFileState") != "enabled":
        found.append(Finding("warn", "service", "does not start with the machine", f"systemctl enable {_UNIT}"))
    if state.get("WatchdogUSec", "0") in ("0", "infinity"):
        todo = "set WatchdogSec=10 in the unit: a gateway that hangs is then started again"
        found.append(Finding("warn", "service", "has no watchdog", todo))
    return found


async def ports() -> list[Finding]:
    """The serial adapters there are; which of them may be used."""
    there = await aside(lambda: sorted(path for pattern in _PORTS for path in Path("/dev").glob(pattern)))
    return [finding for path in there for finding in await serial_port("serial ports", str(path), named=False)]


async def serial_port(area: str, path: str, *, named: bool = True) -> list[Finding]:
    """One port: there, ours to use, used by nobody else, and called by a name that lasts."""
    return await aside(lambda: _serial_port(area, Path(path), named=named))


def _serial_port(area: str, path: Path, *, named: bool) -> list[Finding]:
    try:
        status = path.stat()
    except OSError as error:
        todo = "plug the adapter in, or correct the path in url: ls -l /dev/serial/by-id"
        return [Finding("fail", area, f"{path}: {error.strerror}", todo)]
    if not stat.S_ISCHR(status.st_mode):
        return [
            Finding("fail", area, f"{path} is not a serial port", "correct the path in url: ls -l /dev/serial/by-id")
        ]
    if not os.access(path, os.R_OK | os.W_OK):
        group = _group(status.st_gid)
        todo = f"sudo usermod -aG {group} {getpass.getuser()}, then log in again (a service: restart it)"
        return [Finding("fail", area, f"{path} may not be read and written (group {group})", todo)]
    found = [Finding("ok", area, f"{path} is there and may be used")]
    holder = _holder(path)
    if holder:
        found.append(
            Finding("warn", area, f"{path} is open in {holder}", "two programs on one port take each other's answers")
        )
    if named and path.parent == Path("/dev") and path.name.startswith(("ttyUSB", "ttyACM")):
        todo = "use its name below /dev/serial/by-id: ttyUSB0 may be another adapter after a restart"
        found.append(Finding("warn", area, f"{path} is numbered as adapters come", todo))
    return found


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _holder(path: Path) -> str:
    """The program that has the port open, as far as we may see; never a gateway's own process."""
    real = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            mine = any(os.path.realpath(link) == real for link in (process / "fd").iterdir())
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:  # another person's, or gone meanwhile
            continue
        if mine and "linegate run" not in words:
            return f"pid {process.name} ({words[:60]})"
    return ""


async def _said(*words: str) -> str:
    """What a command prints; nothing where there is no such command."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    return out.decode("utf-8", "replace")
