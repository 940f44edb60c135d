"""One characteristic, ready to judge by: pass, fail or indeterminate, against the named sets of limits.  Pure.

Exactly at a limit passes.  A value nearer to the limit that fails than its uncertainty, on either side, proves
neither: it is indeterminate, and that is never a pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import TagSpec, Value
from gateway.plans import SMALL, Characteristic, Tare
from gateway.rules.inputs import beyond, convert, measure
from gateway.verdicts import LimitSet

FINE: Final = "pass"
FAIL: Final = "fail"
INDETERMINATE: Final = "indeterminate"

NONE: Final = Decimal(0)
_NUMBER: Final = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?")
"""As a person writes one: what is longer is none, and may take hours to print."""
_COUNTS: Final = frozenset({None, "", "1", "{count}"})


class Judgement(msgspec.Struct, frozen=True):
    """What a value is, why, and the limit it was held against."""

    verdict: str
    text: str = ""
    """What is wrong, doubtful or drifting; empty if all is well."""
    limit: Value = None
    value: Value = None
    """A mean; None: the sample's own value."""

    @property
    def passed(self) -> bool | None:
        return None if self.verdict == INDETERMINATE else self.verdict == FINE


class TareTerms(msgspec.Struct, frozen=True):
    """How the tare is taken off, in the unit of the balance."""

    mode: str
    n: int = 1
    weight: Decimal = NONE
    spread: Decimal = NONE
    allowed: Decimal | None = None
    """What three times the spread may be."""


class Standard(msgspec.Struct, frozen=True):
    """A characteristic in the unit it is judged in."""

    name: str
    unit: str
    source: str = "entry"
    accept: int | None = None
    """Attribute: how many defects are accepted; None for a variable."""
    limits: tuple[LimitSet, ...] = ()
    """Innermost first, those of each sample and those of the mean."""
    target: Decimal | None = None
    uncertainty: Decimal = NONE
    """Expanded, of what comes by entry or tag."""
    tare: TareTerms | None = None

    @property
    def weighed(self) -> bool:
        return self.source == "weighing"

    @property
    def taken(self) -> bool:
        """A take brings it; else a person enters it."""
        return self.source != "entry"

    @property
    def group(self) -> bool:
        return self.tare is not None and self.tare.mode == "group"

    def about(self) -> Decimal:
        """About what a full one weighs, net."""
        ends = [end for each in self.limits for end in (each.low, each.high) if each.fails and end is not None]
        return self.target if self.target is not None else sum(ends, NONE) / max(len(ends), 1)

    def sure(self, uncertainty: Decimal) -> Decimal:
        """Expanded uncertainty of a net weight, where one weighing has `uncertainty`."""
        if self.tare is None:
            return uncertainty
        if self.tare.mode == "fixed":
            return (uncertainty**2 + (2 * self.tare.spread) ** 2).sqrt()
        return (2 * uncertainty**2).sqrt() / self.tare.n

    def tolerance(self) -> Decimal | None:
        """From the target to the nearest limit that fails; from the middle where there is no target."""
        gaps = (
            _gap(each, self.target) for each in self.limits if each.fails and not (self.group and each.of == "each")
        )
        return min((gap for gap in gaps if gap is not None), default=None)

    def judge(self, value: Value, uncertainty: Decimal = NONE) -> Judgement:
        """One sample; the value of a group is a mean already."""
        if self.accept is not None:
            assert isinstance(value, int)
            if value > self.accept:
                return Judgement(FAIL, f"{value} with defects, {self.accept} accepted", self.accept)
            return Judgement(FINE, limit=self.accept)
        assert isinstance(value, Decimal)
        return self._held(value, "mean" if self.group else "each", uncertainty)

    def judge_mean(self, values: Sequence[Decimal], uncertainty: Decimal = NONE) -> Judgement:
        """The mean of a check's samples; passes where no limits are set for it.

        The uncertainty of one weighing is not divided: what the samples share does not average out.
        """
        if self.group or not values or not any(each.of == "mean" for each in self.limits):
            return Judgement(FINE)
        mean = shared(sum(values, NONE), len(values))
        judged = self._held(mean, "mean", uncertainty)
        text = judged.text and f"mean of {len(values)} {self.name}: {judged.text}"
        return msgspec.structs.replace(judged, text=text, value=mean)

    def _held(self, value: Decimal, of: str, uncertainty: Decimal) -> Judgement:
        sets = [each for each in self.limits if each.of == of]
        failing = next((each for each in sets if each.fails), None)
        if failing is not None:
            near = self._near(value, failing, uncertainty)
            if near is not None:
                return near
            crossed = _crossed(value, failing)
            if crossed is not None:
                return Judgement(FAIL, self._said(value, crossed, failing, sets), crossed[0])
        for each in reversed(sets):
            crossed = _crossed(value, each)
            if crossed is not None:  # drifting: inside what fails, outside what warns
                return Judgement(FINE, self._said(value, crossed, each, sets))
        return Judgement(FINE)

    def _near(self, value: Decimal, failing: LimitSet, uncertainty: Decimal) -> Judgement | None:
        for limit in (failing.high, failing.low):
            if limit is not None and abs(value - limit) < uncertainty:
                text = (
                    f"{measure(value, self.unit)} is nearer to {measure(limit, self.unit)}, the {failing.name} limit, "
                    f"than its uncertainty of {measure(_rounded(uncertainty), self.unit)}"
                )
                return Judgement(INDETERMINATE, text, limit)
        return None

    def _said(self, value: Decimal, crossed: tuple[Decimal, bool], one: LimitSet, sets: Sequence[LimitSet]) -> str:
        text = beyond(value, crossed[0], self.unit, above=crossed[1])
        if not any(each.name in {"specification", "legal"} or each.of == "mean" for each in self.limits):
            return text
        worse = [each.name for each in sets[sets.index(one) + 1 :] if _crossed(value, each) is not None]
        also = f", and beyond the {' and '.join(worse)} limit{'s' * (len(worse) > 1)} too" if worse else ""
        return f"{text}, the {one.name} limit{also}"

    def entered(self, value: Value, unit: str | None, looked_at: int) -> Decimal | int:
        """What a person put in, in this characteristic's unit.  Refused if it is not such a value.

        `looked_at`: units that a count of defects is of.
        """
        text = str(value)
        if isinstance(value, bool) or _NUMBER.fullmatch(text) is None:
            raise Refused("bad_value", f"{self.name}: {measure(text[:40])} is not a number; write one like 0.52")
        number = Decimal(text)
        if self.accept is not None:
            return self._counted(number, unit, looked_at)
        return number if unit in {None, self.unit} else self._converted(number, str(unit))

    def _counted(self, number: Decimal, unit: str | None, looked_at: int) -> int:
        if unit not in _COUNTS:
            raise Refused("wrong_unit", f"{self.name} is a count of defects: it has no unit, not {unit}")
        if not 0 <= number <= looked_at or number != int(number):
            of = f"{looked_at} unit{'s' * (looked_at > 1)}"
            raise Refused("bad_value", f"{self.name} is a count of defects in {of}: 0 to {looked_at}, not {number}")
        return int(number)

    def _converted(self, number: Decimal, unit: str) -> Decimal:
        try:
            return convert(number, unit, self.unit)
        except ValueError as error:
            raise Refused("wrong_unit", f"{self.name} is in {self.unit}: {error}") from None


def standard(characteristic: Characteristic, measured: TagSpec | None) -> Standard:
    """ValueError: its limits do not fit what measures it.  What a device brings is judged in the device's unit."""
    name, window = characteristic.name, characteristic.window
    if characteristic.kind == "attribute" or window is None:
        return Standard(name, "{count}", accept=characteristic.accept)
    by_device = characteristic.source != "entry" and measured is not None
    if by_device and measured is not None and measured.kind in {"text", "bool"}:
        raise ValueError(f"{measured.name} is {measured.kind}; limits need a number")
    unit = measured.unit if by_device and measured is not None else window.unit
    scaled = _Scaled(window.unit, unit)
    return Standard(
        name,
        unit,
        characteristic.source,
        limits=tuple(_limits(characteristic, scaled)),
        target=scaled(window.target),
        uncertainty=scaled.width(characteristic.uncertainty),
        tare=_tare(characteristic, characteristic.tare, unit),
    )


class _Scaled:
    """Limits as the recipe writes them -> in the unit that is judged in."""

    def __init__(self, source: str, target: str) -> None:
        self._units = source, target

    def __call__(self, value: Decimal | None) -> Decimal | None:
        return None if value is None else convert(value, *self._units)

    def width(self, value: Decimal | None) -> Decimal:
        """A difference: scaled, never shifted."""
        return NONE if value is None else convert(value, *self._units) - convert(NONE, *self._units)


def _limits(characteristic: Characteristic, scaled: _Scaled) -> Iterable[LimitSet]:
    for name, ends in characteristic.sets().items():
        if ends is not None:
            yield LimitSet(name, scaled(ends[0]), scaled(ends[1]), fails=name == characteristic.fails_at)
    mean = characteristic.mean
    if mean is None:
        return
    if mean.warn_low is not None or mean.warn_high is not None:
        yield LimitSet("warning", scaled(mean.warn_low), scaled(mean.warn_high), "mean")
    yield LimitSet("action", scaled(mean.low), scaled(mean.high), "mean", fails=True)


def _tare(characteristic: Characteristic, tare: Tare | None, unit: str) -> TareTerms | None:
    if tare is None:
        return None
    tolerance, window = characteristic.tolerance(), characteristic.window
    allowed = convert(SMALL * tolerance, window.unit, unit) if tolerance is not None and window else None
    weight, spread = (convert(each or NONE, tare.unit, unit) for each in (tare.weight, tare.spread))
    return TareTerms(tare.mode, tare.n or 1, weight, spread, allowed)


def _gap(limits: LimitSet, target: Decimal | None) -> Decimal | None:
    ends = [end for end in (limits.low, limits.high) if end is not None]
    if target is None:
        return (ends[1] - ends[0]) / 2 if len(ends) > 1 else None
    return min(abs(end - target) for end in ends)


def shared(total: Decimal, n: int) -> Decimal:
    """A mean, to three digits more than what it is the mean of."""
    exponent = total.as_tuple().exponent
    assert isinstance(exponent, int), "a finite number"
    return total if n == 1 else (total / n).quantize(Decimal(1).scaleb(exponent - 3))


def _crossed(value: Decimal, limits: LimitSet) -> tuple[Decimal, bool] | None:
    """(the limit, above it?) where the value is beyond one."""
    if limits.high is not None and value > limits.high:
        return limits.high, True
    return (limits.low, False) if limits.low is not None and value < limits.low else None


def _rounded(value: Decimal) -> Decimal:
    """Two digits say enough of an uncertainty."""
    return Decimal(f"{value:.2g}") if value else value
