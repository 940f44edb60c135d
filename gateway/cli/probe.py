"""`linegate probe`: what a device holds, before anybody knows its map."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Annotated, Final, Self

import typer

from gateway.errors import LinegateError

if TYPE_CHECKING:
    from rich.console import Console

probe_app = typer.Typer(no_args_is_help=True, help="Look into a device whose map is not known yet; reads only.")
_LONGEST_S: Final = 60.0
_WINDOW = 6
"""Registers before and after the address of a manual that are looked at."""


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(probe_app, name="probe")


@probe_app.callback()
def _group() -> None:
    """Keeps `modbus` a word of its own while it is the only one."""


@probe_app.command("modbus")
def modbus(
    url: Annotated[str, typer.Argument(help="tcp://host:502, serial:///dev/ttyS1?baudrate=9600, rtu+tcp://host:4001")],
    unit: Annotated[int, typer.Option(help="unit id")] = 1,
    units: Annotated[str, typer.Option(help="find who answers: 1-247, or 1,2,5-9")] = "",
    table: Annotated[str, typer.Option(help="holding or input")] = "holding",
    first: Annotated[int | None, typer.Option("--from", help="first address, as on the wire (from 0)")] = None,
    last: Annotated[int | None, typer.Option("--to", help="last address")] = None,
    expect: Annotated[str, typer.Option(help="a value the display shows now: 86.4 (temperatures in Cel)")] = "",
    tolerance: Annotated[float | None, typer.Option(help="how far off it may be; half its last digit")] = None,
    manual: Annotated[int | None, typer.Option(help="the address the manual gives: 360, 40361; finds its base")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for each answer")] = 0.5,
    most: Annotated[int, typer.Option(help="registers in one request", min=1, max=125)] = 50,
) -> None:
    """Show registers in every interpretation; with a known value, find where and how it stands.

    `linegate probe modbus tcp://192.0.2.10:502 --expect 86.4 --from 0 --to 999` prints the tags that would read 86.4
    now, the most plausible first. `--manual 40361` besides tells whether the manual counts from 0 or from 1.
    """
    if table not in ("holding", "input"):
        raise LinegateError(f"--table is holding or input, not {table!r}")
    if not 0 < timeout <= _LONGEST_S:
        raise LinegateError(f"--timeout {timeout:g}: write seconds above 0, at most {_LONGEST_S:g}")
    try:
        if units:
            asyncio.run(_units(url, _numbers(units), table, timeout))
            return
        stretch = _stretch(first, last, manual, searched=bool(expect))
        words: dict[int, int] = {}
        with suppress(KeyboardInterrupt):  # a long scan may be cut short: what was read is shown
            asyncio.run(_read(url, unit, table, stretch, most, timeout, words))
        _show(words, stretch, table, expect, tolerance, manual)
    except ValueError as error:
        raise LinegateError(str(error)) from None


def _numbers(text: str) -> list[int]:
    """`1-247`, `1,2,5-9`.  ValueError where it is neither."""
    found: list[int] = []
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        if not piece.isascii() or not low.strip().isdecimal() or not (high or low).strip().isdecimal():
            raise ValueError(f"--units {text}: write numbers like 1-247 or 1,2,5-9")
        if max(int(low), int(high or low)) > 255:
            raise ValueError(f"--units {text}: units go from 1 to 247 (255 behind a TCP port)")
        found += range(int(low), int(high or low) + 1)
    if not found:
        raise ValueError(f"--units {text}: the smaller number goes first, like 1-247")
    return found


def _stretch(first: int | None, last: int | None, manual: int | None, *, searched: bool) -> range:
    if manual is not None and first is None:
        at = manual % 100_000 if manual > 99_999 else manual
        at = at % 10_000 if 30_000 < at < 50_000 else at
        first, last = max(0, at - _WINDOW), at + _WINDOW
    first = first or 0
    last = last if last is not None else first + (199 if searched else 31)
    if not 0 <= first <= last <= 65535:
        raise ValueError(f"--from {first} --to {last}: addresses go from 0 to 65535, the smaller one first")
    return range(first, last + 1)


async def _units(url: str, units: list[int], table: str, timeout_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from gateway.drivers.modbus.probe import probing, who_answers

    with _progress(f"asking {len(units)} units", len(units)) as done:
        async with probing(url, timeout_s) as probe:
            found = await who_answers(probe, units, table, done)
    if not found:
        raise LinegateError(f"{url}: nobody answers; look at baud rate and parity, the wires, or --timeout")
    shown = Table("unit", "says")
    for unit, text in found.items():
        shown.add_row(str(unit), text)
    Console().print(shown)


async def _read(
    url: str, unit: int, table: str, stretch: range, most: int, timeout_s: float, words: dict[int, int]
) -> None:
    from gateway.drivers.modbus.probe import probing, read_range

    with _progress(f"reading {table} registers {stretch[0]}-{stretch[-1]}", len(stretch)) as done:
        async with probing(url, timeout_s) as probe:
            await read_range(probe, unit, table, stretch, most, words, done)


class _progress:  # noqa: N801  # reads as a block: `with _progress(...) as done`
    """A bar on the terminal's error side; nothing where that is a file."""

    def __init__(self, text: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(text, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __call__(self, settled: int) -> None:
        self._bar.advance(self._task, settled)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _show(
    words: dict[int, int], stretch: range, table: str, expect: str, tolerance: float | None, manual: int | None
) -> None:
    from rich.console import Console

    from gateway.drivers.modbus.guess import tolerance_of

    console = Console()
    if not console.is_terminal:
        console = Console(width=220)  # a file is read with a wider eye
    if not words:
        raise LinegateError(f"no {table} register from {stretch[0]} to {stretch[-1]} can be read; try others")
    if expect:
        try:
            near = tolerance if tolerance is not None else tolerance_of(expect)
        except ValueError:
            raise ValueError(f"--expect {expect}: write a number like 86.4") from None
        if not 0 <= near < inf:
            raise ValueError(f"--tolerance {near:g}: write a number, 0 or above")
        _found(console, words, table, float(expect), near, manual)
    else:
        _raw(console, words)
    unread = len(stretch) - len(words)
    if unread:
        console.print(f"{unread} of {len(stretch)} registers cannot be read there.")


def _found(
    console: Console, words: dict[int, int], table: str, expected: float, tolerance: float, manual: int | None
) -> None:
    """The tags that would read the value that is known."""
    from gateway.drivers.modbus.guess import base_of, matches

    found = matches(words, expected, tolerance)
    if manual is not None:
        found.sort(key=lambda match: base_of(match.address, manual) is None)
    if not found:
        raise LinegateError(
            f"{expected:g} (give or take {tolerance:g}) stands nowhere in these {len(words)} registers; "
            "look at more (--from, --to), at the other --table, or allow for more (--tolerance)"
        )
    console.print(f"# {len(found)} way(s) to read {expected:g}, the most plausible first; addresses as on the wire")
    for match in found[:12]:
        base = base_of(match.address, manual) if manual is not None else None
        told = f"   # the manual's {manual}: base: {base}" if base is not None else ""
        value = f"   # = {match.value:.7g}, raw {match.raw:.7g}, {match.bits:.0f} bits"
        line = f"value: {match.settings(base or 0, table)}{value}{told}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _raw(console: Console, words: dict[int, int]) -> None:
    from rich.table import Table

    from gateway.drivers.modbus.guess import ORDERS, interpretations

    small = Table("address", "hex", "u16", "i16", "high, low byte", "bits", "text", title="one register")
    large = Table("address", title="two registers")
    huge = Table("address", title="four registers")
    for kinds, shown in ((("f32", "i32", "u32"), large), (("f64", "i64", "u64"), huge)):
        for kind in kinds:
            for order in ORDERS:
                shown.add_column(f"{kind} {order}", justify="right")
    for address, word in sorted(words.items()):
        read = interpretations(words, address)
        pair = word.to_bytes(2, "big")
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in pair).replace("[", r"\[")
        signed = str(int(read["i16", "AB CD"]))
        small.add_row(
            str(address),
            f"{word:04x}",
            str(word),
            signed,
            f"{pair[0]}, {pair[1]}",
            f"{word:016b}",
            text.replace("[", r"\["),
        )
        for kinds, shown in ((("f32", "i32", "u32"), large), (("f64", "i64", "u64"), huge)):
            if (kinds[0], "AB CD") in read:
                shown.add_row(str(address), *(f"{read[kind, order]:.7g}" for kind in kinds for order in ORDERS))
    for shown in (small, large, huge):
        if shown.row_count:
            console.print(shown)
