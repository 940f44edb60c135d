"""One backtest from its wish to its result: sources opened, rules made ready, every scan played."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gateway.backtest.beside import beside
from gateway.backtest.curves import Curves
from gateway.backtest.flow import Flow, periods_s, steps_s
from gateway.backtest.player import Player, Tell
from gateway.backtest.ruleset import Ruleset, paced, ruleset
from gateway.backtest.stored import Stored
from gateway.backtest.story import Story
from gateway.backtest.table import open_table
from gateway.backtest.taken import Evidence, evidence
from gateway.backtest.terms import S_NS, Notes, Source, Wish, stamp
from gateway.config.model import Settings
from gateway.errors import LinegateError
from gateway.model import Scan
from gateway.verdicts import Finding

TELL_EACH: Final = 2048
"""Scans between two words of progress."""
SLOTS: Final = 2.0
"""Periods without a scan, and then its budget, after which a device is away."""


class Watch(Protocol):
    """Told how far a replay is."""

    def begin(self, values: int) -> None: ...
    def at(self, values: int, time_ns: int) -> None: ...


class Result(msgspec.Struct, frozen=True):
    """What came of it."""

    rules: Ruleset
    story: Story
    flow: Flow
    notes: Notes
    curves: Curves | None
    took_s: float
    ticks: int


def play(
    settings: Settings,
    wish: Wish,
    *,
    tell: Tell | None = None,
    watch: Watch | None = None,
    charts: bool = False,
    speed: float | None = None,
    every_tick: bool = False,
) -> Result:
    """Replay the data of the wish through these rules.  ConfigError, LinegateError: what is wrong with either.

    `speed`: times the data's own pace; None: as fast as it can.
    """
    with _uncollected():
        return _play(settings, wish, tell, watch, charts=charts, speed=speed, every_tick=every_tick)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of values and no cycles among them: looking for some costs a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _play(
    settings: Settings,
    wish: Wish,
    tell: Tell | None,
    watch: Watch | None,
    *,
    charts: bool,
    speed: float | None,
    every_tick: bool,
) -> Result:
    notes = Notes()
    there = evidence(wish.data, wish, notes)
    wish = _whole(wish, there, notes)
    sources = beside([_opened(path, settings, wish, notes) for path in wish.data], settings.tagsets, notes)
    periods = periods_s(settings.devices, steps_s(sources), notes)
    settings = paced(settings, periods)
    rules = ruleset(settings, _tags(sources), wish, notes, there)
    flow = Flow(sources, _lasts(settings, wish), notes, wish.since_ns, wish.until_ns, there.busy)
    story = Story(rules.configs)
    curves = Curves(settings.tagsets, watched(rules)) if charts else None

    def hear(time_ns: int, finding: Finding) -> None:
        story.take(time_ns, finding)
        if tell is not None:
            tell(time_ns, finding)

    player = Player(rules, hear, every_tick=every_tick, see=curves.take if curves else None)
    if watch is not None:
        watch.begin(sum(source.values for source in sources))
    began_s = time.perf_counter()
    for scan in _paced(_shown(flow, flow, watch, TELL_EACH if speed is None else 1), speed):
        player.take(scan)
    if player.refused:
        notes.say(f"{player.refused} takes or entries fit no check under these rules; the first: {player.why_refused}")
    if left := player.left(wish.until_ns):
        notes.say(
            f"{len(left)} takes or entries are not judged: the data has no scan of their moment; "
            f"the first: {left[0].entry.rule}, {stamp(left[0].time_ns)}"
        )
    story.end(flow.last_ns)
    if watch is not None:
        watch.at(flow.values, flow.last_ns)
    return Result(rules, story, flow, notes, curves, time.perf_counter() - began_s, player.ticks)


def _whole(wish: Wish, there: Evidence, notes: Notes) -> Wish:
    """A batch whose checks are judged is replayed from its start on: units are counted from there."""
    if wish.since_ns is None or there.started_ns is None or there.started_ns >= wish.since_ns:
        return wish
    if there.ended_ns is not None and there.ended_ns < wish.since_ns:
        return wish
    notes.say(f"replayed from the start of the batch on, {stamp(there.started_ns)}: its units are counted from there")
    return msgspec.structs.replace(wish, since_ns=there.started_ns)


def _opened(path: Path, settings: Settings, wish: Wish, notes: Notes) -> Source:
    measured = {name: settings.tagsets[name] for name in settings.devices}
    if not path.exists():
        raise LinegateError(f"{path}: is not there; name a state folder, a telemetry.db, a CSV or a Parquet file")
    if not path.is_dir() and not path.is_file():  # a pipe or a device may never end, and cannot be read twice
        raise LinegateError(f"{path}: is no file; name a state folder, a telemetry.db, a CSV or a Parquet file")
    if path.is_dir() or path.suffix in (".db", ".sqlite"):
        return Stored(path, measured, wish, notes, frozenset(settings.derived))
    return open_table(path, measured, wish, notes)


def _tags(sources: Iterable[Source]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for source in sources:
        for device, tags in source.tags.items():
            found[device] = found.get(device, frozenset()) | tags
    return found


def _lasts(settings: Settings, wish: Wish) -> dict[str, tuple[float, float]]:
    return {
        name: (each.period_s, SLOTS * each.period_s + each.timeout_s if wish.gap_s is None else wish.gap_s)
        for name, each in settings.devices.items()
    }


def _shown(scans: Iterable[Scan], flow: Flow, watch: Watch | None, each: int) -> Iterator[Scan]:
    if watch is None:
        yield from scans
        return
    for count, scan in enumerate(scans):
        if not count % each:
            watch.at(flow.values, scan.mono_ns)
        yield scan


def _paced(scans: Iterable[Scan], speed: float | None) -> Iterator[Scan]:
    """Each scan when its time has come."""
    if speed is None:
        yield from scans
        return
    began_s, first_ns = time.monotonic(), None
    for scan in scans:
        first_ns = scan.mono_ns if first_ns is None else first_ns
        wait_s = began_s + (scan.mono_ns - first_ns) / S_NS / speed - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        yield scan


def watched(rules: Ruleset) -> list[str]:
    """The tags that rules look at, in the order of the rules; of a device all of its tags go without a chart."""
    names = dict.fromkeys(name for config in rules.configs.values() for name in config.inputs() if "/" in name)
    return [name for name in names if _kind(name, rules.settings) != "text"]


def _kind(name: str, settings: Settings) -> str:
    device, _, tag = name.partition("/")
    tagset = settings.tagsets[device]
    return tagset.specs[tagset.index[tag]].kind
