"""The timeline of a scenario as inline SVG: steps, faults, alarms, halts and records, one lane each.  Pure.

The time axis is that of the plots below it (gateway/batch/plots.py), so that what stands above each other happened
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from gateway.batch.plots import LEFT, RIGHT, WIDTH, Canvas
from gateway.hil.results import Outcome, Stroke
from gateway.hil.timeline import LANES

ROW: Final = 16
_PAD: Final = 5
_LETTER: Final = 5.3
"""Mean width of a letter at the size of the labels."""
_MOST_LABELS: Final = 3
"""Rows of names in the lane of records; what does not fit keeps its mark and its tooltip."""


def lanes(outcome: Outcome) -> str:
    """The drawing; empty lanes are left out."""
    span = span_ns(outcome)
    shown = [(lane, [each for each in outcome.strokes if each.lane == lane]) for lane in LANES]
    placed = [
        (lane, _placed(strokes, span, moments=lane in ("steps", "records"))) for lane, strokes in shown if strokes
    ]
    heights = [ROW * (1 + max(row for row, _ in rows)) + 2 * _PAD for _, rows in placed]
    canvas = Canvas(span, (0.0, 1.0), sum(heights) + 30)
    top = 4.0
    for (lane, rows), height in zip(placed, heights, strict=True):
        _lane(canvas, lane, rows, top, height)
        top += height
    _axis(canvas, top)
    _step_lines(canvas, shown[0][1], top)
    title = f"Timeline of {outcome.title}"
    return (
        f'<svg class="plot lanes" viewBox="0 0 {WIDTH} {canvas.height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(canvas.parts)}</svg>"
    )


def span_ns(outcome: Outcome) -> tuple[int, int]:
    """From the beginning of the story to its last event, in ns since it began."""
    ends_s = [each.until_s for each in outcome.strokes]
    last_s = max(ends_s + [one.points[-1][0] / 1e9 for one in outcome.drawn if one.points], default=1.0)
    return 0, round(max(1.0, last_s + 0.2) * 1e9)


def _placed(strokes: Sequence[Stroke], span: tuple[int, int], *, moments: bool) -> list[tuple[int, Stroke]]:
    """Each stroke with its row: the first one where it and its name have room."""
    canvas = Canvas(span, (0.0, 1.0), 0)
    ends: list[float] = []
    found: list[tuple[int, Stroke]] = []
    for stroke in sorted(strokes, key=lambda each: each.since_s):
        x = _x(canvas, stroke.since_s)
        row = next((at for at, end in enumerate(ends) if x >= end), len(ends))
        if moments and row >= _MOST_LABELS:
            found.append((0, Stroke(stroke.lane, stroke.since_s, stroke.until_s, "", stroke.grave)))
            continue
        if row == len(ends):
            ends.append(0.0)
        width = 12 + _LETTER * len(_label(stroke))
        ends[row] = max(x + width, _x(canvas, stroke.until_s) + 4)
        found.append((row, stroke))
    return found


def _label(stroke: Stroke) -> str:
    return stroke.text if len(stroke.text) <= 46 else stroke.text[:44] + "…"


def _x(canvas: Canvas, seconds: float) -> float:
    return canvas.x(round(seconds * 1e9))


def _lane(canvas: Canvas, lane: str, rows: Sequence[tuple[int, Stroke]], top: float, height: float) -> None:
    canvas.add(f'<rect class="lane" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{height}"/>')
    canvas.text("lane-name", LEFT - 7, top + _PAD + 11, lane)
    for row, stroke in rows:
        y = top + _PAD + ROW * row
        canvas.add(_moment(canvas, stroke, y) if stroke.since_s == stroke.until_s else _bar(canvas, stroke, y))


def _moment(canvas: Canvas, stroke: Stroke, y: float) -> str:
    x, name = _x(canvas, stroke.since_s), "grave" if stroke.grave else "plain"
    told = f"<title>{escape(f'{stroke.since_s:.2f} s  {stroke.text}')}</title>"
    mark = f'<path class="moment {name}" d="M{x} {y + 1}v{ROW - 4}">{told}</path>'
    return f'{mark}<text class="moment-text {name}" x="{x + 4}" y="{y + 11}">{escape(_label(stroke))}</text>'


def _bar(canvas: Canvas, stroke: Stroke, y: float) -> str:
    x, end = _x(canvas, stroke.since_s), _x(canvas, stroke.until_s)
    told = f"<title>{escape(f'{stroke.since_s:.2f} to {stroke.until_s:.2f} s  {stroke.text}')}</title>"
    name = f"bar {stroke.lane}"
    rect = f'<rect class="{name}" x="{x}" y="{y + 1}" width="{max(end - x, 2):.1f}" height="{ROW - 4}">{told}</rect>'
    return f'{rect}<text class="bar-text" x="{x + 4}" y="{y + 11}">{escape(_label(stroke))}</text>'


def _axis(canvas: Canvas, top: float) -> None:
    seconds = canvas.until / 1e9
    step = next(one for one in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600, 86400) if seconds / one <= 16)
    for at in range(0, int(seconds) + 1, step):
        x = _x(canvas, at)
        canvas.line("tick", x, top, x, top + 4)
        canvas.text("tick-x", x, top + 16, f"{at} s")


def _step_lines(canvas: Canvas, steps: Sequence[Stroke], bottom: float) -> None:
    for stroke in steps:
        x = _x(canvas, stroke.since_s)
        canvas.line("step-line", x, 4, x, bottom)
