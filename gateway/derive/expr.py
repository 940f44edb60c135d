"""Derived kind `expr`: an expression over other tags.

off_setpoint: {kind: expr, expr: t - sp, inputs: {t: reservoir/temperature, sp: reservoir/setpoint}, unit: K}
too_cold:     {kind: expr, expr: "t < q(55, 'Cel') and running == 6", inputs: {...}}       # true or false

Inputs of any unit; the result in `unit`, which has to fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from math import isfinite
from typing import Literal

from pydantic import Field, model_validator

from gateway.derive import dimensions
from gateway.derive.base import DerivedConfig, Input, Memoryless, Result, none
from gateway.derive.expression import Expression
from gateway.derive.follow import FROM_ZERO
from gateway.derive.scales import OFFSET
from gateway.model import TagSpec


class ExprConfig(DerivedConfig):
    kind: Literal["expr"] = "expr"
    expr: str
    inputs: dict[str, str] = Field(min_length=1)
    """Name in the expression -> device/tag."""
    truth: bool = False
    """True: the result is true or false, not a number."""

    @model_validator(mode="after")
    def _reads(self) -> ExprConfig:
        for name in self.inputs:
            if not name.isidentifier() or iskeyword(name):
                raise ValueError(f"{name!r} cannot stand in an expression: write letters, digits and _, and no keyword")
        idle = self.inputs.keys() - Expression(self.expr, self.inputs).used()
        if idle:  # it would count for nothing, and block the value when it is bad
            raise ValueError(f"{self.expr!r} does not use {', '.join(sorted(idle))}: leave it out of `inputs`")
        if self.truth and self.unit != "1":
            raise ValueError(f"true or false has no unit, not {self.unit}")
        return self

    def names(self) -> Mapping[str, str]:
        return self.inputs

    def spec(self, name: str) -> TagSpec:
        return TagSpec(name, self.unit, "bool" if self.truth else "number")

    def build(self, units: Mapping[str, str]) -> Expr:
        """ValueError: units do not go together, or the result is not in `unit`."""
        expression = Expression(self.expr, self.inputs)
        found = expression.follow(units)
        if (found is bool) is not self.truth:
            what = "true or false; add `truth: true`" if found is bool else "a number; leave `truth` out"
            raise ValueError(f"{self.expr!r} gives {what}")
        if found is not bool and found != dimensions.dimension(self.unit):
            raise ValueError(f"{self.expr!r} gives {dimensions.said(found)}, which is not {self.unit}")
        if self.unit in OFFSET and expression.is_step(units):
            raise ValueError(f"{self.expr!r} gives a difference of temperatures: that is in K, not {self.unit}")
        if found is not bool and dimensions.alike(self.unit, "K") and expression.is_scaled(units):
            raise ValueError(f"{self.expr!r} counts from 0 K: {FROM_ZERO}")
        return Expr(expression, self.unit, units)


class Expr(Memoryless):
    """Computes in SI, answers in its own unit."""

    def __init__(self, expression: Expression, unit: str, units: Mapping[str, str]) -> None:
        self._expression = expression
        self._scales = {name: dimensions.to_si(units[name]) for name in units}
        self._factor, self._offset = dimensions.to_si(unit)

    def compute(self, inputs: Mapping[str, Input], now_ns: int) -> Result:
        del now_ns
        names = {name: each.number * self._scales[name][0] + self._scales[name][1] for name, each in inputs.items()}
        try:
            found = self._expression.value(names)
        except ValueError as error:
            return none(str(error))
        if isinstance(found, bool):
            return Result(found)
        number = (found - self._offset) / self._factor
        if not isfinite(number):
            return none(f"{self._expression.text!r} is beyond all numbers in its unit")
        return Result(_shown(number))


def _shown(number: float) -> float:
    """Without the last binary digits: what stands at a limit of 0.3 K is not beyond it."""
    return number if number.is_integer() else float(f"{number:.12g}")
