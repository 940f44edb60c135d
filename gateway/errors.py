"""Every error that crosses a boundary, on one screen.

Three kinds: theirs (retry: DeviceError, SinkError), yours (say what to do: ConfigError, Refused, VerifyError),
ours (a bug: anything that is not here, let it be seen).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LinegateError(Exception):
    """Base of all of them."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration file.  Lines and columns count from 1."""

    file: str
    line: int
    column: int
    where: str
    """Dotted path, `devices.filler.url`."""
    message: str
    """What is wrong and what to do next."""
    level: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.where}: {self.message}"


class ConfigError(LinegateError):
    """The configuration cannot work; nothing was started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class DeviceError(LinegateError):
    """A device did not answer, or answered wrongly.  The station backs off and tries again."""


class DeviceMisconfigured(DeviceError):
    """The device says the request can never work (Modbus exception 01-03, Bad node id).  Still retried, slowly."""


class NotHeld(DeviceError):
    """A halt was sent and the machine's own state does not say that it stands still."""


class NotDone(DeviceError):
    """A tare or zero was sent, and the balance refuses it or does not show that it was carried out."""


class SinkError(LinegateError):
    """A sink took nothing; keep all and try again."""


class Rejected(LinegateError):
    """A sink will never take the items at these positions; the rest were handed over."""

    def __init__(self, positions: Sequence[int], reason: str) -> None:
        self.positions = tuple(positions)
        self.reason = reason
        super().__init__(f"rejected {len(self.positions)} item(s): {reason}")


class StoreError(LinegateError):
    """A record cannot be written (disk full, I/O error, damaged file)."""


class Refused(LinegateError):
    """A command was not carried out.  `code` is stable, the text says why and what to do next."""

    def __init__(self, code: str, message: str, **facts: object) -> None:
        self.code = code
        self.facts = facts
        super().__init__(message)


class VerifyError(LinegateError):
    """Evidence does not hold; `index` is the first bad record, None where it is not one record."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)
