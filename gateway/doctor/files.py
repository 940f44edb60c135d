"""Folders, keys and certificates: room, speed, who may read, and how long they hold."""

from __future__ import annotations

import fcntl
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from gateway.doctor.finding import Finding, aside
from gateway.errors import LinegateError
from gateway.store.folder import LOCK
from gateway.world import World

_FULL_MB: Final = 200
_SYNCS: Final = 15
_SLOW_MS: Final = 25.0
"""A commit waits for one: more than 40 a second is what a poor line PC does."""
_HALTING_MS: Final = 250.0
_SOON_DAYS: Final = 30
_OTHERS: Final = 0o077
_CERTIFICATES: Final = (".der", ".pem", ".crt", ".cer")
_SMALL: Final = 65536
"""Bytes of the largest file that is looked into for a certificate or key."""
_FLEETING: Final = frozenset(("tmpfs", "ramfs", "overlay"))


def running(state: Path) -> str | None:
    """The pid of the gateway that has this folder; None where none has.  Takes no lock itself."""
    try:
        handle = os.open(state / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(handle)
    return None


async def folder(state: Path, cap_mb: int) -> list[Finding]:
    """The state folder: there or possible, ours alone, with room and a disk that is quick enough."""
    return await aside(lambda: _folder(state, cap_mb))


def _folder(state: Path, cap_mb: int) -> list[Finding]:
    there = next(path for path in (state, *state.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return [
            Finding("fail", "state folder", f"{there} may not be written", f"chown it to the service's user: {there}")
        ]
    found = [Finding("ok", "state folder", f"{state}" + ("" if there == state else " (made at the first start)"))]
    if there == state and state.stat().st_mode & 0o007:
        found.append(Finding("warn", "state folder", "everybody may look into it", f"chmod 700 {state}"))
    kind = _file_system(there)
    if kind in _FLEETING:
        todo = "put state_dir on a disk, or a volume: records, latches and keys end with this one"
        found.append(Finding("warn", "state folder", f"is on {kind}", todo))
    try:
        return [*found, *_room(there, cap_mb), *_speed(there)]
    except OSError as error:
        todo = "put state_dir where the service's user may write"
        return [Finding("fail", "state folder", f"{there} cannot be written: {error.strerror}", todo)]


def _room(there: Path, cap_mb: int) -> Iterator[Finding]:
    free_mb = shutil.disk_usage(there).free // 2**20
    if free_mb < _FULL_MB:
        yield Finding("fail", "disk", f"{free_mb} MiB free", "make room: without a record no line runs")
    elif free_mb < cap_mb + 2 * _FULL_MB:
        todo = f"make room or lower gateway.telemetry_cap_mb ({cap_mb}): telemetry alone may fill the disk"
        yield Finding("warn", "disk", f"{free_mb} MiB free", todo)
    else:
        yield Finding("ok", "disk", f"{free_mb} MiB free")


def _speed(there: Path) -> Iterator[Finding]:
    """How long a small write takes until it is safe; the file is gone afterwards."""
    took_ms: list[float] = []
    with tempfile.TemporaryFile(dir=there) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"\0" * 4096, 0)
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began) * 1000)
    median, worst = statistics.median(took_ms), max(took_ms)
    text = f"a safe write takes {median:.1f} ms, at worst {worst:.0f} ms"
    todo = "use an industrial SSD or eMMC: each signature and record waits for it"
    level = "fail" if median > _HALTING_MS else "warn" if median > _SLOW_MS or worst > _HALTING_MS else "ok"
    yield Finding(level, "disk", text, "" if level == "ok" else todo)  # type: ignore[arg-type]  # one of the three


def _file_system(there: Path) -> str:
    """The type of the file system a folder is on; empty where nobody says."""
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, found, *_ = line.split(" ")
        if len(mount) >= len(best) and there.resolve().is_relative_to(mount):
            best, kind = mount, found
    return kind


async def keys(state: Path) -> list[Finding]:
    """Files in the state folder that only the gateway may read."""
    return await aside(lambda: list(_keys(state)))


def _keys(state: Path) -> Iterator[Finding]:
    secret = [
        path for path in sorted(state.glob("*")) if path.suffix in (".key", ".token") or path.name.startswith("people")
    ]
    for path in secret:
        mode = path.stat().st_mode & 0o777
        if mode & _OTHERS:
            yield Finding("fail", "keys", f"{path.name} can be read by others (mode {mode:o})", f"chmod 600 {path}")
    if secret and not any(path.stat().st_mode & _OTHERS for path in secret):
        yield Finding("ok", "keys", f"{len(secret)} file(s) in {state.name} are the gateway's alone")


def paths(model: BaseModel) -> Iterator[Path]:
    """Every path of a configuration, down through what it is made of."""
    for name in type(model).model_fields:
        yield from _paths(getattr(model, name))


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from paths(value)
    elif isinstance(value, dict | list | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _paths(child)


async def certificates(area: str, model: BaseModel, world: World) -> list[Finding]:
    """The certificates and keys that a device or sink names, and those in its folders."""
    return await aside(lambda: list(_certificates(area, model, world.time_ns())))


def _trusts_nobody(area: str, model: BaseModel) -> Iterator[Finding]:
    """A server whose certificate is to be checked, and none that anybody has looked at yet."""
    folder = getattr(getattr(model, "security", None), "trusted", None)
    if folder is None or (folder.is_dir() and any(each.suffix in _CERTIFICATES for each in folder.rglob("*"))):
        return
    todo = (
        f"ask it once: linegate browse {getattr(model, 'url', '')} --pki {folder.parent}; compare what it shows, "
        "then: linegate opcua trust THUMBPRINT"
    )
    yield Finding("warn", area, f"no server is trusted yet in {folder}", todo)


def _certificates(area: str, model: BaseModel, now_ns: int) -> Iterator[Finding]:
    yield from _trusts_nobody(area, model)
    for path in dict.fromkeys(paths(model)):
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.suffix in _CERTIFICATES)
            rejected = [each for each in files if each.parent.name == "rejected"]
            if rejected:
                todo = f"compare it with the server's own display, then: linegate opcua trust {rejected[0].stem}"
                yield Finding("warn", area, f"{len(rejected)} certificate(s) wait in {rejected[0].parent}", todo)
            for each in files:
                if each not in rejected and not each.name.startswith("old-"):
                    yield from _certificate(area, each, now_ns)
        elif path.is_file() and path.stat().st_size < _SMALL:
            yield from _certificate(area, path, now_ns)


def _certificate(area: str, path: Path, now_ns: int) -> Iterator[Finding]:
    from cryptography import x509  # noqa: PLC0415  # only where there are certificates

    data = path.read_bytes()
    if b"PRIVATE KEY" in data and path.stat().st_mode & _OTHERS:
        yield Finding("fail", area, f"{path.name} is a key that others can read", f"chmod 600 {path}")
    try:
        if b"BEGIN CERTIFICATE" in data:
            found = x509.load_pem_x509_certificates(data)
        elif path.suffix in (".der", ".cer"):
            found = [x509.load_der_x509_certificate(data)]
        else:
            return
    except ValueError as error:
        yield Finding("fail", area, f"{path.name} is no certificate: {error}", f"get it again, whole: {path}")
        return
    for each in found:
        days = (each.not_valid_after_utc.timestamp() - now_ns / 1e9) / 86_400
        early = (each.not_valid_before_utc.timestamp() - now_ns / 1e9) / 86_400
        yield lasting(area, f"{path.name} ({each.subject.rfc4514_string() or 'no name'})", days, early)


def lasting(area: str, name: str, days: float, early: float = 0.0) -> Finding:
    """A certificate that holds `days` more, and not before `early` days from now."""
    if early > 0:
        return Finding(
            "fail", area, f"{name} is not valid before {early:.0f} day(s) from now", "look at this machine's clock"
        )
    if days < 0:
        return Finding("fail", area, f"{name} expired {-days:.0f} day(s) ago", "put a new one in its place")
    if days < _SOON_DAYS:
        return Finding("warn", area, f"{name} expires in {days:.0f} day(s)", "put a new one in its place before")
    return Finding("ok", area, f"{name} holds {days:.0f} days")


async def configuration(path: Path) -> list[Finding]:
    """What `linegate check` says."""
    from gateway.config.reading import check  # noqa: PLC0415  # drivers and rules come with it

    try:
        report = await aside(lambda: check(path))
    except LinegateError as error:
        return [Finding("fail", "configuration", str(error), "correct it, then look again")]
    found = [
        Finding("fail", "configuration", str(problem), "linegate check has all of them") for problem in report.problems
    ]
    found += [
        Finding("warn", "configuration", str(warning), "") for warning in report.warnings if warning.level != "waiver"
    ]
    return found or [Finding("ok", "configuration", f"{path.name} is good")]
