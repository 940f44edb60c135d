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
ROW: Final = 12
"""Height of a row of marks."""
MOST_ROWS: Final = 6
LETTER: Final = 5.0
"""Width of a letter, about."""
LABEL: Final = 11
"""Height of a label."""
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

    def __init__(self, span: tuple[int, int], levels: tuple[float, float], height: int, top: int = TOP) -> None:
        self.since, self.until = span
        self.low, self.high = levels
        self.top = top
        """Room for two rows of marks; more of them are more room, not less chart."""
        self.height = height + top - TOP
        self.parts: list[str] = []
        self.labels: list[str] = []
        """Drawn last: no line goes through what is written."""

    @property
    def floor(self) -> float:
        return self.height - BOTTOM

    def x(self, time_ns: int) -> float:
        share = (time_ns - self.since) / max(1, self.until - self.since)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.floor - share * (self.floor - self.top), 1)

    def add(self, part: str) -> None:
        self.parts.append(part)

    def line(self, name: str, *at: float) -> None:
        x1, y1, x2, y2 = at
        self.add(f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def text(self, name: str, x: float, y: float, words: str) -> None:
        self.add(_text(name, x, y, words))

    def label(self, name: str, x: float, y: float, words: str) -> None:
        """A text over everything else."""
        self.labels.append(_text(name, x, y, words))

    def svg(self, title: str) -> str:
        size = f'width="{WIDTH - LEFT - RIGHT}" height="{self.floor - self.top}"'
        frame = f'<rect class="frame" x="{LEFT}" y="{self.top}" {size}/>'
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}{frame}{''.join(self.labels)}</svg>"
        )


def _text(name: str, x: float, y: float, words: str) -> str:
    return f'<text class="{name}" x="{x}" y="{y}">{escape(words)}</text>'


def trend(
    title: str, points: Sequence[Point], limits: Sequence[Limit], span: tuple[int, int], *,
    halts: Sequence[Span] = (), marks: Sequence[Mark] = (), height: int = 166,
) -> str:  # fmt: skip
    """A tag over the run, broken where nothing or nothing good came."""
    values = [value for _, value in points if value is not None]
    canvas = _canvas(span, _levels([*values, *(limit.value for limit in limits)]), height, marks)
    _background(canvas, halts, marks)
    _gaps(canvas, gaps(points, span))
    _axes(canvas)
    _limits(canvas, limits)
    for piece in _pieces(points, span):
        path = " ".join(f"{canvas.x(time)},{canvas.y(value)}" for time, value in _thinned(piece))
        canvas.add(f'<polyline class="series" points="{path}"/>')
        if len(piece) == 1:
            x, y = canvas.x(piece[0][0]), canvas.y(piece[0][1])
            canvas.add(f'<circle class="series-dot" cx="{x}" cy="{y}" r="1.6"/>')
    if not values:
        canvas.label("empty", (LEFT + WIDTH - RIGHT) / 2, height / 2, "no good value in the run")
    return canvas.svg(title)


def control(
    title: str, dots: Sequence[Dot], limits: Sequence[Limit], span: tuple[int, int], *,
    halts: Sequence[Span] = (), marks: Sequence[Mark] = (), missed: Sequence[Mark] = (), height: int = 260,
) -> str:  # fmt: skip
    """The fill-weight chart: every sample, each plan's limits, failed ones crossed, missed checks below."""
    levels = _levels([*(dot.value for dot in dots), *(limit.value for limit in limits)])
    canvas = _canvas(span, levels, height, marks)
    _background(canvas, halts, marks)
    _axes(canvas)
    _limits(canvas, limits)
    for dot in dots:
        canvas.add(_dot(canvas.x(dot.time_ns), canvas.y(dot.value), dot))
    for one in missed:
        x, y = canvas.x(one.time_ns), canvas.floor - 24
        told = f"<title>{escape(one.text)}</title>"
        canvas.add(f'<rect class="missed" x="{x - 4}" y="{y - 4}" width="8" height="8">{told}</rect>')
        canvas.label("missed-text", x + 8, y + 4, one.label)
    if not dots:
        canvas.label("empty", (LEFT + WIDTH - RIGHT) / 2, height / 2, "no weighing was judged in the run")
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


def _canvas(span: tuple[int, int], levels: tuple[float, float], height: int, marks: Sequence[Mark]) -> Canvas:
    """With room above for as many rows of marks as there are."""
    rows = max((row for row, _ in _rows(Canvas(span, levels, height), marks)), default=0) + 1
    return Canvas(span, levels, height, TOP + ROW * max(0, rows - 2))


def _rows(canvas: Canvas, marks: Sequence[Mark]) -> list[tuple[int, bool]]:
    """(row, is there room for its label) of each mark: the lowest row where nothing stands yet."""
    ends: list[float] = []
    placed = []
    for mark in marks:
        x = canvas.x(mark.time_ns)
        row = next((number for number, end in enumerate(ends) if x >= end), len(ends))
        if row == MOST_ROWS:  # a flood of them: all are drawn, and named by their title
            placed.append((row - 1, False))
            continue
        ends[row : row + 1] = [x + 12 + 6.5 * len(mark.label)]
        placed.append((row, True))
    return placed


def _background(canvas: Canvas, halts: Sequence[Span], marks: Sequence[Mark]) -> None:
    for halt in halts:
        x, width = canvas.x(halt.since_ns), canvas.x(halt.until_ns) - canvas.x(halt.since_ns)
        canvas.add(
            f'<rect class="halt" x="{x}" y="{canvas.top}" width="{max(width, 1.5)}" '
            f'height="{canvas.floor - canvas.top}"><title>{escape(halt.text)}</title></rect>'
        )
        canvas.line("halt-edge", x, canvas.top, x, canvas.floor)
    _halt_names(canvas, halts)
    for mark, (row, named) in zip(marks, _rows(canvas, marks), strict=True):
        x, y = canvas.x(mark.time_ns), canvas.top - 7 - ROW * row
        name = "grave" if mark.grave else "mild"
        canvas.line(f"mark-line {name}", x, y, x, canvas.floor)
        canvas.add(f'<path class="mark {name}" d="M{x - 4} {y - 6}h8l-4 7z"><title>{escape(mark.text)}</title></path>')
        if named:
            canvas.label(f"mark-text {name}", x + 6, y + 1, mark.label)


def _halt_names(canvas: Canvas, halts: Sequence[Span]) -> None:
    """At the foot of its edge, left of it near the rim; above a name that stands there already."""
    ends: list[list[tuple[float, float]]] = []
    for halt in halts:
        x, length = canvas.x(halt.since_ns), LETTER * len(halt.text)
        left = x + 4 + length > WIDTH - RIGHT
        first, last = (x - 4 - length, x - 4) if left else (x + 4, x + 4 + length)
        free = (n for n, row in enumerate(ends) if all(last < a or first > b for a, b in row))
        row = next(free, len(ends))
        ends[row : row + 1] = [[*(ends[row] if row < len(ends) else []), (first, last)]]
        canvas.label("halt-text left" if left else "halt-text", last if left else first, _foot(canvas, row), halt.text)


def _foot(canvas: Canvas, row: int) -> float:
    return round(max(canvas.top + LABEL, canvas.floor - 5 - LABEL * row), 1)


def _gaps(canvas: Canvas, found: Sequence[Span]) -> None:
    """Each is drawn; its words where there is room for them."""
    written = float(LEFT)
    for gap in found:
        x, until = canvas.x(gap.since_ns), canvas.x(gap.until_ns)
        size = f'width="{until - x:.1f}" height="{canvas.floor - canvas.top}"'
        canvas.add(f'<rect class="gap" x="{x}" y="{canvas.top}" {size}><title>{escape(gap.text)}</title></rect>')
        for edge in (x, until):
            canvas.line("gap-edge", edge, canvas.top, edge, canvas.floor)
        half = LETTER * len(gap.text) / 2
        middle = min(max((x + until) / 2, LEFT + half), WIDTH - RIGHT - half)
        if middle - half >= written:
            canvas.label("gap-text", round(middle, 1), canvas.top + 13, gap.text)
            written = middle + half + 4


def _axes(canvas: Canvas) -> None:
    levels = _ticks(canvas.low, canvas.high, 5)
    places = max((-int(Decimal(f"{value:g}").normalize().as_tuple().exponent) for value in levels), default=0)
    for value in levels:
        y = canvas.y(value)
        canvas.line("grid", LEFT, y, WIDTH - RIGHT, y)
        canvas.label("tick-y", LEFT - 7, y + 3.5, f"{value:.{max(0, places)}f}")
    for time in _time_ticks(canvas.since, canvas.until):
        x = canvas.x(time)
        canvas.line("tick", x, canvas.floor, x, canvas.floor + 4)
        canvas.label("tick-x", x, canvas.floor + 16, clock(time)[:8])


def _limits(canvas: Canvas, limits: Sequence[Limit]) -> None:
    ordered = sorted(limits, key=lambda one: -one.value)
    for limit, at in zip(
        ordered, _spread([canvas.y(limit.value) for limit in ordered], canvas.height - 6), strict=True
    ):
        y, edge = canvas.y(limit.value), WIDTH - RIGHT
        canvas.line(f"level {limit.kind}", LEFT, y, edge, y)
        canvas.add(f'<path class="leader" d="M{edge} {y}L{edge + 8} {at}h4"/>')
        canvas.label(f"level-text {limit.kind}", edge + 15, at + 3.5, limit.text)


def _spread(wanted: Sequence[float], floor: float) -> list[float]:
    """Places from the top down, as near to the wanted ones as their labels can stand without touching."""
    places = list(wanted)
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + LABEL)
    below = floor
    for number in reversed(range(len(places))):
        places[number] = round(min(places[number], below), 1)
        below = places[number] - LABEL
    return places


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
