"""Run rules: patterns that a process in control hardly ever draws, looked for at each new point.

Western Electric, Statistical Quality Control Handbook (1956), tests 1-4; Nelson, Journal of Quality Technology 16
(1984) 237-239.  A point is its distance from the centre in standard deviations of what is plotted, so that subgroups of
different sizes can stand in one row.  Conventions: package docstring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

Points = Sequence[float]
"""The newest points, oldest first; the last one is what is judged."""


class RunRule(msgspec.Struct, frozen=True):
    """One pattern."""

    name: str
    text: str
    length: int
    """Points it looks at."""
    holds: Callable[[Points], bool]
    """Of so many points, or of fewer where `partial`."""
    partial: bool = False
    """M of n may be complete before n points are there."""


def _beyond(sigmas: float, enough: int) -> Callable[[Points], bool]:
    """So many of the points beyond so many sigmas on the side of the last one, which is one of them."""

    def holds(points: Points) -> bool:
        side = 1 if points[-1] > 0 else -1
        return points[-1] * side > sigmas and sum(point * side > sigmas for point in points) >= enough

    return holds


def _one_side(points: Points) -> bool:
    return all(point > 0 for point in points) or all(point < 0 for point in points)


def _trend(points: Points) -> bool:
    steps = [second - first for first, second in pairwise(points)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _alternating(points: Points) -> bool:
    steps = [second - first for first, second in pairwise(points)]
    return all(first * second < 0 for first, second in pairwise(steps))


def _hugging(points: Points) -> bool:
    return all(abs(point) < 1 for point in points)


def _avoiding(points: Points) -> bool:
    return all(abs(point) > 1 for point in points)


_LIST: Final = (
    RunRule("we1", "a point beyond 3 sigma", 1, _beyond(3, 1)),
    RunRule("we2", "2 of 3 points beyond 2 sigma on one side", 3, _beyond(2, 2), partial=True),
    RunRule("we3", "4 of 5 points beyond 1 sigma on one side", 5, _beyond(1, 4), partial=True),
    RunRule("we4", "8 points in a row on one side of the centre", 8, _one_side),
    RunRule("nelson1", "a point beyond 3 sigma", 1, _beyond(3, 1)),
    RunRule("nelson2", "9 points in a row on one side of the centre", 9, _one_side),
    RunRule("nelson3", "6 points in a row going up, or down", 6, _trend),
    RunRule("nelson4", "14 points in a row going up and down in turn", 14, _alternating),
    RunRule("nelson5", "2 of 3 points beyond 2 sigma on one side", 3, _beyond(2, 2), partial=True),
    RunRule("nelson6", "4 of 5 points beyond 1 sigma on one side", 5, _beyond(1, 4), partial=True),
    RunRule("nelson7", "15 points in a row within 1 sigma", 15, _hugging),
    RunRule("nelson8", "8 points in a row beyond 1 sigma, on either side", 8, _avoiding),
)
RUN_RULES: Final[Mapping[str, RunRule]] = {rule.name: rule for rule in _LIST}
SETS: Final[Mapping[str, tuple[str, ...]]] = {
    "western-electric": ("we1", "we2", "we3", "we4"),
    "nelson": tuple(f"nelson{number}" for number in range(1, 9)),
}


def named(names: Iterable[str]) -> tuple[RunRule, ...]:
    """The rules of these names and sets, each once.  ValueError names those there are."""
    flat = dict.fromkeys(each for name in names for each in SETS.get(name, (name,)))
    for name in flat:
        if name not in RUN_RULES:
            raise ValueError(f"no run rule is called {name!r}; there are: {', '.join((*SETS, *RUN_RULES))}")
    return tuple(RUN_RULES[name] for name in flat)


class Runs:
    """The newest points of one chart, and the rules that look at them.

    Two and four out of so many count fewer points, too, while there are only so many: 2 of 2 are 2 of 3.
    """

    def __init__(self, rules: Sequence[RunRule]) -> None:
        self._rules = tuple(rules)
        self._points: deque[float] = deque(maxlen=max((rule.length for rule in rules), default=1))

    def add(self, z: float) -> tuple[RunRule, ...]:
        """The rules that the newest point completes."""
        self._points.append(z)
        points = list(self._points)
        return tuple(rule for rule in self._rules if self._complete(rule, points))

    @staticmethod
    def _complete(rule: RunRule, points: list[float]) -> bool:
        return (rule.partial or len(points) >= rule.length) and rule.holds(points[-rule.length :])

    def reset(self) -> None:
        """A recalibration, a new phase: what was before is another process."""
        self._points.clear()

    def dump(self) -> list[float]:
        return list(self._points)

    def load(self, points: Iterable[float]) -> None:
        self._points.clear()
        self._points.extend(points)
