"""What a person sees while the demo runs: the line, live, and the story beside it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.errors import LinegateError

STATES = {
    1: "Clearing", 2: "Stopped", 3: "Starting", 4: "Idle", 5: "Suspended", 6: "Execute", 7: "Stopping", 8: "Aborting",
    9: "Aborted", 10: "Holding", 11: "Held", 12: "Unholding", 13: "Suspending", 14: "Unsuspending", 15: "Resetting",
    16: "Completing", 17: "Complete",
}  # fmt: skip
"""PackML (OPC 30050 v1.01)."""


class Screen(Protocol):
    """Where the story goes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *failure: object) -> None: ...
    def say(self, at_s: float, text: str) -> None: ...
    def waiting(self, what: str) -> None: ...
    def watch(self, status: Callable[[], dict[str, Any]]) -> None: ...
    def after(self, text: str) -> None: ...


def make_screen(*, plain: bool) -> Screen:
    return Plain() if plain else Rich()


class Plain:
    """One line for each event: for logs and CI."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None: ...

    def say(self, at_s: float, text: str) -> None:
        print(f"{at_s:6.1f} s  {text}", flush=True)

    def waiting(self, what: str) -> None: ...

    def watch(self, status: Callable[[], dict[str, Any]]) -> None: ...

    def after(self, text: str) -> None:
        print(text, flush=True)


class Rich:
    """The live screen; a thread asks the gateway four times a second."""

    def __init__(self) -> None:
        self._console = Console()
        self._lines: deque[str] = deque(maxlen=14)
        self._told: list[str] = []
        self._waiting = ""
        self._status: Callable[[], dict[str, Any]] | None = None
        self._seen: dict[str, Any] = {}
        self._end = threading.Event()
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._draw)
        self._thread = threading.Thread(target=self._look, name="screen", daemon=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        del failure
        self._end.set()
        self._thread.join(5)
        self._live.__exit__(None, None, None)

    def say(self, at_s: float, text: str) -> None:
        self._lines.append(f"{at_s:6.1f} s  {text}")

    def waiting(self, what: str) -> None:
        self._waiting = what

    def watch(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def after(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def _look(self) -> None:
        while not self._end.wait(0.25):
            if self._status is not None:
                try:
                    self._seen = self._status()
                except LinegateError:
                    self._seen = {}

    def _draw(self) -> Group:
        line = Layout()
        line.split_row(Layout(self._values(), name="values"), Layout(self._troubles(), name="troubles"))
        story = Panel("\n".join(self._lines), title="what happens", title_align="left", height=16)
        footer = Text(f" waiting: {self._waiting}", style="dim")
        return Group(Panel(line, title=self._title(), title_align="left", height=14), story, footer)

    def _title(self) -> str:
        batch = self._seen.get("batch") or {}
        mes = self._seen.get("mes") or {}
        records = (self._seen.get("gateway") or {}).get("records", 0)
        lag = max(0, int(records) - 1 - int(mes.get("committed_upto", -1)))
        return (
            f"Linegate  batch {batch.get('batch', '-')} {batch.get('state', '')}  "
            f"{batch.get('units', 0)}/{batch.get('ordered', 0)} units  tray {batch.get('tray') or '-'}  "
            f"records {records}, MES lags {lag}"
        )

    def _values(self) -> Table:
        table = Table(box=None, expand=True, show_header=False, pad_edge=False)
        latest = self._seen.get("latest") or {}
        for tag in (
            "reservoir/temperature",
            "viscometer/viscosity",
            "oil/viscosity_62",
            "balance/net",
            "filler/state",
            "filler/units",
            "filler/speed",
            "labeller/state",
            "labeller/labels",
        ):
            seen = latest.get(tag)
            table.add_row(tag, _shown(tag, seen))
        checks = self._seen.get("checks") or {}
        table.add_row("checks due", ", ".join(f"{each['id']} ({each['why']})" for each in checks.values()) or "none")
        return table

    def _troubles(self) -> Table:
        table = Table(box=None, expand=True, show_header=False)
        for halt in (self._seen.get("halts") or {}).values():
            table.add_row(Text("HALT", style="bold white on red"), f"{halt['device']} {halt['state']}: {halt['text']}")
        for alarm in (self._seen.get("alarms") or {}).values():
            style = "bold red" if alarm["priority"] in ("high", "critical") else "yellow"
            table.add_row(Text(alarm["state"], style=style), alarm["text"])
        if not table.row_count:
            table.add_row(Text("no alarms", style="green"), "")
        return table


def _shown(tag: str, seen: dict[str, Any] | None) -> Text:
    if seen is None:
        return Text("not yet", style="dim")
    if seen.get("value") is None:
        return Text(str(seen.get("fault", "bad")), style="red")
    if tag.endswith("/state"):
        return Text(STATES.get(int(seen["value"]), str(seen["value"])))
    value = seen["value"]
    number = f"{value:.1f}" if isinstance(value, float) else str(value)
    unit = "" if seen["unit"] in ("1", "{count}") else f" {seen['unit']}"
    return Text(number + unit, style="yellow" if "fault" in seen else "")
