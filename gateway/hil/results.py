"""What came of a scenario: each expectation with its limit and its measured time, and the moments of the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.batch.plots import Limit, Point

Kind = Literal["do", "when", "see", "never", "begin", "end"]


@dataclass(frozen=True)
class Result:
    """One expectation, judged.  Times in seconds since its step."""

    step: str
    kind: Kind
    sentence: str
    ok: bool
    within_s: float | None = None
    measured_s: float | None = None
    said: str = ""
    """What was there instead; or what a person said."""
    reached: bool = True
    """False: the story ended before."""
    where: str = ""
    """`steps[2].see[0]`, as in the file."""

    @property
    def word(self) -> str:
        if not self.reached:
            return "not reached"
        return "passed" if self.ok else "failed"


@dataclass(frozen=True)
class Stroke:
    """Something on the timeline: seconds since the story began; a moment where both are the same."""

    lane: str
    since_s: float
    until_s: float
    text: str
    grave: bool = False


@dataclass(frozen=True)
class Drawn:
    """A tag for the report."""

    title: str
    points: Sequence[Point]
    """Seconds since the story began, in ns."""
    limits: Sequence[Limit]


@dataclass
class Outcome:
    """A whole scenario."""

    name: str
    title: str
    why: str = ""
    file: str = ""
    began: str = ""
    """Wall clock, ISO 8601 UTC."""
    lasted_s: float = 0.0
    results: list[Result] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    logs: Mapping[str, str] = field(default_factory=dict)
    """What is read after a failure."""
    line: str = ""
    """What it was played on."""
    starved: str = ""
    """It failed while the judge's own machine was denied processor time: how much.  Nothing is known of the line."""

    @property
    def ok(self) -> bool:
        return bool(self.results) and all(each.ok for each in self.results)

    @property
    def first_failure(self) -> Result | None:
        return next((each for each in self.results if not each.ok and each.reached), None)
