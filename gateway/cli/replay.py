"""`linegate replay`: recorded telemetry through a rule set: what would have been warned, alarmed, halted, and when."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.backtest.compare import Difference
    from gateway.backtest.run import Result, Watch
    from gateway.backtest.terms import Wish
    from gateway.verdicts import Finding

    Write = Callable[[dict[str, Any]], None]

RULE_FILES = (".yaml", ".yml")
WIDTH = 160
"""Columns of what goes into a file or a pipe."""


def add_to(app: typer.Typer) -> None:
    """Hang the command into the top-level one."""
    app.command("replay")(replay)


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="RULES DATA...", help="line.yaml, then state folders, CSV or Parquet files")
    ],
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="OLD NEW", help="two rule files; then name data only")
    ] = None,
    recipe: Annotated[str, typer.Option(help="id of the recipe; without it the only one there is")] = "",
    batch: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="a fact of the batch: number=B-1, uid=..., again")
    ] = None,
    since: Annotated[str, typer.Option("--from", help="time to begin at, like 2026-11-02T08:00:00Z")] = "",
    until: Annotated[str, typer.Option("--to", help="time to end at")] = "",
    timezone: Annotated[str | None, typer.Option(help="whose clock times without a zone are: Europe/Berlin")] = None,
    time_format: Annotated[str, typer.Option(help="of files: iso, s, ms, us, ns or %d.%m.%Y %H:%M:%S")] = "iso",
    gap: Annotated[str, typer.Option(help="a device without a scan for so long is away: 30s")] = "",
    speed: Annotated[str, typer.Option(help="max, or times the data's own pace")] = "max",
    checks: Annotated[
        bool, typer.Option("--checks", help="judge sampling plans also where the data hold no takes")
    ] = False,
    jsonl: Annotated[str, typer.Option(help="where the lines of JSON go; - is standard output")] = "-",
    report: Annotated[Path | None, typer.Option(help="write a page with charts")] = None,
) -> None:
    """Replay recorded telemetry through rules: what would have been warned, alarmed, halted, and when."""
    from gateway.backtest.run import play
    from gateway.config.reading import load
    from gateway.errors import LinegateError

    rules, data = _sorted(files, compare)
    wish = _wish(data, recipe, batch or [], since, until, timezone, time_format, gap, checks=checks)
    pace = _speed(speed)
    _spare([*rules, *data], {"--jsonl": None if jsonl == "-" else Path(jsonl), "--report": report})
    settings = [load(path) for path in rules]
    with _lines(jsonl) as write, _progress() as watch:
        told = None if compare else _tell(write)
        results = [play(each, wish, tell=told, watch=watch, charts=report is not None, speed=pace) for each in settings]
        differences = _differences(results, write) if compare else None
    _show(results, differences, to_stderr=jsonl == "-")
    if report is not None:
        from gateway.backtest.page import page

        try:
            report.write_text(page(results, differences), encoding="utf-8")
        except OSError as error:
            raise LinegateError(f"--report {report}: cannot be written: {error.strerror}") from None
        print(f"report: {report}", file=sys.stderr)


def _sorted(files: list[Path], compare: tuple[Path, Path] | None) -> tuple[list[Path], list[Path]]:
    """Rule files, and data."""
    from gateway.errors import LinegateError

    rules, data = ([*compare], files) if compare else (files[:1], files[1:])
    wrong = next((path for path in data if path.suffix in RULE_FILES), None)
    if wrong is not None:
        how = "with --compare OLD NEW name data only" if compare else "two rule files are compared by --compare OLD NEW"
        raise LinegateError(f"{wrong} is a rule file, not data: {how}")
    if not data:
        raise LinegateError(f"no data: linegate replay {rules[0]} STATE_FOLDER, or a CSV or Parquet file")
    return rules, data


def _spare(read: list[Path], targets: dict[str, Path | None]) -> None:
    """LinegateError: a target is one of the files that are read."""
    from gateway.errors import LinegateError

    stores = {
        place / name for path in read for place in (path, path.parent) for name in ("telemetry.db", "evidence.db")
    }
    kept = {path.resolve() for path in (*read, *stores)}
    for option, target in targets.items():
        if target is not None and target.resolve() in kept:
            raise LinegateError(f"{option} {target}: is read by this replay; name another file")


def _wish(
    data: list[Path],
    recipe: str,
    facts: list[str],
    since: str,
    until: str,
    timezone: str | None,
    time_format: str,
    gap: str,
    *,
    checks: bool,
) -> Wish:
    from gateway.backtest.terms import Wish
    from gateway.errors import LinegateError
    from gateway.units import duration_s

    batch = dict(fact.split("=", 1) for fact in facts if "=" in fact)
    if len(batch) < len(facts):
        raise LinegateError(f"--batch takes a name and a value, as number=B-1; there is {facts}")
    try:
        gap_s = duration_s(gap) if gap else None
        times = [_time(text, timezone) for text in (since, until)]
    except ValueError as error:
        raise LinegateError(str(error)) from None
    return Wish(data, recipe, batch, times[0], times[1], timezone, time_format, gap_s, checks)


def _time(text: str, timezone: str | None) -> int | None:
    from gateway.drivers.replay.times import NoZoneError, Times

    if not text:
        return None
    try:
        return Times("iso", timezone).ns(text)
    except NoZoneError:
        raise ValueError(f"{text!r} names no zone: write 2026-11-02T08:00:00Z, or say --timezone") from None
    except KeyError:
        raise ValueError(f"there is no time zone {timezone!r}; write one like Europe/Berlin") from None


def _speed(text: str) -> float | None:
    from gateway.errors import LinegateError

    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise LinegateError(f"--speed {text}: write a number above 0 (1 is the data's own pace), or max")
    return speed


@contextmanager
def _lines(target: str) -> Iterator[Write]:
    """One JSON document a line."""
    from decimal import Decimal

    from gateway.errors import LinegateError

    def plain(value: object) -> object:
        return str(value) if isinstance(value, Decimal) else value

    def writer(file: Any) -> Write:
        return lambda document: file.write(json.dumps(document, ensure_ascii=False, default=plain) + "\n")

    if target == "-":
        yield writer(sys.stdout)
        sys.stdout.flush()
        return
    try:
        with Path(target).open("w", encoding="utf-8") as file:
            yield writer(file)
    except OSError as error:
        raise LinegateError(f"--jsonl {target}: cannot be written: {error.strerror}") from None


def _tell(write: Write) -> Callable[[int, Finding], None]:
    from gateway.backtest.story import line

    return lambda time_ns, finding: write(line(time_ns, finding))


def _differences(results: list[Result], write: Write) -> list[Difference]:
    from gateway.backtest.compare import compare, line

    found = compare(*(result.story.episodes for result in results))
    for each in found:
        write(line(each))
    return found


@contextmanager
def _progress() -> Iterator[Watch]:
    """Values, rate and time left, on the terminal's own line; nothing where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from gateway.backtest.terms import stamp

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{task.completed:,.0f} values" + (f", {speed:,.0f}/s" if speed else ""))

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:

        class Bar:
            task = None

            def begin(self, values: int) -> None:
                self.task = progress.add_task("replay", total=max(1, values))

            def at(self, values: int, time_ns: int) -> None:
                if self.task is not None:
                    said = stamp(time_ns)[:19].replace("T", " ") if time_ns else "replay"
                    progress.update(self.task, completed=values, description=said)

        yield Bar()


def _show(results: list[Result], differences: list[Difference] | None, *, to_stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=to_stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=to_stderr, highlight=False, width=WIDTH)
    for result in results:
        console.print(_summary(result))
        for name, why in result.rules.left_out.items():
            console.print(f"left out: {name}: {why}", markup=False)
        for text in result.notes.texts:
            console.print(f"note: {text}", markup=False)
        console.print(_figures(result), markup=False)
    if differences is not None:
        same = "no difference" if results[0].flow.scans else "nothing to compare"
        said = f"{same}: {', '.join(_names(results))}"
        console.print(_compared(results, differences) if differences else said, markup=False)


def _summary(result: Result) -> Table:
    from rich.table import Table
    from rich.text import Text

    from gateway.batch.records import lasted

    table = Table(title=Text(f"{result.rules.name}: what would have been"), title_justify="left")
    for head in ("rule", "warned", "alarmed", "halted", "first", "last", "longest", "halts"):
        number = head in ("warned", "alarmed", "halted")
        table.add_column(head, justify="right" if number else "left", no_wrap=number or head in ("first", "last"))
    for each in sorted(result.story.summaries.values(), key=lambda one: one.silent):
        first, last = (_short(at, result) for at in (each.first_ns, each.last_ns))
        longest = lasted(each.longest_ns) if each.longest_ns else "-"
        counts = (str(count) if count else "-" for count in (each.warned, each.alarmed, each.halted))
        cells = (each.rule, *counts, first, last, longest, ", ".join(each.halts) or "-")
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _short(time_ns: int | None, result: Result) -> str:
    """The time of day where all of the data is of one day."""
    from gateway.backtest.terms import stamp

    if time_ns is None:
        return "-"
    one_day = stamp(result.flow.first_ns or 0)[:10] == stamp(result.flow.last_ns)[:10]
    return stamp(time_ns)[11:-3] if one_day else stamp(time_ns)[:19].replace("T", " ")


def _figures(result: Result) -> str:
    from gateway.backtest.terms import stamp

    flow = result.flow
    if flow.first_ns is None:
        return "nothing in the data in this time"
    rate = flow.values / result.took_s if result.took_s else 0
    return (
        f"{flow.values:,} values in {flow.scans:,} scans, {stamp(flow.first_ns)} to {stamp(flow.last_ns)}, "
        f"{result.story.verdicts:,} verdicts, in {result.took_s:.2f} s ({rate:,.0f} values/s)"
    )


def _names(results: list[Result]) -> list[str]:
    return [str(result.rules.settings.path) for result in results]


def _compared(results: list[Result], differences: list[Difference]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from gateway.backtest.terms import stamp

    table = Table(
        title=f"{len(differences)} difference(s)", title_justify="left", caption=Text(" -> ".join(_names(results)))
    )
    for head in ("time", "rule", "difference"):
        table.add_column(head)
    for each in differences:
        table.add_row(stamp(each.since_ns), Text(each.rule), Text("; ".join(each.words())))
    return table
