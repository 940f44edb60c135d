"""`linegate listen`: what a balance says, line by line, and which dialect it speaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.errors import DeviceError, LinegateError

if TYPE_CHECKING:
    from gateway.drivers.balance.listen import Opinion
    from gateway.drivers.transport import StreamUrl
    from gateway.drivers.wire.weighing import Message

_SHOWN: Final = 48
"""Bytes of one line that are shown."""
_LONGEST_S: Final = 86_400.0


def add_to(app: typer.Typer) -> None:
    """Hang the command into the top-level one."""
    app.command("listen")(listen)


def listen(
    url: Annotated[str, typer.Argument(help="serial:///dev/ttyUSB0?baudrate=9600 or tcp://host:port")],
    seconds: Annotated[float, typer.Option(help="how long to listen (with --scan: to each setting)", min=0.1)] = 10.0,
    ask: Annotated[
        bool, typer.Option("--ask", help="ask for weight and name in each dialect; without it nothing is written")
    ] = False,
    scan: Annotated[bool, typer.Option("--scan", help="serial: try the usual baud rates and parities")] = False,
) -> None:
    """Show what a balance sends, raw and as each dialect reads it, and name the dialect."""
    from gateway.drivers.balance.kind import SCHEMES
    from gateway.drivers.transport import parse_url

    try:
        port = parse_url(url, SCHEMES)
    except ValueError as error:
        raise LinegateError(str(error)) from None
    if not seconds < _LONGEST_S:  # nan too
        raise LinegateError(f"--seconds {seconds:g}: write a number below {_LONGEST_S:g}")
    if scan and not port.serial:
        raise LinegateError(f"{url}: a TCP port has no baud rate to try; leave --scan away")
    raise typer.Exit(_scan(port, seconds, ask=ask) if scan else _live(port, seconds, ask=ask))


def _questions(*, ask: bool) -> list[bytes]:
    from gateway.drivers.balance.listen import QUESTIONS

    return [question for questions in QUESTIONS.values() for question in questions] if ask else []


def _hear(port: StreamUrl, seconds: float, *, ask: bool, show: Callable[[bytes], None] | None = None) -> bytes:
    """What came, until the time is up, the line is lost, or somebody presses Ctrl-C."""
    from gateway.drivers.balance.listen import MOST, listen

    kept = bytearray()

    def hear(data: bytes) -> None:
        kept.extend(data[: MOST - len(kept)])
        if show is not None:
            show(data)

    try:
        asyncio.run(listen(port, seconds, hear, _questions(ask=ask)))
    except KeyboardInterrupt:
        print()
    except DeviceError as error:
        if not kept:
            raise
        print(f"{error}; what came before it is looked at")
    return bytes(kept)


def _live(port: StreamUrl, seconds: float, *, ask: bool) -> int:
    from gateway.drivers.balance.listen import shown, verdict

    said = "asking in each dialect" if ask else "nothing is written to the line"
    print(f"listening to {shown(port)} for {seconds:g} s; {said}; Ctrl-C ends it sooner")
    printer = _Printer()
    data = _hear(port, seconds, ask=ask, show=printer.take)
    printer.rest()
    return _conclude(port, data, verdict(data), ask=ask, scanned=False)


def _scan(port: StreamUrl, seconds: float, *, ask: bool) -> int:
    from rich.progress import track

    from gateway.drivers.balance.listen import opinions, settings, shown, verdict

    best: tuple[StreamUrl, bytes] = (port, b"")
    for each in track(settings(port), description="settings", transient=True):
        data = _hear(each, seconds, ask=ask)
        first = opinions(data)[0]
        print(f"{shown(each)}: {len(data)} bytes, {first.weights} weights in {first.lines} lines of {first.dialect}")
        if opinions(data)[0].score > opinions(best[1])[0].score:
            best = (each, data)
        if verdict(data) is not None:
            break
    return _conclude(*best, verdict(best[1]), ask=ask, scanned=True)


def _conclude(port: StreamUrl, data: bytes, found: Opinion | None, *, ask: bool, scanned: bool) -> int:
    """The end: who it is and what to write into line.yaml; or what to try next.  Returns the exit code."""
    from gateway.drivers.balance.listen import opinions, snippet

    if found is None:
        print(_advice(data, ask=ask, scanned=scanned or not port.serial))
        return 1
    print("\ndialect   weights  score")
    for opinion in opinions(data):
        print(f"{opinion.dialect:<9} {opinion.weights:>7}  {opinion.score:5.2f}")
    print(f"\nit speaks {found.dialect}: {found.weights} of {found.lines} lines are weights; for line.yaml:\n")
    print(snippet(port, found.dialect, data, streams=not ask and found.weights > 2), end="")
    return 0


def _advice(data: bytes, *, ask: bool, scanned: bool) -> str:
    if not data:
        what = "nothing came"
        hint = "press PRINT at the balance while this runs" + ("" if ask else ", or let it be asked with --ask")
    elif any(byte >= 0x80 for byte in data):
        what = "what came has bytes above 7F: baud rate or parity differ"
        hint = "compare them with the balance's menu" + ("" if scanned else ", or try --scan")
    else:
        what = "no dialect reads most of what came"
        hint = "look at the balance's menu for its protocol (MT-SICS, SBI, standard), or show longer with --seconds"
    return f"\n{what}; {hint}"


class _Printer:
    """Live lines: seconds, bytes, text, and who reads it how."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._show(line + b"\n")
        while len(self._rest) > _SHOWN:
            self._show(self._rest[:_SHOWN])
            self._rest = self._rest[_SHOWN:]

    def rest(self) -> None:
        """What has no line end yet."""
        if self._rest:
            self._show(self._rest)

    def _show(self, raw: bytes) -> None:
        from gateway.drivers.balance.listen import NAMES, readings

        print(f"{time.monotonic() - self._began_s:8.3f}  {raw.hex(' ')}\n          {raw.decode('latin-1')!a}")
        found = readings(raw.rstrip(b"\r\n"))
        read = {name: each for name, each in found.items() if each.error or (each.id and each.id not in NAMES)}
        for name, message in read.items():
            print(f"          {name}: {_said(message)}")
        if not read:
            texts = any(each.id in NAMES for each in found.values())
            print("          a text: a name, or the head of a printed record" if texts else "          nobody reads it")


def _said(message: Message) -> str:
    if message.value is None:
        return message.reason or message.text or message.id
    state = message.reason or "stable"
    beside = f" [{message.text}]" if message.text else ""
    return f"{message.value} {message.unit or '(no unit)'}, {state}{beside}"
