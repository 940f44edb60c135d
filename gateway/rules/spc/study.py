"""A batch looked at when it is done: was the process in control, and what can it keep.  Pure.

A phase I of the batch's own subgroups: their spread within is estimated, they are charted against it (X-bar/S, or
individuals and moving range), and looked through for a point beyond 3 sigma and for nine on one side.  Cp and Cpk are
shown only of a process that was in control over enough subgroups: of another one they promise what it cannot keep.
Pp and Ppk describe what was made, in control or not (ISO 22514-1), and so need only enough values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, lgamma, log, log1p, sqrt
from typing import Final

import msgspec

from gateway.rules.spc import limits as lim
from gateway.rules.spc.capability import Capability, capability
from gateway.rules.spc.chart import Chart, ChartKind
from gateway.rules.spc.limits import Process
from gateway.rules.spc.runs import named

LEAST_GROUPS: Final = 20
"""Subgroups before control can be told (Montgomery 6.2: 20 to 25)."""
LEAST_VALUES: Final = 25
"""Values before Pp and Ppk: with fewer, a Ppk of 1.33 is sure to be 1.0 and no more (`bound`)."""
RUNS: Final = ("we1", "nelson2")
"""Few, so that a batch in control is hardly ever called out of it."""
_Z95: Final = 1.644854
"""Of the normal distribution, one-sided 95 %."""


class Study(msgspec.Struct, frozen=True):
    """What one characteristic of one plan did in one batch."""

    values: int
    groups: int
    """Subgroups that were charted: those of a plan of one are single values."""
    mean: float | None
    overall: float | None
    """Standard deviation of all values."""
    within: Process | None
    """The process as its subgroups tell it; None: too few, or they did not vary."""
    capability: Capability | None
    signals: tuple[str, ...]
    """One phrase for each charted subgroup at which a pattern was complete."""
    no_cp: str
    """Why Cp and Cpk are not to be shown; empty: they are."""
    no_pp: str
    """The same of Pp and Ppk."""
    bound: float | None
    """Ppk is at least this, with 95 % confidence."""


def study(groups: Sequence[Sequence[float]], low: float | None, high: float | None, heard: Sequence[str] = ()) -> Study:
    """Of subgroups in the order they were taken.

    `heard`: what the line's own charts said of them, a phrase each; a signal there is a signal here.
    A value no chart could plot (1e200, mistyped) is left out of the figures and is a signal itself.
    """
    odd = [value for group in groups for value in group if not abs(value) <= lim.LARGEST]
    heard = (*heard, *(f"{value:g} is beyond all computing" for value in odd))
    groups = [group for group in groups if not any(value in odd for value in group)] if odd else groups
    values = [value for group in groups for value in group]
    charted, rest = _charted(groups)
    within = _within(charted)
    signals = (*_signals(charted, rest, within), *heard)
    overall = lim.deviation(values) if len(values) > 1 else None
    limited = low is not None or high is not None
    figures = capability(values, within, low, high, stable=not signals) if within and limited and overall else None
    no_pp = _no_pp(len(values), overall, limited=limited)
    return Study(
        values=len(values),
        groups=len(charted),
        mean=lim.mean(values) if values else None,
        overall=overall,
        within=within,
        capability=figures,
        signals=signals,
        no_cp=_no_cp(len(charted), within, signals, overall, limited=limited),
        no_pp=no_pp or ("" if figures else "no spread within subgroups was found"),
        bound=bound(figures.ppk, len(values)) if figures and figures.ppk is not None and not no_pp else None,
    )


def bound(index: float, values: int) -> float:
    """The lower one-sided 95 % confidence bound of a Ppk (Bissell, Applied Statistics 39, 1990)."""
    return index - _Z95 * sqrt(1 / (9 * values) + index**2 / (2 * (values - 1)))


def share_bound(defects: int, units: int) -> float:
    """The upper one-sided 95 % confidence bound of a share of defects (Clopper and Pearson 1934)."""
    if defects >= units:
        return 1.0
    low, high = defects / units, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(defects, units, middle) > 0.05 else (low, middle)
    return high


def _at_most(defects: int, units: int, share: float) -> float:
    """The binomial chance of so many or fewer, by logarithms: thousands of units do not overflow."""
    ways = (lgamma(units + 1) - lgamma(k + 1) - lgamma(units - k + 1) for k in range(defects + 1))
    return fsum(exp(way + k * log(share) + (units - k) * log1p(-share)) for k, way in enumerate(ways))


def _charted(groups: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """Subgroups of the kind most of them are, of one or of several; and the rest.

    A check that failed at its first sample is one of the rest, and so is the verification of a plan of one.
    """
    single = [list(group) for group in groups if len(group) == 1]
    several = [list(group) for group in groups if len(group) > 1]
    return (single, several) if len(single) > len(several) else (several, single)


def _within(groups: list[list[float]]) -> Process | None:
    """The spread within, as long as the subgroups tell one."""
    try:
        if groups and len(groups[0]) == 1:
            return lim.by_moving_range([group[0] for group in groups], "the batch")
        return lim.pooled(groups, "the batch")
    except ValueError:
        return None


def _signals(groups: list[list[float]], rest: list[list[float]], within: Process | None) -> tuple[str, ...]:
    """The rest draws no pattern; but a mean beyond 3 sigma is beyond it."""
    if within is None:
        return ()
    kind: ChartKind = "i-mr" if len(groups[0]) == 1 else "xbar-s"
    chart = Chart(kind, named(RUNS), process=within, largest=max(map(len, groups)))
    points = [chart.add(group) for group in groups]
    said = [f"subgroup {point.number}: {'; '.join(point.signals)}" for point in points if point.signals]
    apart = [(lim.mean(group), lim.of_mean(within, len(group)), len(group)) for group in rest]
    far = [(mean, n) for mean, limits, n in apart if abs(limits.z(mean)) > lim.K]
    return (*said, *(f"{mean:.5g}, {_of(n)}, is beyond 3 sigma" for mean, n in far))


def _of(n: int) -> str:
    return "alone" if n == 1 else f"a mean of {n}"


def _no_cp(groups: int, within: Process | None, signals: Sequence[str], overall: float | None, *, limited: bool) -> str:
    if not limited:
        return "no limit to hold it against"
    if groups < LEAST_GROUPS:
        return f"too few subgroups: {groups} of {LEAST_GROUPS}"
    if within is None:
        return "no spread within subgroups was found" if overall else "the values did not vary"
    return f"not in control: {len(signals)} signal{'s' * (len(signals) > 1)}" if signals else ""


def _no_pp(values: int, overall: float | None, *, limited: bool) -> str:
    if not limited:
        return "no limit to hold it against"
    if values < LEAST_VALUES:
        return f"too few values: {values} of {LEAST_VALUES}"
    return "" if overall else "the values did not vary"
