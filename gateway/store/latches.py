"""The second home of the latches: one small file, written whole, fsynced, renamed.

The ledger's state rows are the first home.  On start the union holds: a latch forgotten by one is kept by the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gateway.model import Json
from gateway.store.folder import set_aside, write_whole


class LatchFile:
    """`latches.json`: halt id -> latch document.  Calls block on the disk: never call `write` on the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged = ""
        """What was wrong with the file that `read` found, and where it was put; empty: nothing."""
        self.missing = False
        """`read` found no file."""

    def read(self) -> dict[str, Json]:
        """What the file says; a damaged one is put aside, never a crash."""
        try:
            document = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            self.missing = True
            return {}
        except (ValueError, OSError, RecursionError) as error:
            self.damaged = f"{self._path.name} cannot be read ({error}); {self._put_aside()}"
            return {}
        if not isinstance(document, dict):
            self.damaged = f"{self._path.name} is not an object; {self._put_aside()}"
            return {}
        return document

    def _put_aside(self) -> str:
        try:
            return f"it was put aside as {set_aside(self._path).name}"
        except OSError as error:
            return f"it cannot be put aside: {error.strerror}"

    def write(self, latches: Mapping[str, Json]) -> None:
        """Replace the file's content durably.  Raises OSError."""
        write_whole(self._path, json.dumps(dict(latches), sort_keys=True).encode())
