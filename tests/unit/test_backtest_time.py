"""The data's own time: ticks that are passed over change nothing, and a replay says what the line said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backtest_kit import START, S, line
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from line_kit import LINE, RECIPE, Kit

from gateway.backtest.flow import Flow
from gateway.backtest.player import GRID_NS, Player
from gateway.backtest.ruleset import ruleset
from gateway.backtest.run import play
from gateway.backtest.terms import Notes, Wish
from gateway.config.reading import Settings, load
from gateway.model import Entry, Fault, Json, Quality, Scan, TagSet, Value
from gateway.rules.base import Closure
from gateway.rules.engine import Engine
from gateway.store.telemetry_file import TelemetryFile
from gateway.verdicts import Finding, Verdict

EVERY_KIND = """\
derived:
  more:
    tags:
      over: {kind: expr, expr: "t - q(60, 'Cel')", inputs: {t: oven/temperature}, unit: K}
      still: {kind: unchanged, input: oven/temperature, by: 0.5}
      hot: {kind: expr, expr: "t > q(65, 'Cel')", inputs: {t: oven/temperature}, truth: true}
rules:
  hot: {kind: limit, input: oven/temperature, limits: {unit: Cel, warn_high: 60, high: 70}, halt: press, deadband: 1,
        on_delay: 2500ms, off_delay: 1700ms}
  power: {kind: limit, input: oven/power, limits: {unit: "%", low: 20, high: 80}, bad_for: 4s, bad_input: warn}
  quietly: {kind: limit, input: oven/power, limits: {unit: "%", warn_high: 70}, bad_input: ignore, on_delay: 300ms}
  force: {kind: limit, input: press/force, limits: {unit: V, high: 70}, strict: true}
  silent: {kind: stale, input: oven, after: 5200ms}
  press-silent: {kind: stale, input: press/force, after: 700ms, severity: warn}
  open: {kind: condition, input: oven/open, on_delay: 1500ms, off_delay: 900ms}
  opened: {kind: condition, input: oven/open, on_delay: 6s, bad_for: 2s, bad_input: warn, halt: press}
  over: {kind: limit, input: more/over, limits: {unit: K, high: 5}, on_delay: 1s, bad_input: ignore}
  still: {kind: limit, input: more/still, limits: {unit: s, high: 4}}
  warm: {kind: condition, input: more/hot, on_delay: 1200ms}
  chart: {kind: spc, input: oven/temperature, every: 2s, n: 1, chart: i-mr, process: {center: 60, sigma: 4}}
"""

Told = list[tuple[int, Finding]]


class Made:
    """Scans of a test as a source."""

    def __init__(self, scans: Sequence[Scan]) -> None:
        self._scans = scans
        self.tags: Mapping[str, frozenset[str]] = {scan.tagset.device: frozenset(scan.tagset.tags) for scan in scans}
        self.values = 0

    def scans(self) -> Iterator[Scan]:
        yield from self._scans


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(line(tmp_path_factory.mktemp("line"), EVERY_KIND))


def told(settings: Settings, scans: Sequence[Scan], *, every_tick: bool) -> tuple[Told, int]:
    """What was said, and how many ticks there were."""
    source, notes, heard = Made(scans), Notes(), Told()
    rules = ruleset(settings, {name: frozenset(each.tags) for name, each in settings.tagsets.items()}, Wish(()), notes)
    flow = Flow([source], {"oven": (1.0, 2.5), "press": (1.0, 2.5)}, notes)
    player = Player(rules, lambda ns, found: heard.append((ns - START, found)), every_tick=every_tick)
    for scan in flow:
        player.take(scan)
    return heard, player.ticks


NUMBERS = st.sampled_from([None, 15.0, 50.0, 60.5, 64.0, 66.0, 71.0, 75.0])
MOMENTS = st.tuples(
    st.integers(0, 1),
    st.one_of(st.integers(1, 30).map(lambda n: n * 50), st.integers(1, 12_000)),
    NUMBERS,
    NUMBERS,
    st.sampled_from([True, False, None]),
    st.sampled_from([Quality.BAD, Quality.UNCERTAIN]),
)


def scans_of(settings: Settings, moments: Sequence[tuple[Any, ...]]) -> list[Scan]:
    """Each so many milliseconds after the last."""
    time_ns, found = START, list[Scan]()
    for which, step_ms, first, second, flag, quality in moments:
        tagset = settings.tagsets[("oven", "press")[which]]
        values: tuple[Value, ...] = (first, second, flag)[: len(tagset.tags)] if not which else (first, flag)
        faults = {at: Fault(Quality.BAD, "broken") for at, value in enumerate(values) if value is None}
        if quality is Quality.UNCERTAIN and 0 not in faults:
            faults[0] = Fault(quality, "settling")
        time_ns += step_ms * 1_000_000
        found.append(Scan(tagset, 0, time_ns, time_ns, values, faults))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moments=st.lists(MOMENTS, min_size=1, max_size=40))
@example(moments=[(0, 1000, 71.0, 50.0, True, Quality.BAD), (0, 12_000, 50.0, 50.0, False, Quality.BAD)])
@example(moments=[(0, 50, 71.0, 50.0, True, Quality.BAD), (1, 50, 50.0, None, True, Quality.BAD)] * 20)
def test_ticks_that_are_passed_over_change_nothing(every_kind: Settings, moments: list[tuple[Any, ...]]) -> None:
    """Whatever comes and does not come, every verdict, its text and its time are those of a tick each 100 ms."""
    scans = scans_of(every_kind, moments)

    fast, _ = told(every_kind, scans, every_tick=False)
    slow, _ = told(every_kind, scans, every_tick=True)

    assert fast == slow


def test_most_ticks_are_passed_over(every_kind: Settings) -> None:
    """An hour at one scan a second: a few ticks at the beginning, not thirty-six thousand."""
    calm = [(0, 1000, 62.0 + second % 7, 50.0, False, Quality.BAD) for second in range(3600)]
    rows = [each for one in calm for each in (one, (1, 1, 50.0, None, True, Quality.BAD))]

    fast, ticks = told(every_kind, scans_of(every_kind, rows), every_tick=False)
    slow, all_ticks = told(every_kind, scans_of(every_kind, rows), every_tick=True)

    assert fast == slow
    assert all_ticks > 36_000
    assert ticks < all_ticks / 3


class Third:
    """A judge of a third party that says nothing of when it rests."""

    dirty = False

    def __init__(self) -> None:
        self.ticked: list[int] = []

    def plan(self, tagset: TagSet) -> Closure | None:
        return None

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        self.ticked.append(now_ns)
        return ()

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        return ()

    def current(self) -> Verdict | None:
        return None

    def dump(self) -> Json:
        return None

    def load(self, state: Json) -> None: ...


def test_a_judge_that_does_not_say_is_ticked_always(every_kind: Settings) -> None:
    """A third party's rule has every tick of the line's, a tenth of a second apart on a grid."""
    judge = Third()
    tags = {name: frozenset(each.tags) for name, each in every_kind.tagsets.items()}
    engine = Engine({"third": judge}, every_kind.tagsets.values())
    rules = msgspec.structs.replace(ruleset(every_kind, tags, Wish(()), Notes()), engine=engine, deriver=None)
    player = Player(rules, lambda _ns, _found: None)
    for scan in scans_of(every_kind, [(0, 1000, 50.0, 50.0, False, Quality.BAD)] * 4):
        player.take(scan)

    assert judge.ticked == [START + S + n * GRID_NS for n in range(1, 30)]


# -- what the line said --------------------------------------------------------------------------------

LIVE_RULES = """\
rules:
  hot: {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 90}, halt: filler}
  slow: {kind: limit, input: oven/temperature,
         limits: {unit: Cel, warn_high: 64, high: 70}, on_delay: 1s, off_delay: 1s}
  silent: {kind: stale, input: oven, after: 2s}
  weight: {kind: limit, input: balance/net, limits: {unit: g, high: 2}, bad_for: 3s}
"""


@pytest.mark.looptime(start=1000)
async def test_a_replay_says_what_the_line_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oven that heats, breaks its sensor, loses its cable and cools: each verdict of the line again, at its time."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cart.yaml").write_text(RECIPE)
    (tmp_path / "line.yaml").write_text(LINE[: LINE.index("rules:")] + LIVE_RULES)
    live = list[tuple[int, Verdict]]()
    judge = Engine.judge

    def listen(engine: Engine, event: Any, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        found = judge(engine, event, now_ns, wall_ns)
        live.extend((now_ns, each) for each in found if isinstance(each, Verdict))
        return found

    monkeypatch.setattr(Engine, "judge", listen)
    async with Kit(tmp_path) as kit:
        for temperature in (62.0, 67.0, 80.0, 95.0, None, 62.0):
            kit.oven["temperature"] = temperature
            await asyncio.sleep(4)
        kit.machines["oven"].link = False
        await asyncio.sleep(8)
        kit.machines["oven"].link = True
        await asyncio.sleep(15)
        kept, configured = kit.telemetry.kept, kit.settings
    monkeypatch.undo()
    file = TelemetryFile(tmp_path / "telemetry.db", "boot", max_bytes=2**26)
    file.store(kept)
    file.db.close()
    shift_ns = kept[0].mono_ns - kept[0].time_ns
    again = list[tuple[int, Verdict]]()

    play(configured, Wish([tmp_path / "telemetry.db"]), tell=lambda ns, each: again.append((ns + shift_ns, each)))  # type: ignore[arg-type]

    for rule in ("hot", "slow", "silent", "weight"):
        then = [(ns, each.severity) for ns, each in live if each.rule == rule]
        now = [(ns, each.severity) for ns, each in again if each.rule == rule]
        assert [each[1] for each in now] == [each[1] for each in then]
        assert len(then) == {"hot": 5, "slow": 8, "silent": 5, "weight": 1}[rule]
        assert all(abs(a[0] - b[0]) <= 100_000_000 for a, b in zip(then, now, strict=True))
