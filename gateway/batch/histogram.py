"""A small histogram of what was measured, against its limits, as inline SVG.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, inf, sqrt
from typing import Final, NamedTuple

WIDTH, HEIGHT, FLOOR, TOP, SIDE = 250, 74, 58, 6, 24
LEAST_BINS, MOST_BINS, INSIDE = 7, 40, 10
NEAR: Final = 48
"""Limits nearer than this have their numbers outside."""
_PAD: Final = 0.06
"""Of the width, left and right of what is shown."""
_HAIR: Final = 1e-9
"""Of a bar's width: nearer to its edge is on it, whatever binary fractions make of it."""


class Edges(NamedTuple):
    """Where bars of equal width begin."""

    first: float
    width: float
    bins: int

    def x(self, value: float) -> float:
        return round(SIDE + (value - self.first) / (self.width * self.bins) * (WIDTH - 2 * SIDE), 1)


def histogram(title: str, values: Sequence[str], low: str | None, high: str | None) -> str:
    """Bars of equal width; limits as lines with their numbers; all values and all limits are within."""
    numbers = [float(value) for value in values]
    if not numbers:
        return ""
    told = {name: text for name, text in (("low", low), ("high", high)) if text is not None}
    ends = {name: float(text) for name, text in told.items()}
    edges = _edges(numbers, ends)
    parts = [*_bars(numbers, edges, ends)]
    parts.append(f'<line class="hist-floor" x1="{SIDE}" y1="{FLOOR}" x2="{WIDTH - SIDE}" y2="{FLOOR}"/>')
    near = len(ends) == 2 and edges.x(ends["high"]) - edges.x(ends["low"]) < NEAR
    for name, text in told.items():
        x = edges.x(ends[name])
        anchor = ("end" if name == "low" else "start") if near else "middle"
        parts.append(f'<line class="hist-limit" x1="{x}" y1="{TOP - 4}" x2="{x}" y2="{FLOOR + 3}"/>')
        parts.append(f'<text class="hist-text" x="{x}" y="{HEIGHT - 3}" text-anchor="{anchor}">{escape(text)}</text>')
    head = f'<svg class="hist" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _bars(numbers: Sequence[float], edges: Edges, ends: Mapping[str, float]) -> list[str]:
    counts, red = [0] * edges.bins, set[int]()
    for number in numbers:
        place = _place(number, edges, ends)
        counts[place] += 1
        red |= {place} if _beyond(number, ends) else set()
    width = (WIDTH - 2 * SIDE) / edges.bins
    tallest = max(counts)
    bars = []
    for place, count in enumerate(counts):
        if count:
            height = max(1.5, (FLOOR - TOP) * count / tallest)
            name = "hist-bar beyond" if place in red else "hist-bar"
            at = f'x="{SIDE + place * width + 0.4:.1f}" y="{FLOOR - height:.1f}"'
            size = f'width="{width - 0.8:.1f}" height="{height:.1f}"'
            bars.append(f'<rect class="{name}" {at} {size}><title>{count}</title></rect>')
    return bars


def _place(number: float, edges: Edges, ends: Mapping[str, float]) -> int:
    """Its bar.  Where bars end at a limit, one exactly on it is within, as it is for who judges it."""
    place = (number - edges.first) / edges.width
    edge = round(place)
    if abs(place - edge) < _HAIR:
        place = edge - (number == ends.get("high"))
    return min(edges.bins - 1, max(0, int(place)))


def _beyond(number: float, ends: Mapping[str, float]) -> bool:
    return number < ends.get("low", -inf) or number > ends.get("high", inf)


def _edges(numbers: Sequence[float], ends: Mapping[str, float]) -> Edges:
    """Bars that begin and end at the limits, where there are two and the values do not lie too far off."""
    shown = [*numbers, *ends.values()]
    low, high = min(shown), max(shown)
    if len(ends) == 2 and ends["high"] > ends["low"]:
        tolerance = ends["high"] - ends["low"]
        inside = min(INSIDE, floor((MOST_BINS - 4) * tolerance / (high - low)))
        if inside:
            width = tolerance / inside
            below, above = (ceil((ends["low"] - low) / width) + 1, ceil((high - ends["high"]) / width) + 1)
            return Edges(ends["low"] - below * width, width, below + inside + above)
    pad = (high - low) * _PAD or abs(low) * _PAD or 1.0
    bins = min(MOST_BINS, max(LEAST_BINS, 2 * floor(sqrt(len(numbers))) + 1))
    return Edges(low - pad, (high - low + 2 * pad) / bins, bins)
