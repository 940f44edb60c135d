"""The store's folder: the lock that keeps a second gateway out, the signing key, the ballast, small whole files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import StoreError

log = structlog.get_logger()

KEY: Final = "ledger.key"
LOCK: Final = "lock"
BALLAST: Final = "ballast"
BALLAST_BYTES: Final = 8 * 2**20
"""Freed when the disk is full: room for the log of some hundred commits, halts first."""


class Lock:
    """An exclusive lock on a folder, gone with the process however it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreError, naming the holder, where another gateway has the folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = _open_lock(folder)
        except OSError as error:
            raise StoreError(f"the store {folder} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._fd)
            os.close(self._fd)
            raise StoreError(f"another gateway (pid {holder}) uses the store {folder}: stop it first") from error
        self._write_pid()

    def _write_pid(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep us from starting
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


def _holder(fd: int) -> str:
    with contextlib.suppress(OSError):
        return os.read(fd, 32).decode(errors="replace").strip() or "unknown"
    return "unknown"


def _open_lock(folder: Path) -> int:
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        # A disk that went read-only must not keep the line from being judged and held.
        if error.errno not in {errno.EROFS, errno.ENOSPC}:
            raise
        there = folder / LOCK
        return os.open(there if there.exists() else folder, os.O_RDONLY | os.O_CLOEXEC)


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The ledger's private key (PEM, mode 0600), made at the first start.

    An unreadable one is set aside and a new one made; others being able to read it is a StoreError.
    """
    path = folder / KEY
    if path.exists():
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StoreError(f"{path} is readable by others: chmod 600 it, or move it away to begin with a new key")
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            key = None
        if isinstance(key, Ed25519PrivateKey):
            return key
        set_aside(path)
    made = Ed25519PrivateKey.generate()
    write_whole(
        path,
        made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return made


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, whole or not at all, also through a power cut; mode 0600.  Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable.  Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def set_aside(path: Path) -> Path:
    """Rename a file (and its SQLite log) to the next free `<name>.damaged-<n>`.  Raises OSError."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-journal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    sync_folder(path.parent)
    return target


def fill_ballast(folder: Path) -> bool:
    """Put the ballast in place; False where there is no room to spare for it."""
    path = folder / BALLAST
    if path.exists() and path.stat().st_size == BALLAST_BYTES:
        return True
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < 3 * BALLAST_BYTES:
        return False
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, BALLAST_BYTES)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP}:
            raise
        return False
    finally:
        os.close(fd)
    return True


def drop_ballast(folder: Path) -> bool:
    """Free the ballast's room; False where there was none."""
    try:
        (folder / BALLAST).unlink()
    except OSError:
        return False
    log.warning("disk full: ballast freed", folder=str(folder))
    return True
