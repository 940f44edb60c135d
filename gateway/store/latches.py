"""The second home of the latches: one small file, written whole, fsynced, renamed.

The ledger's state rows are the first home.  On start the union holds: a latch forgotten by one is kept by the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from gateway.model import Json


class LatchFile:
    """`latches.json`: halt id -> latch document.  Calls block on the disk: never call `write` on the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged: Path | None = None
        """Where a file that could not be read was put; the ledger's rows hold then."""

    def read(self) -> dict[str, Json]:
        """What the file says; a damaged one is put aside, never a crash."""
        try:
            document = json.loads(self._path.read_bytes())
            if not isinstance(document, dict):
                raise TypeError("not an object")
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, OSError):
            self.damaged = self._path.with_suffix(".damaged")
            self._path.replace(self.damaged)
            return {}
        return document

    def write(self, latches: Mapping[str, Json]) -> None:
        """Replace the file's content durably.  Raises OSError."""
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, json.dumps(dict(latches), sort_keys=True).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
