"""Points on a scale of temperature and steps between them: 62 Cel less 60 Cel is 2 K, and 2 Cel is 275.15 K.

Both have the dimension of a temperature, so that dimensions alone let one be compared with the other: a difference that
is to stay below `q(2, 'Cel')` would never be above it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final, Literal

Sort = Literal["point", "step"]
OFFSET: Final = ("Cel", "[degF]")
"""Units whose zero is not nothing."""


def sort(node: ast.AST, units: Mapping[str, str]) -> Sort | None:
    """What a term is; None where it is neither, or may be either, as everything in K."""
    found: Sort | None = None
    match node:
        case ast.Name(id=name):
            found = "point" if units.get(name) in OFFSET else None
        case ast.Call(func=ast.Name(id="q"), args=[_, ast.Constant(value=unit)]):
            found = "point" if unit in OFFSET else None
        case ast.Call(func=ast.Name(id="abs" | "min" | "max"), args=terms):
            found = _common([sort(term, units) for term in terms])
        case ast.IfExp(body=body, orelse=orelse):
            found = _common([sort(body, units), sort(orelse, units)])
        case ast.UnaryOp(operand=operand):
            found = sort(operand, units)
        case ast.BinOp(left=left, op=op, right=right):
            found = _joined(op, sort(left, units), sort(right, units))
    return found


def mixed(terms: Sequence[ast.AST], units: Mapping[str, str]) -> bool:
    """Is one a point and another one a step?"""
    return {"point", "step"} <= {sort(term, units) for term in terms}


def _common(sorts: Sequence[Sort | None]) -> Sort | None:
    found = {each for each in sorts if each is not None}
    return found.pop() if len(found) == 1 else None


def _joined(op: ast.operator, left: Sort | None, right: Sort | None) -> Sort | None:
    match op:
        case ast.Sub() if left == "point":
            return "step" if right == "point" else "point"
        case ast.Add() if "point" in (left, right):
            return None if left == right else "point"
        case ast.Add() | ast.Sub() | ast.Mult() | ast.Div():
            return "step" if "step" in (left, right) and "point" not in (left, right) else None
    return None
