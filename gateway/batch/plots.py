"""Plots of a batch as inline SVG: readable in print, colour only for meaning, gaps shown as gaps.  Pure."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Final

import msgspec

from gateway.batch.records import clock, lasted

Point = tuple[int, float | None]
"""(Unix ns, value); None: the value was bad."""

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 1000, 52, 122, 30, 24
MOST_POINTS: Final = 1600
"""More are drawn as the lowest and highest of each bucket: no peak is lost."""


class Span(msgspec.Struct, frozen=True):
    """Something that lasted: a machine held, a device away."""

    since_ns: int
    until_ns: int
    text: str


class Mark(msgspec.Struct, frozen=True):
    """Something that happened at one moment; `label` is its short name in the tables."""

    time_ns: int
    label: str
    text: str
    grave: bool = False


class Limit(msgspec.Struct, frozen=True):
    """A level: `limit` red, `warning` dashed amber, `target` grey."""

    value: float
    text: str
    kind: str = "limit"


class Dot(msgspec.Struct, frozen=True):
    """One weighing."""

    time_ns: int
    value: float
    shape: str
    """circle or diamond, by plan."""
    failed: bool
    text: str


class Canvas:
    """Coordinates of one chart, and its parts as they are drawn."""

    def __init__(self, span: tuple[int, int], levels: tuple[float, float], height: int) -> None:
        self.since, self.until = span
        self.low, self.high = levels
        self.height = height
        self.parts: list[str] = []

    @property
    def floor(self) -> float:
        return self.height - BOTTOM

    def x(self, time_ns: int) -> float:
        share = (time_ns - self.since) / max(1, self.until - self.since)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.floor - share * (self.floor - TOP), 1)

    def add(self, part: str) -> None:
        self.parts.append(part)

    def line(self, name: str, *at: float) -> None:
        x1, y1, x2, y2 = at
        self.add(f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def text(self, name: str, x: float, y: float, words: str) -> None:
        self.add(f'<text class="{name}" x="{x}" y="{y}">{escape(words)}</text>')

    def svg(self, title: str) -> str:
        frame = f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{self.floor - TOP}"/>'
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}{frame}</svg>"
        )


def trend(
    title: str, points: Sequence[Point], limits: Sequence[Limit], span: tuple[int, int], *,
    halts: Sequence[Span] = (), marks: Sequence[Mark] = (), height: int = 166,
) -> str:  # fmt: skip
    """A tag over the run, broken where nothing or nothing good came."""
    values = [value for _, value in points if value is not None]
    canvas = Canvas(span, _levels([*values, *(limit.value for limit in limits)]), height)
    _background(canvas, halts, marks)
    for gap in gaps(points, span):
        _gap(canvas, gap)
    _axes(canvas)
    _limits(canvas, limits)
    for piece in _pieces(points, span):
        path = " ".join(f"{canvas.x(time)},{canvas.y(value)}" for time, value in _thinned(piece))
        canvas.add(f'<polyline class="series" points="{path}"/>')
        if len(piece) == 1:
            x, y = canvas.x(piece[0][0]), canvas.y(piece[0][1])
            canvas.add(f'<circle class="series-dot" cx="{x}" cy="{y}" r="1.6"/>')
    if not values:
        canvas.text("empty", (LEFT + WIDTH - RIGHT) / 2, height / 2, "no good value in the run")
    return canvas.svg(title)


def control(
    title: str, dots: Sequence[Dot], limits: Sequence[Limit], span: tuple[int, int], *,
    halts: Sequence[Span] = (), marks: Sequence[Mark] = (), missed: Sequence[Mark] = (), height: int = 260,
) -> str:  # fmt: skip
    """The fill-weight chart: every sample, each plan's limits, failed ones crossed, missed checks below."""
    canvas = Canvas(span, _levels([*(dot.value for dot in dots), *(limit.value for limit in limits)]), height)
    _background(canvas, halts, marks)
    _axes(canvas)
    _limits(canvas, limits)
    for dot in dots:
        canvas.add(_dot(canvas.x(dot.time_ns), canvas.y(dot.value), dot))
    for one in missed:
        x, y = canvas.x(one.time_ns), canvas.floor - 24
        told = f"<title>{escape(one.text)}</title>"
        canvas.add(f'<rect class="missed" x="{x - 4}" y="{y - 4}" width="8" height="8">{told}</rect>')
        canvas.text("missed-text", x + 8, y + 4, one.label)
    if not dots:
        canvas.text("empty", (LEFT + WIDTH - RIGHT) / 2, height / 2, "no weighing was judged in the run")
    return canvas.svg(title)


def gaps(points: Sequence[Point], span: tuple[int, int]) -> list[Span]:
    """Where nothing good came for more than three usual steps, inside the span."""
    good = [time for time, value in points if value is not None and span[0] <= time <= span[1]]
    usual = _usual_step(good)
    edges = [span[0], *good, span[1]]
    return [Span(a, b, f"no data {lasted(b - a)}") for a, b in itertools.pairwise(edges) if b - a > 3 * usual]


def _usual_step(times: Sequence[int]) -> float:
    steps = [b - a for a, b in itertools.pairwise(times)]
    return statistics.median(steps) if steps else 0.0


def _pieces(points: Sequence[Point], span: tuple[int, int]) -> list[list[tuple[int, float]]]:
    """Runs of good values with no gap and no bad value in them."""
    inside = [point for point in points if span[0] <= point[0] <= span[1]]
    usual = _usual_step([time for time, value in inside if value is not None])
    pieces: list[list[tuple[int, float]]] = []
    last: int | None = None
    for time, value in inside:
        if value is None:
            last = None
            continue
        if last is None or time - last > 3 * usual:
            pieces.append([])
        pieces[-1].append((time, value))
        last = time
    return pieces


def _thinned(piece: Sequence[tuple[int, float]]) -> Iterable[tuple[int, float]]:
    if len(piece) <= MOST_POINTS:
        return piece
    size = math.ceil(len(piece) * 2 / MOST_POINTS)
    chosen: list[tuple[int, float]] = []
    for start in range(0, len(piece), size):
        bucket = piece[start : start + size]
        ends = {min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])}
        chosen += sorted(ends)
    return chosen


def _levels(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _background(canvas: Canvas, halts: Sequence[Span], marks: Sequence[Mark]) -> None:
    for halt in halts:
        x, width = canvas.x(halt.since_ns), canvas.x(halt.until_ns) - canvas.x(halt.since_ns)
        canvas.add(
            f'<rect class="halt" x="{x}" y="{TOP}" width="{max(width, 1.5)}" height="{canvas.floor - TOP}">'
            f"<title>{escape(halt.text)}</title></rect>"
        )
        canvas.line("halt-edge", x, TOP, x, canvas.floor)
        canvas.text("halt-text", x + 4, canvas.floor - 5, halt.text)
    row_ends = [0.0, 0.0]
    for mark in marks:
        x = canvas.x(mark.time_ns)
        row = 0 if x >= row_ends[0] else 1
        row_ends[row] = x + 10 + 6 * len(mark.label)
        name, y = ("grave" if mark.grave else "mild"), 23 - 12 * row
        canvas.line(f"mark-line {name}", x, y, x, canvas.floor)
        canvas.add(f'<path class="mark {name}" d="M{x - 4} {y - 6}h8l-4 7z"><title>{escape(mark.text)}</title></path>')
        canvas.text(f"mark-text {name}", x + 6, y + 1, mark.label)


def _gap(canvas: Canvas, gap: Span) -> None:
    x, width = canvas.x(gap.since_ns), canvas.x(gap.until_ns) - canvas.x(gap.since_ns)
    canvas.add(f'<rect class="gap" x="{x}" y="{TOP}" width="{width}" height="{canvas.floor - TOP}"/>')
    for edge in (x, x + width):
        canvas.line("gap-edge", edge, TOP, edge, canvas.floor)
    canvas.text("gap-text", x + width / 2, TOP + 13, gap.text)


def _axes(canvas: Canvas) -> None:
    levels = _ticks(canvas.low, canvas.high, 5)
    places = max((-int(Decimal(f"{value:g}").normalize().as_tuple().exponent) for value in levels), default=0)
    for value in levels:
        y = canvas.y(value)
        canvas.line("grid", LEFT, y, WIDTH - RIGHT, y)
        canvas.text("tick-y", LEFT - 7, y + 3.5, f"{value:.{max(0, places)}f}")
    for time in _time_ticks(canvas.since, canvas.until):
        x = canvas.x(time)
        canvas.line("tick", x, canvas.floor, x, canvas.floor + 4)
        canvas.text("tick-x", x, canvas.floor + 16, clock(time)[:8])


def _limits(canvas: Canvas, limits: Sequence[Limit]) -> None:
    below = -1e9
    for limit in sorted(limits, key=lambda one: -one.value):
        y = canvas.y(limit.value)
        canvas.line(f"level {limit.kind}", LEFT, y, WIDTH - RIGHT, y)
        below = max(y + 3.5, below + 10.5)
        canvas.text(f"level-text {limit.kind}", WIDTH - RIGHT + 6, below, limit.text)


def _dot(x: float, y: float, dot: Dot) -> str:
    title = f"<title>{escape(dot.text)}</title>"
    name = "dot failed" if dot.failed else "dot"
    if dot.shape == "diamond":
        mark = f'<path class="{name}" d="M{x} {y - 5}l5 5l-5 5l-5 -5z">{title}</path>'
    else:
        mark = f'<circle class="{name}" cx="{x}" cy="{y}" r="3.2">{title}</circle>'
    if not dot.failed:
        return mark
    cross = f"M{x - 8} {y - 8}l16 16M{x + 8} {y - 8}l-16 16"
    return f'{mark}<path class="cross" d="{cross}"/>'


def _ticks(low: float, high: float, about: int) -> list[float]:
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step)
    return [round(index * step, 10) for index in range(first, math.floor(high / step) + 1)]


_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


def _time_ticks(since: int, until: int) -> list[int]:
    seconds = (until - since) / 1e9
    step = next((one for one in _STEPS_S if seconds / one <= 10), 86400 * 7) * 1_000_000_000
    return list(range(-(-since // step) * step, until + 1, step))
