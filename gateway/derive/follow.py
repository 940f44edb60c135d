"""The units of an expression, followed through its tree before any value is there: each branch, each side, each term.

Bare 0 stands for nothing of any unit but a temperature: 0 Cel and 0 K are not the same.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from gateway.derive import dimensions
from gateway.derive.scales import literal, mixed, sort, weight

Dimension = Any
"""What pint calls a dimensionality; `bool` for true or false."""
FROM_ZERO: Final = (
    "two temperatures added, or one multiplied, are no temperature in Cel; "
    "2 Cel more is + q(2, 'K'), and a share is one of a difference, as (t - q(0, 'Cel')) * 0.02"
)


class UnitError(ValueError):
    """What does not go together, and where in the text."""


def follow(node: ast.AST, units: Mapping[str, str]) -> Dimension:
    """The dimensionality of the result, or `bool`.  UnitError, or ValueError of an unknown unit."""
    return _Follower(units).of(node)


class _Follower:
    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units
        self._pure = dimensions.dimension("1")
        self._thermal = dimensions.dimension("K")

    def of(self, node: ast.AST) -> Dimension:
        match node:
            case ast.Constant():
                return bool if isinstance(node.value, bool) else self._pure
            case ast.Name():
                return dimensions.dimension(self._units[node.id])
            case ast.Call():
                return self._call(node)
            case ast.IfExp():
                return self._choice(node)
            case _:
                return self._operation(node)

    def _operation(self, node: ast.AST) -> Dimension:
        match node:
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._both(node)
            case ast.Compare():
                return self._compare(node)
        raise UnitError(f"{_at(node)}{type(node).__name__} is not part of the language")

    def _sum(self, node: ast.AST, terms: Sequence[ast.expr], what: str) -> Dimension:
        """What terms that are added, compared or chosen between have in common."""
        found = [(term, self._number(term)) for term in terms]
        self._scaled(node, terms, what)
        real = [(term, each) for term, each in found if not _is_zero(term)] or found[:1]
        for (_, first), (term, second) in pairwise(real):
            if first != second:
                raise UnitError(
                    f"{_at(term)}{what} {_said(first)} and {_said(second)}{self._advice(terms, first, second)}"
                )
        common = real[0][1]
        self._bare(node, [term for term, _ in real])
        if common == self._thermal and len(real) < len(found):
            raise UnitError(f"{_at(node)}0 of a temperature needs its unit: write q(0, 'Cel'), or q(0, 'K')")
        return common

    def _scaled(self, node: ast.AST, terms: Sequence[ast.expr], what: str) -> None:
        """UnitError: a step between temperatures beside a point on their scale."""
        adds = isinstance(node, ast.BinOp) and (isinstance(node.op, ast.Add) or sort(terms[0], self._units) != "step")
        if adds or not mixed(terms, self._units):
            return
        held = [(term, sort(term, self._units)) for term in terms if weight(term, self._units) is not None]
        for term, each in held:
            if each is None:
                raise UnitError(f"{_at(term)}{what} a temperature and what counts from 0 K: {FROM_ZERO}")
        at = next(term for term, each in held if each == "point")
        raise UnitError(f"{_at(at)}{what} a difference of temperatures and a temperature; 2 Cel apart is q(2, 'K')")

    def _bare(self, node: ast.AST, terms: Sequence[ast.expr]) -> None:
        """UnitError: a number without a unit beside a percentage, which is computed as a hundredth; 1 is the whole."""
        unit = self._part(terms)
        whole = (1.0, -1.0) if isinstance(node, ast.BinOp) else ()
        for term in terms:
            number = literal(term)
            if unit and number is not None and number not in whole:
                raise UnitError(
                    f"{_at(term)}{number:g} has no unit, and stands beside {unit}: write q({number:g}, '{unit}')"
                )

    def _part(self, terms: Sequence[ast.expr]) -> str:
        """The unit of the first term that is a part of one, as %; empty where none is."""
        return next((unit for term in terms if (unit := self._part_of(term))), "")

    def _part_of(self, node: ast.expr) -> str:
        within: Sequence[ast.expr] = ()
        unit = "1"
        match node:
            case ast.Name(id=name):
                unit = self._units[name]
            case ast.Call(func=ast.Name(id="q"), args=[_, ast.Constant(value=str() as said)]):
                unit = said
            case ast.Call(func=ast.Name(id="abs" | "min" | "max"), args=within):
                pass
            case ast.IfExp():
                within = (node.body, node.orelse)
            case ast.UnaryOp():
                within = (node.operand,)
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                within = (node.left, node.right)
        return unit if dimensions.alike(unit, "1") and dimensions.to_si(unit)[0] != 1 else self._part(within)

    def _advice(self, terms: Sequence[ast.expr], first: Dimension, second: Dimension) -> str:
        if self._pure not in (first, second):
            return ""
        unit = "K" if any(sort(term, self._units) == "step" for term in terms) else "Cel"
        return f"; write a number with its unit as q(5, '{unit}')"

    def _number(self, node: ast.AST) -> Dimension:
        found = self.of(node)
        if found is bool:
            raise UnitError(f"{_at(node)}true or false is no number: write 1 if ... else 0")
        return found

    def _plain(self, node: ast.AST, where: str) -> Dimension:
        found = self._number(node)
        if found != self._pure:
            raise UnitError(f"{_at(node)}{where} must have no unit, not {_said(found)}")
        return found

    def _truth(self, node: ast.AST, where: str) -> None:
        if self.of(node) is not bool:
            raise UnitError(f"{_at(node)}{where} must be true or false")

    def _binary(self, node: ast.BinOp) -> Dimension:
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return self._sum(node, (node.left, node.right), "cannot add")
        if isinstance(node.op, ast.Pow):
            return self._power(node)
        if isinstance(node.op, ast.Div) and _is_zero(node.right):
            raise UnitError(f"{_at(node.right)}nothing can be divided by 0")
        left, right = self._number(node.left), self._number(node.right)
        return left * right if isinstance(node.op, ast.Mult) else left / right

    def _power(self, node: ast.BinOp) -> Dimension:
        base = self._number(node.left)
        self._plain(node.right, "an exponent")
        if base == self._pure:
            return base
        exponent = literal(node.right)
        if exponent is None:
            raise UnitError(f"{_at(node.right)}of {_said(base)} the exponent must be a plain number")
        return base**exponent

    def _unary(self, node: ast.UnaryOp) -> Dimension:
        if isinstance(node.op, ast.Not):
            self._truth(node.operand, "what stands after `not`")
            return bool
        return self._number(node.operand)

    def _both(self, node: ast.BoolOp) -> Dimension:
        for value in node.values:
            self._truth(value, "what stands beside `and` and `or`")
        return bool

    def _compare(self, node: ast.Compare) -> Dimension:
        terms = (node.left, *node.comparators)
        if all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops) and all(self.of(term) is bool for term in terms):
            return bool
        self._sum(node, terms, "cannot compare")
        return bool

    def _choice(self, node: ast.IfExp) -> Dimension:
        self._truth(node.test, "what stands after `if`")
        if self.of(node.body) is bool and self.of(node.orelse) is bool:
            return bool
        return self._sum(node, (node.body, node.orelse), "cannot choose between")

    def _call(self, node: ast.Call) -> Dimension:
        assert isinstance(node.func, ast.Name)
        name, arguments = node.func.id, node.args
        least, most = _ARGUMENTS[name]
        if not least <= len(arguments) <= most:
            wanted = f"{least}" if least == most else f"{least} or more"
            raise UnitError(f"{_at(node)}{name} takes {wanted} value(s), not {len(arguments)}")
        if name in ("min", "max"):
            return self._sum(node, arguments, "cannot compare")
        if name == "q":
            return self._quantity(arguments)
        if name in ("exp", "log", "log10"):
            return self._plain(arguments[0], f"what {name} is of")
        found = self._number(arguments[0])
        return found**0.5 if name == "sqrt" else found

    def _quantity(self, arguments: Sequence[ast.expr]) -> Dimension:
        number, unit = arguments
        self._plain(number, "the number of a quantity")
        if not isinstance(unit, ast.Constant) or not isinstance(unit.value, str):
            raise UnitError(f"{_at(unit)}the unit of a quantity is a text, as q(5, 'Cel')")
        return dimensions.dimension(unit.value)


_MANY: Final = 100
_ARGUMENTS: Final = {"abs": (1, 1), "sqrt": (1, 1), "exp": (1, 1), "log": (1, 1), "log10": (1, 1), "q": (2, 2)} | {
    "min": (2, _MANY),
    "max": (2, _MANY),
}


def _is_zero(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and not isinstance(node.value, (bool, str)) and node.value == 0


def _said(found: Dimension) -> str:
    return dimensions.said(found)


def _at(node: ast.AST) -> str:
    column = getattr(node, "col_offset", None)
    return "" if column is None else f"at {column + 1}: "
