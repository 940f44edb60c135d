"""What is seen while scenarios are played: one row each, live; or plain lines for logs and CI."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.hil.play import Tell
from gateway.hil.results import Outcome, Result


class Progress(Protocol):
    """Told of everything, from several threads."""

    def teller(self, name: str) -> Tell: ...
    def done(self, outcome: Outcome) -> None: ...
    def say(self, text: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def measured(result: Result) -> str:
    """`0.42 s of 2 s`."""
    if result.measured_s is None:
        return ""
    limit = f" of {result.within_s:g} s" if result.within_s is not None else ""
    return f"{result.measured_s:.2f} s{limit}"


class Plain:
    """One line for each thing that happens."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None: ...

    def say(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def teller(self, name: str) -> Tell:
        def tell(what: str, result: Result | None = None) -> None:
            if result is None:
                self.say(f"{name}: {what}")
            else:
                said = f" ({result.said})" if result.said and not result.ok else ""
                self.say(f"{name}:   {result.word} {measured(result):>16}  {what}{said}")

        return tell

    def done(self, outcome: Outcome) -> None:
        self.say(f"{outcome.name}: {'PASSED' if outcome.ok else 'FAILED'} in {outcome.lasted_s:.1f} s")


class Rich:
    """The live table; what is finished scrolls away above it."""

    def __init__(self) -> None:
        self._console = Console()
        self._rows: dict[str, tuple[float, str, int]] = {}
        self._live = Live(console=self._console, refresh_per_second=5, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        del failure
        self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def teller(self, name: str) -> Tell:
        began_s = time.monotonic()

        def tell(what: str, result: Result | None = None) -> None:
            _, last, count = self._rows.get(name, (began_s, "", 0))
            seen = count + 1 if result is not None and result.ok else count
            self._rows[name] = (began_s, last if result is not None else what, seen)

        return tell

    def done(self, outcome: Outcome) -> None:
        self._rows.pop(outcome.name, None)
        word = Text("passed", style="green") if outcome.ok else Text("FAILED", style="bold white on red")
        self._console.print(Text.assemble(word, f" {outcome.lasted_s:6.1f} s  {outcome.title}"))
        if outcome.first_failure:
            bad = outcome.first_failure
            self._console.print(Text(f"         {bad.sentence}: {bad.said}", style="red"))

    def _draw(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, (began_s, what, seen) in sorted(self._rows.items()):
            age = f"{time.monotonic() - began_s:5.0f} s"
            table.add_row(Text(name, style="bold"), age, Text(f"{seen} seen", style="green"), what)
        return table
