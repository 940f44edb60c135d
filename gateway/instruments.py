"""The register of instruments: one YAML file beside the line's, read again whenever it changed.

    instruments:
      balance: {kind: scale, serial: B1234, due: 2027-03-31, device: balance, reading: balance/net, check: {...}}

A new due date after a calibration holds from the next look on, without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from gateway.batch.instruments import Instrument
from gateway.config import yaml as config_yaml
from gateway.config.explain import explain
from gateway.config.yaml import Document
from gateway.recipe import Frozen


class Register(Frozen):
    """The whole file."""

    instruments: dict[str, Instrument] = Field(min_length=1)


def read_register(path: Path) -> tuple[Register | None, Document]:
    """The register, None where `document.problems` says why."""
    document = config_yaml.read(path)
    if document.problems:
        return None, document
    try:
        return Register.model_validate(document.data), document
    except ValidationError as error:
        document.problems += explain(error, document, (), Register)
        return None, document


class RegisterFile:
    """The register as it is now.  `look` reads the disk; `entries` and `trouble` are of the last look."""

    def __init__(self, path: Path | None) -> None:
        self.entries: Mapping[str, Instrument] = {}
        self.trouble = ""
        """Why it cannot be read; the entries are empty then: nothing old is taken for good."""
        self._path = path
        self._seen: tuple[int, int] | None = None

    def look(self) -> bool:
        """Read it again if it changed; True if it did."""
        if self._path is None:
            return False
        try:
            status = self._path.stat()
        except OSError as error:
            changed, self.trouble = not self.trouble, f"{self._path.name}: {error.strerror}"
            self.entries, self._seen = {}, None
            return changed
        if self._seen == (status.st_mtime_ns, status.st_size):
            return False
        self._seen = (status.st_mtime_ns, status.st_size)
        register, document = read_register(self._path)
        self.entries = register.instruments if register else {}
        self.trouble = "; ".join(map(str, document.problems))
        return True
