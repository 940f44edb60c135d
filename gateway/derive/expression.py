"""Expressions: arithmetic, comparison and choice over named values.  No attribute, no index, no assignment, no loop.

    t - sp
    abs(a - b) > q(2, 'K') and running == 6
    eta * exp(b * (1 / q(60, 'Cel') - 1 / t))

Python's own syntax for these, read by simpleeval, which walks the tree and never calls eval.  All values are in SI base
units while it computes; `q(number, unit)` writes a quantity.  Functions: abs, min, max, sqrt, exp, log, log10, q.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from gateway.derive import dimensions
from gateway.derive.follow import follow
from gateway.derive.scales import sort, weight

Value = float | bool
LONGEST: Final = 1000
"""Characters."""
DEEPEST: Final = 60
"""Levels of the tree: what passes here is computed on any stack."""
_ALLOWED: Final = (
    *(ast.Expr, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant, ast.Load),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
_FLOATS: Final[Mapping[str, Callable[..., float]]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
}


def _same(one: float, other: float) -> bool:
    """But for the last binary digits: 62.6 Cel less 62.3 Cel is 0.3 K, though through kelvin it is a hair more."""
    return one == other or math.isclose(one, other, rel_tol=1e-11)


_COMPARES: Final[Mapping[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Eq: _same,
    ast.NotEq: lambda one, other: not _same(one, other),
    ast.Lt: lambda one, other: one < other and not _same(one, other),
    ast.LtE: lambda one, other: one < other or _same(one, other),
    ast.Gt: lambda one, other: one > other and not _same(one, other),
    ast.GtE: lambda one, other: one > other or _same(one, other),
}


class ExpressionError(ValueError):
    """What is wrong with it, and where in its text."""


class Expression:
    """One expression, parsed once.  ExpressionError: it cannot be read, or names something unknown."""

    def __init__(self, text: str, names: Iterable[str]) -> None:
        self.text = text
        self._known = tuple(names)
        self._node = _parsed(text)
        _bounded(text, self._node)
        self._check(self._node)
        self._evaluator = _evaluator({**_FLOATS, "q": _si})

    def value(self, names: Mapping[str, float]) -> Value:
        """Its value for these, in SI base units.  ValueError: there is none (a division by zero, a log of nothing)."""
        self._evaluator.names = names
        try:
            found = self._evaluator.eval(self.text, previously_parsed=self._node)
        except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.text!r} has no value here: {error}") from None
        if isinstance(found, bool):
            return found
        try:
            number = float(found)
        except (OverflowError, TypeError):  # a whole number of 400 digits
            raise ValueError(f"{self.text!r} gives what is no number one can compute with") from None
        if not math.isfinite(number):
            raise ValueError(f"{self.text!r} gives {number!r}, which is no number")
        return number

    def follow(self, units: Mapping[str, str]) -> Any:
        """The dimensionality of the result, or `bool`.  ExpressionError: it adds or compares what does not go together.

        Every branch of a choice and every side of and/or is followed; no value is looked at.
        """
        try:
            return follow(self._node, units)
        except (ValueError, ArithmeticError) as error:
            raise ExpressionError(f"{self.text!r}: {error}") from None

    def used(self) -> set[str]:
        """The inputs it looks at."""
        return {each.id for each in ast.walk(self._node) if isinstance(each, ast.Name)} & set(self._known)

    def is_step(self, units: Mapping[str, str]) -> bool:
        """Is the result a difference of temperatures?"""
        return sort(self._node, units) == "step"

    def is_scaled(self, units: Mapping[str, str]) -> bool:
        """Is the result, a temperature, neither a difference nor a point on the scale?"""
        return weight(self._node, units) is not None and sort(self._node, units) is None

    def _check(self, node: ast.AST) -> None:
        functions = {*_FLOATS, "q"}
        calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
        called = {id(each.func) for each in calls}
        units = {id(each.args[1]) for each in calls if len(each.args) == 2 and getattr(each.func, "id", "") == "q"}
        for each in ast.walk(node):
            if not isinstance(each, _ALLOWED):
                raise ExpressionError(f"{self.text!r}: {_where(each)}{type(each).__name__} is not part of the language")
            if isinstance(each, ast.Call) and (not isinstance(each.func, ast.Name) or each.keywords):
                raise ExpressionError(f"{self.text!r}: {_where(each)}only functions by name can be called")
            if isinstance(each, ast.Constant) and not isinstance(each.value, (int, float)) and id(each) not in units:
                raise ExpressionError(f"{self.text!r}: {_where(each)}{each.value!r} is no number")
            if isinstance(each, ast.Constant) and isinstance(each.value, (int, float)) and not _is_finite(each.value):
                raise ExpressionError(f"{self.text!r}: {_where(each)}a number beyond all numbers")
            if isinstance(each, ast.Name):
                known, what = (functions, "function") if id(each) in called else (self._known, "input")
                if each.id not in known:
                    there = ", ".join(sorted(known)) or "none"
                    near = get_close_matches(each.id, known, 1)
                    meant = f"did you mean {near[0]!r}? " if near else ""
                    text = f"no {what} {each.id!r}; {meant}there are: {there}"
                    raise ExpressionError(f"{self.text!r}: {_where(each)}{text}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number with more digits than a float has room for
        return False


def _bounded(text: str, node: ast.AST) -> None:
    """ExpressionError: nested so deep that what computes it could run out of stack."""
    layer, depth = [node], 0
    while layer := [child for each in layer for child in ast.iter_child_nodes(each)]:
        depth += 1
        if depth > DEEPEST:
            raise ExpressionError(f"{text[:40]!r}... is nested more than {DEEPEST} deep")


def _where(node: ast.AST) -> str:
    column = getattr(node, "col_offset", None)
    return "" if column is None else f"at {column + 1}: "


def _parsed(text: str) -> ast.AST:
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression of {len(text)} characters; {LONGEST} at most")
    try:
        with warnings.catch_warnings():  # what Python only warns of (`1and 2`) is refused
            warnings.simplefilter("error")
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"{text!r}: at {error.offset or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, SyntaxWarning) as error:  # a null byte; nested too deep
        raise ExpressionError(f"{text!r} cannot be read: {error}") from None


def _si(value: float, unit: str) -> float:
    factor, offset = dimensions.to_si(unit)
    return value * factor + offset


def _evaluator(functions: Mapping[str, Any]) -> Any:
    from simpleeval import DEFAULT_OPERATORS, SimpleEval  # noqa: PLC0415

    operators = {**DEFAULT_OPERATORS, **_COMPARES, ast.Pow: math.pow}
    return SimpleEval(operators=operators, functions=dict(functions))
