"""How a viscosity follows its temperature, and the fit of such a model to a site's own points.

    andrade    ln eta = a + b / T
    arrhenius  the same curve, written with an activation energy: b = Ea / R
    vft        ln eta = a + b / (T - t0)       (Vogel-Fulcher-Tammann: better near the glass transition: distillate)

T in kelvin, eta in mPa.s.  Fitted in the logarithm, so that a tenth too much weighs the same for thin oil and thick.
Outside the temperatures it was fitted over a model says nothing: distillate is near-glassy just below them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, fsum, inf, log, sqrt
from typing import Final, Literal

import msgspec

ModelKind = Literal["andrade", "arrhenius", "vft"]
GAS: Final = 8.314462618
"""J/(mol K), exact to the digits given (CODATA 2018)."""
ZERO_CEL: Final = 273.15
LEAST: Final = {"andrade": 3, "arrhenius": 3, "vft": 4}
"""Points a fit needs: one more than it has parameters."""

SPAN_K: Final = 5.0
"""Between the coldest and the hottest point, at least: a slope over less is that of the thermometer's noise."""
WORST_PERCENT: Final = 25.0
"""The largest residual of points that lie on a curve: instruments repeat within a few percent."""


class OutOfRangeError(ValueError):
    """A temperature the model was not fitted for."""


class Model(msgspec.Struct, frozen=True):
    """One fitted model."""

    kind: ModelKind
    a: float
    """ln of mPa.s."""
    b: float
    """Kelvin."""
    low_k: float
    """Lowest and highest temperature it was fitted over, kelvin."""
    high_k: float
    t0: float = 0.0
    """Kelvin; only of vft."""

    def __post_init__(self) -> None:
        if not self.low_k < self.high_k:
            raise ValueError(f"fitted from {self.low_k:g} K to {self.high_k:g} K: the wrong way round, or nothing")
        if self.t0 >= self.low_k:
            raise ValueError(f"t0 {self.t0:g} K is not below the fitted range: the viscosity would be without end")

    def log_eta(self, kelvin: float) -> float:
        """Natural logarithm of mPa.s.  OutOfRangeError outside the fitted temperatures."""
        if not self.low_k <= kelvin <= self.high_k:
            at, low, high = (kelvin_ - ZERO_CEL for kelvin_ in (kelvin, self.low_k, self.high_k))
            raise OutOfRangeError(f"{at:.4g} Cel is outside {low:.4g}..{high:.4g} Cel, where the model was fitted")
        return self.a + self.b / (kelvin - self.t0)

    def compensate(self, eta: float, kelvin: float, reference_k: float) -> float:
        """What `eta`, measured at one temperature, would be at the reference.  OutOfRangeError for either."""
        return eta * exp(self.log_eta(reference_k) - self.log_eta(kelvin))

    @property
    def energy_kj(self) -> float:
        """Activation energy of andrade and arrhenius, kJ/mol."""
        return self.b * GAS / 1000


class Fit(msgspec.Struct, frozen=True):
    """A model and how well it fits."""

    model: Model
    points: int
    worst_percent: float
    """The largest residual, percent of the viscosity."""
    spread_percent: float
    """Standard deviation of the residuals, percent."""
    r_squared: float
    """In the logarithm."""


def fit(kind: ModelKind, points: Sequence[tuple[float, float]]) -> Fit:
    """Of (kelvin, mPa.s).  ValueError: too few, not at different temperatures, or no viscosity above zero."""
    wanted = LEAST[kind]
    different = len({kelvin for kelvin, _ in points})
    if different < wanted:
        raise ValueError(f"{kind} needs {wanted} points at different temperatures; there are {different}")
    for kelvin, eta in points:
        possible(kelvin, eta)
    data = [(kelvin, log(eta)) for kelvin, eta in sorted(points)]
    if data[-1][0] - data[0][0] < SPAN_K:
        raise ValueError(f"all points lie within {data[-1][0] - data[0][0]:.3g} K; measure over {SPAN_K:g} K or more")
    t0 = _best_t0(data) if kind == "vft" else 0.0
    a, b = _line([(1 / (kelvin - t0), level) for kelvin, level in data])
    if b <= 0:
        raise ValueError("these viscosities rise with the temperature; those of oil fall: are two columns swapped?")
    return _judged(Model(kind, a, b, data[0][0], data[-1][0], t0), data)


def possible(kelvin: float, eta: float, where: str = "") -> tuple[float, float]:
    """The point itself.  ValueError: there can be none like it."""
    if not (0 < kelvin < inf and 0 < eta < inf):
        said = f"a viscosity of {eta:g} at {kelvin - ZERO_CEL:g} Cel cannot be"
        raise ValueError(f"{where}{said}: both are finite and above zero")
    return kelvin, eta


def odd(kind: ModelKind, points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The point without which the others lie on a curve best."""

    def left(at: int) -> float:
        try:
            return fit(kind, [*points[:at], *points[at + 1 :]]).spread_percent
        except ValueError:
            return inf

    return points[min(range(len(points)), key=left)]


def _judged(model: Model, data: Sequence[tuple[float, float]]) -> Fit:
    residuals = [level - model.log_eta(kelvin) for kelvin, level in data]
    middle = fsum(level for _, level in data) / len(data)
    whole = fsum((level - middle) ** 2 for _, level in data)
    left = fsum(residual**2 for residual in residuals)
    free = max(1, len(data) - (3 if model.kind == "vft" else 2))
    worst = max(abs(exp(residual) - 1) for residual in residuals)
    return Fit(model, len(data), 100 * worst, 100 * sqrt(left / free), 1 - left / whole if whole else 0.0)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b) of y = a + b x by least squares."""
    x0, y0 = (fsum(values) / len(points) for values in zip(*points, strict=True))
    b = fsum((x - x0) * (y - y0) for x, y in points) / fsum((x - x0) ** 2 for x, _ in points)
    return y0 - b * x0, b


def _best_t0(data: Sequence[tuple[float, float]]) -> float:
    """The t0 that leaves least: looked for on a grid, then by golden section.  ValueError: none does."""
    highest = data[0][0] - 1.0

    def left(t0: float) -> float:
        a, b = _line([(1 / (kelvin - t0), level) for kelvin, level in data])
        return fsum((level - a - b / (kelvin - t0)) ** 2 for kelvin, level in data)

    grid = [highest * at / 200 for at in range(201)]
    best = min(range(len(grid)), key=lambda at: left(grid[at]))
    return _golden(left, grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])


def _golden(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one valley is least."""
    ratio = (sqrt(5) - 1) / 2
    while high - low > 1e-9 * max(1.0, high):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, second) if of(first) < of(second) else (first, high)
    return (low + high) / 2


def curve(model: Model, steps: int = 60) -> list[tuple[float, float]]:
    """(kelvin, mPa.s) along the fitted range, for a picture."""
    width = model.high_k - model.low_k
    temperatures = [model.low_k + width * at / steps for at in range(steps)] + [model.high_k]
    return [(kelvin, exp(model.log_eta(kelvin))) for kelvin in temperatures]
