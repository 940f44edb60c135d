"""The whole of `linegate hil`: read, play, tell, write reports, say whether all was seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from gateway.errors import LinegateError
from gateway.hil.house import house
from gateway.hil.junit import junit_xml
from gateway.hil.page import page
from gateway.hil.progress import Plain, Progress, Rich, measured
from gateway.hil.results import Outcome
from gateway.hil.scenario import Loaded, load_all
from gateway.units import duration_text

PASSED: Final = 0
FAILED: Final = 1


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    scenarios: Sequence[Path]
    target: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    list_only: bool = False
    jobs: int = 1
    folder: Path = Path("run/hil")
    seed: int | None = None
    plain: bool = True


def run(wish: Wish) -> int:
    """Exit code: 0 only if every expectation of every scenario was met.  ConfigError: a file cannot be played."""
    loaded = load_all(wish.scenarios)
    _distinct(loaded)
    if wish.list_only:
        _list(loaded)
        return PASSED
    progress: Progress = Plain(_write_line) if wish.plain or wish.target else Rich()
    with progress:
        outcomes = _on_target(loaded, wish.target, progress) if wish.target else _simulated(loaded, wish, progress)
    _summary(outcomes)
    _write(wish, outcomes)
    return PASSED if outcomes and all(each.ok for each in outcomes) else FAILED


def _write_line(text: str) -> None:
    print(text, flush=True)


def _distinct(loaded: Sequence[Loaded]) -> None:
    names: dict[str, Path] = {}
    for each in loaded:
        if each.name in names:
            raise LinegateError(f"two scenarios are called {each.name}: {names[each.name]} and {each.path}")
        names[each.name] = each.path
    if not loaded:
        raise LinegateError("there is no scenario in what was named; a scenario is a .yaml file")


def _simulated(loaded: Sequence[Loaded], wish: Wish, progress: Progress) -> list[Outcome]:
    found: dict[str, Outcome] = {}
    with house(wish.folder, width=wish.jobs, teller=progress.teller, seed=wish.seed) as built:
        futures = built.play(loaded)
        for future in as_completed(futures.values()):
            outcome = future.result()
            found[outcome.name] = outcome
            progress.done(outcome)
    return [found[each.name] for each in loaded]


def _on_target(loaded: Sequence[Loaded], target: Path, progress: Progress) -> list[Outcome]:
    from gateway.hil.real import play_real  # noqa: PLC0415  # what only a real line needs

    return play_real(loaded, target, progress)


def _list(loaded: Sequence[Loaded]) -> None:
    for each in loaded:
        story = each.scenario
        seen = sum(len(step.see) + len(step.never) for step in story.steps) + len(story.never)
        notes = [f"{len(story.steps)} steps", f"{seen} expectations", f"about {duration_text(story.takes)}"]
        notes += [f"on {each.line.stem if each.line else 'the demonstration'}"]
        notes += ["chaos"] if story.chaos else []
        notes += [] if story.real else ["simulated only"]
        print(f"{each.name}: {story.scenario}\n    {', '.join(notes)}")


def _summary(outcomes: Sequence[Outcome]) -> None:
    """Each expectation with its measured time; failures say what was there instead."""
    console = Console()
    for outcome in outcomes:
        console.print(
            f"\n{'passed' if outcome.ok else 'FAILED'}  {outcome.title}  ({outcome.file}, {outcome.lasted_s:.1f} s)",
            style="" if outcome.ok else "bold red",
            highlight=False,
            markup=False,
        )
        if outcome.starved:
            console.print(f"  nothing is known of the line: {outcome.starved}", style="yellow", highlight=False)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        for result in outcome.results:
            said = f": {result.said}" if result.said and not result.ok else ""
            style = "" if result.ok else "red" if result.reached else "dim"
            table.add_row(result.word, result.step, measured(result), f"{result.sentence}{said}", style=style)
        console.print(table, markup=False)
    passed = sum(outcome.ok for outcome in outcomes)
    seen = sum(result.ok for outcome in outcomes for result in outcome.results)
    total = sum(len(outcome.results) for outcome in outcomes)
    lasted_s = sum(outcome.lasted_s for outcome in outcomes)
    console.print(
        f"\n{passed} of {len(outcomes)} scenarios passed, {seen} of {total} expectations met, {lasted_s:.1f} s played",
        highlight=False,
    )


def _write(wish: Wish, outcomes: Sequence[Outcome]) -> None:
    for path, text in ((wish.junit, junit_xml), (wish.html, page)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(outcomes), encoding="utf-8")
            print(f"written: {os.fspath(path)}")
