"""One control chart's life: subgroups in, points and signals out; its limits found once and then frozen.

phase I (no signals) --enough subgroups--> frozen limits --point by point--> signals
         ^                                        |
         +--- recalibration: begins anew          +--- recalibration: patterns and memories begin anew
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from gateway.rules.spc import limits as lim
from gateway.rules.spc.constants import LARGEST_N
from gateway.rules.spc.cusum import Cusum, CusumTerms
from gateway.rules.spc.ewma import Ewma, EwmaTerms
from gateway.rules.spc.limits import Limits, Process
from gateway.rules.spc.runs import RunRule, Runs

ChartKind = Literal["xbar-r", "xbar-s", "i-mr", "ewma", "cusum", "p"]
LEAST_POINTS: Final = 2


class Phase(msgspec.Struct, frozen=True):
    """A phase I: so many subgroups of a process held to be in control."""

    name: str
    points: int = 25


class Plotted(msgspec.Struct, frozen=True):
    """One mark on one chart."""

    name: str
    """mean, range, deviation, value, moving range, average, share, upper sum, lower sum."""
    value: float
    limits: Limits


class Point(msgspec.Struct, frozen=True):
    """What one subgroup said."""

    number: int
    """Counted from 1 since the chart began."""
    n: int
    marks: tuple[Plotted, ...]
    """Empty in phase I."""
    signals: tuple[str, ...]
    """One phrase each."""
    frozen: Process | float | None = None
    """Set on the point that ended phase I."""
    unsteady: tuple[str, ...] = ()
    """With it: the points of that phase at which its own limits would have spoken, a phrase each."""


class Chart:
    """One chart.  `process`: fixed limits (the usual share, of a p chart); `phase`: limits to be found."""

    def __init__(
        self,
        kind: ChartKind,
        rules: Sequence[RunRule],
        *,
        process: Process | float | None = None,
        phase: Phase | None = None,
        ewma: EwmaTerms | None = None,
        cusum: CusumTerms | None = None,
        largest: int = LARGEST_N,
    ) -> None:
        """`largest`: of the subgroups of an X-bar chart; s has a constant for any size, a range has not."""
        if (process is None) == (phase is None):
            raise ValueError("a chart needs fixed limits or a phase I, and not both")
        if phase is not None and phase.points < LEAST_POINTS:
            raise ValueError(f"a phase I of {phase.points} tells no spread; give {LEAST_POINTS} or more (25 is usual)")
        self.kind = kind
        self.process: Process | float | None = None
        self._phase = phase
        self._ewma_terms, self._cusum_terms = ewma or EwmaTerms(), cusum or CusumTerms()
        self._rules, self._largest = tuple(rules), largest
        self._runs = Runs(rules)
        self._collected: list[list[float]] = []
        self._last: float | None = None
        """The value before this one, for the moving range."""
        self._number = 0
        self._ewma: Ewma | None = None
        self._cusum: Cusum | None = None
        if process is not None:
            self._freeze(process)

    def add(self, values: Sequence[float], n: int | None = None) -> Point:
        """One subgroup; of a p chart, the count of defects in `n`.  ValueError: no finite numbers, or too few."""
        group = [float(value) for value in values]
        if not group or not all(isfinite(value) and abs(value) <= lim.LARGEST for value in group):
            raise ValueError(f"a subgroup of {values!r} cannot be plotted")
        self._fits(group, n)
        self._number += 1
        if self.process is None:
            return self._collect(group, n)
        marks, signals = self._plot(group, n)
        return Point(self._number, n or len(group), marks, signals)

    def reset(self) -> None:
        """Recalibrated: what was before is another process.  Frozen limits stay."""
        self._runs.reset()
        self._collected.clear()
        self._last = None
        for memory in (self._ewma, self._cusum):
            if memory is not None:
                memory.reset()

    def _fits(self, group: list[float], n: int | None) -> None:
        if self.kind == "p" and (not n or len(group) != 1 or not 0 <= group[0] <= n):
            raise ValueError(f"a p chart takes the count of defects in n units, not {group} in {n}")
        if self.kind == "i-mr" and len(group) != 1:
            raise ValueError(f"a chart of single values takes one, not {len(group)}")
        if self.kind in ("xbar-r", "xbar-s"):
            if len(group) < 2:
                raise ValueError("a subgroup of one has no spread: use i-mr")
            if len(group) > self._largest:
                raise ValueError(f"a subgroup of {len(group)} has no such constant: give 2 to {self._largest}")

    # -- phase I ---------------------------------------------------------------------------------

    def _collect(self, group: list[float], n: int | None) -> Point:
        assert self._phase is not None
        self._collected.append([group[0], float(n or 0)] if self.kind == "p" else group)
        frozen = self._end_phase(self._phase)
        if frozen is None:
            return Point(self._number, n or len(group), (), ())
        unsteady = self._unsteady(frozen)
        self._collected.clear()
        return Point(self._number, n or len(group), (), (), frozen, unsteady)

    def _end_phase(self, phase: Phase) -> Process | float | None:
        """The limits, once there is enough; a process that did not vary (no defect at all) is watched on."""
        if len(self._collected) < phase.points:
            return None
        try:
            frozen = self._found(phase)
            self._freeze(frozen)
        except ValueError:
            del self._collected[: 1 - phase.points]
            return None
        return frozen

    def _unsteady(self, frozen: Process | float) -> tuple[str, ...]:
        """The phase looked through by its own limits: a process that was not in control draws no honest ones."""
        terms = {"ewma": self._ewma_terms, "cusum": self._cusum_terms}
        again = Chart(self.kind, self._rules, process=frozen, **terms)  # type: ignore[arg-type]  # each its own
        p = self.kind == "p"
        points = [again.add(group[:1], int(group[1])) if p else again.add(group) for group in self._collected]
        return tuple(f"point {point.number}: {'; '.join(point.signals)}" for point in points if point.signals)

    def _found(self, phase: Phase) -> Process | float:
        """The limits that the phase gives.  ValueError: it did not vary."""
        groups = self._collected
        if self.kind == "p":
            return lim.usual_share([int(group[0]) for group in groups], [int(group[1]) for group in groups])
        if self.kind == "xbar-r":
            return lim.by_range(groups, phase.name)
        if self.kind == "xbar-s":
            return lim.by_deviation(groups, phase.name)
        single = [group[0] for group in groups if len(group) == 1]
        if 2 * len(single) > len(groups):  # a plan of one, with a verification among its checks
            return lim.by_moving_range(single, phase.name)
        return lim.pooled([group for group in groups if len(group) > 1], phase.name)

    def _freeze(self, process: Process | float) -> None:
        if isinstance(process, float):
            lim.of_share(process, 1)  # ValueError: no chart can be drawn of it
        self.process = process
        if isinstance(process, Process):
            self._ewma = Ewma(self._ewma_terms, process) if self.kind == "ewma" else None
            self._cusum = Cusum(self._cusum_terms, process) if self.kind == "cusum" else None

    # -- phase II --------------------------------------------------------------------------------

    def _plot(self, group: list[float], n: int | None) -> tuple[tuple[Plotted, ...], tuple[str, ...]]:
        if self.kind == "p":
            assert n is not None
            assert isinstance(self.process, float)
            return self._shewhart(Plotted("share", group[0] / n, lim.of_share(self.process, n)))
        assert isinstance(self.process, Process)
        if self._ewma is not None:
            return self._average(self._ewma, group)
        if self._cusum is not None:
            return self._sums(self._cusum, group)
        if self.kind == "i-mr":
            return self._single(self.process, group[0])
        where = Plotted("mean", lim.mean(group), lim.of_mean(self.process, len(group)))
        if self.kind == "xbar-r":
            return self._shewhart(where, Plotted("range", lim.spread(group), lim.of_range(self.process, len(group))))
        width = Plotted("deviation", lim.deviation(group), lim.of_deviation(self.process, len(group)))
        return self._shewhart(where, width)

    def _single(self, process: Process, value: float) -> tuple[tuple[Plotted, ...], tuple[str, ...]]:
        last, self._last = self._last, value
        where = Plotted("value", value, lim.of_mean(process, 1))
        if last is None:
            return self._shewhart(where)
        return self._shewhart(where, Plotted("moving range", abs(value - last), lim.of_range(process, 2)))

    def _shewhart(self, where: Plotted, width: Plotted | None = None) -> tuple[tuple[Plotted, ...], tuple[str, ...]]:
        said = [f"{where.name}: {rule.text} ({rule.name})" for rule in self._runs.add(where.limits.z(where.value))]
        marks = (where,) if width is None else (where, width)
        return marks, (*said, *(_beyond(width) if width is not None else ()))

    def _average(self, ewma: Ewma, group: list[float]) -> tuple[tuple[Plotted, ...], tuple[str, ...]]:
        value, limits = ewma.add(lim.mean(group), len(group))
        mark = Plotted("average", value, limits)
        return (mark,), _beyond(mark)

    def _sums(self, cusum: Cusum, group: list[float]) -> tuple[tuple[Plotted, ...], tuple[str, ...]]:
        sums = cusum.add(lim.mean(group), len(group))
        most = Limits(0.0, 1.0, 0.0, self._cusum_terms.decision)
        marks = (Plotted("upper sum", sums.high, most), Plotted("lower sum", sums.low, most))
        runs = {"high": sums.high_run, "low": sums.low_run}
        words = {"high": "above", "low": "below"}
        said = [f"shifted {words[side]} target since about {runs[side]} points" for side in cusum.signals()]
        return marks, tuple(said)

    # -- over a restart --------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """JSON: everything but the terms."""
        memory = self._ewma or self._cusum
        return {
            "process": msgspec.to_builtins(self.process) if self._phase is not None else None,
            "collected": [list(group) for group in self._collected],
            "runs": self._runs.dump(),
            "last": self._last,
            "number": self._number,
            "memory": memory.dump() if memory is not None else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `dump` was taken, with the same terms."""
        if self._phase is not None and state["process"] is not None:
            found = state["process"]
            self._freeze(float(found) if self.kind == "p" else msgspec.convert(found, Process))
        self._collected = [list(group) for group in state["collected"]]
        self._runs.load(state["runs"])
        self._last, self._number = state["last"], state["number"]
        memory = self._ewma or self._cusum
        if memory is not None and state["memory"] is not None:
            memory.load(state["memory"])


def _beyond(mark: Plotted) -> tuple[str, ...]:
    """A phrase where the mark stands strictly beyond its limits."""
    side = mark.limits.beyond(mark.value)
    if side > 0:
        return (f"{mark.name} {mark.value:.5g} is above its limit {mark.limits.high:.5g}",)
    if side < 0:
        return (f"{mark.name} {mark.value:.5g} is below its limit {mark.limits.low:.5g}",)
    return ()
