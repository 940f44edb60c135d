"""The gateway, with two ways to die from within.

SIGUSR1: the loop is blocked by a call that never returns.  SIGUSR2: the thread that keeps the evidence hangs.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.cli import main as cli
from gateway.store.writer import Writer

WRITERS: list[Writer] = []
_begin = Writer.__init__


def _noted(self: Writer, *arguments: object) -> None:
    _begin(self, *arguments)  # type: ignore[arg-type]
    WRITERS.append(self)


def _block(*_: object) -> None:
    time.sleep(3600)


def _hang(*_: object) -> None:
    for writer in WRITERS:
        writer.post(lambda: threading.Event().wait())


Writer.__init__ = _noted  # type: ignore[method-assign, assignment]
signal.signal(signal.SIGUSR1, _block)
signal.signal(signal.SIGUSR2, _hang)
cli.main()
