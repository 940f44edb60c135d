"""What a stable process can keep: Cp, Cpk by the spread within subgroups, Pp, Ppk by the spread of all values.

ISO 22514-2; Montgomery 8.  Means nothing before the process is stable, nor on values that hang together; so every
figure says by which estimator, from how many values, and whether the chart was quiet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf

import msgspec

from gateway.rules.spc.limits import Estimator, Process, deviation, mean


class Capability(msgspec.Struct, frozen=True):
    """None: the specification has only one end, or the values do not vary."""

    cp: float | None
    cpk: float | None
    pp: float | None
    ppk: float | None
    estimator: Estimator
    """How the spread within was found."""
    values: int
    stable: bool
    """No signal stood on the chart while these values came."""


def capability(
    values: Sequence[float], within: Process, low: float | None, high: float | None, *, stable: bool
) -> Capability:
    """Against specification limits, each or both.  ValueError: no limit at all, or fewer than two values."""
    if low is None and high is None:
        raise ValueError("capability needs a specification limit")
    middle, overall = mean(values), deviation(values)
    return Capability(
        _width(low, high, within.sigma),
        _nearest(middle, low, high, within.sigma),
        _width(low, high, overall),
        _nearest(middle, low, high, overall),
        within.estimator,
        len(values),
        stable,
    )


def _width(low: float | None, high: float | None, sigma: float) -> float | None:
    return None if low is None or high is None or sigma == 0 else (high - low) / (6 * sigma)


def _nearest(middle: float, low: float | None, high: float | None, sigma: float) -> float | None:
    if sigma == 0:
        return None
    above = inf if high is None else (high - middle) / (3 * sigma)
    below = inf if low is None else (middle - low) / (3 * sigma)
    nearest = min(above, below)
    return None if isinf(nearest) else nearest
