"""Points on a scale of temperature and steps between them: 62 Cel less 60 Cel is 2 K, and 2 Cel is 275.15 K.

Both have the dimension of a temperature, so that dimensions alone let one be compared with the other: a difference that
is to stay below `q(2, 'Cel')` would never be above it.  A term is followed by its weight, how often it holds the zero
of the scale: a point 1, a step 0, the mean of two points 1 again; two points added, or one multiplied, count from 0 K.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from math import isclose
from typing import Final, Literal

Sort = Literal["point", "step"]
OFFSET: Final = ("Cel", "[degF]")
"""Units whose zero is not nothing."""


def weight(node: ast.AST, units: Mapping[str, str]) -> float | None:
    """How often a term holds the zero of the scale; None where nobody can tell, as of everything in K."""
    found: float | None = None
    match node:
        case ast.Name(id=name):
            found = 1.0 if units.get(name) in OFFSET else None
        case ast.Call(func=ast.Name(id="q"), args=[_, ast.Constant(value=unit)]):
            found = 1.0 if unit in OFFSET else None
        case ast.Call(func=ast.Name(id="abs"), args=[term]):
            found = None if (inner := weight(term, units)) is None else abs(inner)
        case ast.Call(func=ast.Name(id="min" | "max"), args=terms):
            found = _common([weight(term, units) for term in terms])
        case ast.IfExp(body=body, orelse=orelse):
            found = _common([weight(body, units), weight(orelse, units)])
        case ast.UnaryOp(op=op, operand=operand):
            found = _turned(op, weight(operand, units))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            found = _added(node, weight(node.left, units), weight(node.right, units))
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            found = _multiplied(node, units)
    return found


def sort(node: ast.AST, units: Mapping[str, str]) -> Sort | None:
    """What a term is; None where it is neither, or may be either."""
    found = weight(node, units)
    if found is None:
        return None
    return "point" if _same(found, 1) else "step" if _same(found, 0) else None


def mixed(terms: Sequence[ast.AST], units: Mapping[str, str]) -> bool:
    """Do two of them hold the zero of the scale so many times, and so many?"""
    found = [each for term in terms if (each := weight(term, units)) is not None]
    return any(not _same(each, found[0]) for each in found)


def literal(node: ast.AST) -> float | None:
    """2, -1, 1/2: the value of a number that is written out; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = literal(node.operand)
        return None if inner is None else (-inner if isinstance(node.op, ast.USub) else inner)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        above, below = literal(node.left), literal(node.right)
        return above / below if above is not None and below else None
    return None


def _same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def _common(weights: Sequence[float | None]) -> float | None:
    found = [each for each in weights if each is not None]
    return found[0] if found and all(_same(each, found[0]) for each in found) else None


def _turned(op: ast.unaryop, found: float | None) -> float | None:
    return -found if found is not None and isinstance(op, ast.USub) else found


def _added(node: ast.BinOp, left: float | None, right: float | None) -> float | None:
    """What is in K beside a point is taken for a step; beside a share of one it may be the other share."""
    if left is not None and right is not None:
        return left - right if isinstance(node.op, ast.Sub) else left + right
    found, other = (left, node.right) if left is not None else (right, node.left)
    if found is None or (isinstance(node.op, ast.Sub) and left is None and not _same(found, 0)):
        return None
    return found if _same(found, 0) or _same(found, 1) or isinstance(other, ast.Call) else None


def _multiplied(node: ast.BinOp, units: Mapping[str, str]) -> float | None:
    left, right = weight(node.left, units), weight(node.right, units)
    if (by := literal(node.right)) and left is not None:
        return _times(left, 1 / by if isinstance(node.op, ast.Div) else by, node.left, units)
    if (by := literal(node.left)) and right is not None and isinstance(node.op, ast.Mult):
        return _times(right, by, node.right, units)
    return 0.0 if {left, right} in ({0.0}, {0.0, None}) else None


def _times(found: float, by: float, node: ast.AST, units: Mapping[str, str]) -> float | None:
    """Of what may hold a second point, in K, nobody can tell."""
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in units]
    return found * by if _same(found, 0) or all(units[name] in OFFSET for name in names) else None
