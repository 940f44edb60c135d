"""A wall clock that only the gateway of a simulated line sees: libfaketime (Debian package faketime) in its process.

Steps are those of CLOCK_REALTIME alone.  The monotonic clock, and with it every timeout, stays the kernel's, and so do
the times of files, as where somebody sets a computer's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import LinegateError

_LIBRARY: Final = "libfaketimeMT.so.1"
_HOMES: Final = ("usr/lib/*/faketime", "usr/lib/faketime", "usr/lib64/faketime", "usr/local/lib/faketime")
_SHARED: Final = Path("/dev/shm")  # noqa: S108  # where the library leaves its segment when its process is killed


class OwnClock:
    """Steps the wall clock of processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """LinegateError: the library is not installed."""
        self.offset_s = 0.0
        """How far it is ahead of this computer's."""
        self._file = folder / "clock"
        self._library = _library()
        self._write()

    @property
    def environment(self) -> Mapping[str, str]:
        """The file is read at each look at the clock (4 us): a step is there at once, in all threads."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # a mend for glibc before 2.30, which makes Python's threads wait for each other far longer than they should
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: float) -> None:
        self.offset_s += seconds
        self._write()

    def set_right(self) -> None:
        """As this computer's again."""
        self.step(-self.offset_s)

    def _write(self) -> None:
        """Whole or not at all: a reader never sees half an offset."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self.offset_s:+.3f}")
        fresh.replace(self._file)


def forget(pid: int) -> None:
    """Take away what the library of a killed process left behind."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        (_SHARED / name).unlink(missing_ok=True)


def _library() -> Path:
    for home in _HOMES:
        for found in Path("/").glob(f"{home}/{_LIBRARY}"):
            return found
    raise LinegateError(f"{_LIBRARY} is not installed; `scripts/servers faketime` installs it")
