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
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.derive import dimensions

Value = float | bool
LONGEST: Final = 1000
"""Characters."""
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


class ExpressionError(ValueError):
    """What is wrong with it, and where in its text."""


class Expression:
    """One expression, parsed once.  ExpressionError: it cannot be read, or names something unknown."""

    def __init__(self, text: str, names: Iterable[str]) -> None:
        self.text = text
        self._known = tuple(names)
        self._node = _parsed(text)
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
        if not isinstance(found, (int, float)) or not math.isfinite(found):
            raise ValueError(f"{self.text!r} gives {found!r}, which is no number")
        return float(found)

    def follow(self, units: Mapping[str, str]) -> Any:
        """The dimensionality of the result, or `bool`.  ExpressionError: it adds or compares what does not go together.

        Every branch of a choice and every side of and/or is followed, whatever the values.
        """
        evaluator = _follower({**_quantities(), "q": dimensions.quantity})
        wrong: Exception | None = None
        for sample in (1.7, 0.3, 11.0):
            evaluator.names = {
                name: dimensions.quantity(sample * (at + 1), unit) for at, (name, unit) in enumerate(units.items())
            }
            try:
                found = evaluator.eval(self.text, previously_parsed=self._node)
            except (ArithmeticError, OverflowError) as error:
                wrong = error  # these values have no result; others may
                continue
            except Exception as error:  # noqa: BLE001  # boundary: pint and simpleeval have many families of errors
                raise ExpressionError(f"{self.text!r}: {_advice(error)}") from None
            return bool if isinstance(found, bool) else getattr(found, "dimensionality", dimensions.dimension("1"))
        raise ExpressionError(f"{self.text!r} has no value for any values tried: {wrong}")

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
            if isinstance(each, ast.Name):
                known, what = (functions, "function") if id(each) in called else (self._known, "input")
                if each.id not in known:
                    there = ", ".join(sorted(known)) or "none"
                    raise ExpressionError(f"{self.text!r}: {_where(each)}no {what} {each.id!r}; there are: {there}")


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


def _advice(error: Exception) -> str:
    text = _plain(error)
    return f"{text}; write a number with its unit as q(5, 'Cel')" if "Cannot compare" in text else text


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _si(value: float, unit: str) -> float:
    factor, offset = dimensions.to_si(unit)
    return value * factor + offset


def _evaluator(functions: Mapping[str, Any]) -> Any:
    from simpleeval import DEFAULT_OPERATORS, SimpleEval  # noqa: PLC0415

    return SimpleEval(operators={**DEFAULT_OPERATORS, ast.Pow: math.pow}, functions=dict(functions))


def _follower(functions: Mapping[str, Any]) -> Any:
    """An evaluator over quantities that looks at every branch."""
    from simpleeval import DEFAULT_OPERATORS, SimpleEval  # noqa: PLC0415

    class Follower(SimpleEval):  # type: ignore[misc]  # an untyped library
        def _eval_ifexp(self, node: ast.IfExp) -> Any:
            if not isinstance(self._eval(node.test), bool):
                raise ExpressionError("what stands after `if` must be true or false")
            first, second = self._eval(node.body), self._eval(node.orelse)
            return first if isinstance(first, bool) == isinstance(second, bool) and _alike(first, second) else None

        def _eval_boolop(self, node: ast.BoolOp) -> bool:
            found = [self._eval(value) for value in node.values]  # all of them, whatever the first one says
            if not all(isinstance(value, bool) for value in found):
                raise ExpressionError("`and` and `or` stand between what is true or false")
            return True

    plain = {ast.Mult: operator.mul, ast.Add: operator.add, ast.Pow: _power}
    return Follower(operators={**DEFAULT_OPERATORS, **plain}, functions=dict(functions))


def _alike(first: Any, second: Any) -> bool:
    if not isinstance(first, bool):
        _ = first + second  # pint says what does not go together
    return True


def _power(base: Any, exponent: Any) -> Any:
    return base ** _number(exponent)


def _number(value: Any) -> float:
    """A quantity without unit as a float.  pint's error where it has one."""
    return float(value.to("dimensionless").magnitude) if hasattr(value, "to") else float(value)


def _quantities() -> dict[str, Callable[..., Any]]:
    """The functions over quantities."""
    plain = {name: _of_number(_FLOATS[name]) for name in ("exp", "log", "log10")}
    return {"abs": abs, "min": min, "max": max, "sqrt": lambda value: value**0.5, **plain}


def _of_number(function: Callable[..., float]) -> Callable[[Any], float]:
    return lambda value: function(_number(value))
