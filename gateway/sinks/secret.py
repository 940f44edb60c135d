"""Secrets of sinks: only in files, which must exist, be ours alone and say something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator

from gateway.errors import SinkError

_OTHERS: Final = 0o077
_DEFAULTS: Final = frozenset({"password", "admin", "changeme", "secret", "linegate", "token"})


def _guarded(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if mode & _OTHERS:
        raise ValueError(f"{path} can be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
    if not secret or secret.lower() in _DEFAULTS:
        raise ValueError(f"{path} holds {'nothing' if not secret else 'a default'}: put a real secret in it")
    return path


SecretFile = Annotated[Path, AfterValidator(_guarded)]
"""A file with one secret: checked when the configuration is read, read again at each connect."""


def read_secret(path: Path) -> str:
    """The secret, without the line's end.  SinkError: it cannot be read any more."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkError(f"cannot read {path}: {error}") from error
