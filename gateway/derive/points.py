"""A site's own points of viscosity over temperature, read from CSV text; and a picture of the fit, as SVG.  Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from html import escape
from math import ceil, floor, inf, log10

from gateway.derive import dimensions
from gateway.derive.models import ZERO_CEL, Fit, curve, possible

_HEAD = re.compile(r"^\s*(temperature|temp|t(?=[^a-z]|[cfk]?\s*$)|viscosity|eta)[\s_]*(.*?)\s*$", re.IGNORECASE)
_SPELT = {"°C": "Cel", "degC": "Cel", "C": "Cel", "°F": "[degF]", "degF": "[degF]", "F": "[degF]"}
_SPELT |= {"mPas": "mPa.s", "mPa·s": "mPa.s", "mPa*s": "mPa.s", "Pas": "Pa.s", "Pa·s": "Pa.s", "Pa*s": "Pa.s"}
"""As laboratories write them -> UCUM."""
_SIZE = (760, 420, 70, 20, 20, 50)
"""Width, height; left, right, top, bottom margin."""


def read_points(text: str, name: str) -> list[tuple[float, float]]:
    """(kelvin, mPa.s) of a CSV with the columns temperature and viscosity.

    A unit may stand in the head, as `temperature [Cel]`, `viscosity_cP`; without one Cel and mPa.s are meant.  Lines
    that begin with # say where the points come from.  ValueError names file, line and column.
    """
    lines = [
        (number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith(("#", "\ufeff#"))
    ]
    plain = "\n".join(line for _, line in lines)
    rows = list(csv.reader(io.StringIO(plain), delimiter=_delimiter(plain)))
    heads = [_head(cell) for cell in rows[0]] if rows else []
    columns: dict[str, tuple[int, str]] = {}
    for at, head in enumerate(heads):
        if head is not None and head[0] in columns:
            where = f"{name}:{lines[0][0]}:{at + 1}"
            raise ValueError(f"{where}: a second column of the {head[0]}: which one counts? Leave one out")
        if head is not None:
            columns[head[0]] = (at, head[1])
    for wanted in ("temperature", "viscosity"):
        if wanted not in columns:
            where = f"{name}:{lines[0][0] if lines else 1}:1"
            raise ValueError(f"{where}: no column {wanted!r}; the first line names them: temperature,viscosity")
    for wanted, (at, unit) in columns.items():
        _measures(unit, wanted, f"{name}:{lines[0][0]}:{at + 1}")
    points = []
    for (number, _), row in zip(lines[1:], rows[1:], strict=False):
        if any(cell.strip() for cell in row):
            if any(cell.strip() for cell in row[len(heads) :]):
                where = f"{name}:{number}:{len(heads) + 1}"
                raise ValueError(
                    f"{where}: more cells than the head names; a comma in a number? Write 60.5 with a point"
                )
            kelvin, pascal_s = (_cell(row, columns[each], name, number) for each in ("temperature", "viscosity"))
            at = columns["viscosity" if 0 < kelvin < inf else "temperature"][0]
            points.append(possible(kelvin, pascal_s * 1000, f"{name}:{number}:{at + 1}: "))
    return points


def _measures(unit: str, column: str, where: str) -> None:
    """ValueError: the unit in the head is none of what the column holds."""
    wanted = "Cel, K or [degF]" if column == "temperature" else "mPa.s, cP or Pa.s"
    try:
        dimensions.to_si(unit)
    except ValueError:
        raise ValueError(f"{where}: {unit} is no unit of {column}; write {wanted}") from None
    if column == "temperature" and not dimensions.alike(unit, "K"):
        raise ValueError(f"{where}: {unit} is no unit of temperature; write Cel, K or [degF]")
    if column == "viscosity" and dimensions.alike(unit, "mm2/s"):
        raise ValueError(f"{where}: {unit} is kinematic; multiply by the density (g/cm3) and write mPa.s")
    if column == "viscosity" and not dimensions.alike(unit, "mPa.s"):
        raise ValueError(f"{where}: {unit} is no unit of viscosity; write mPa.s, cP or Pa.s")


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _head(cell: str) -> tuple[str, str] | None:
    match = _HEAD.match(cell.lstrip("\ufeff"))
    if match is None:
        return None
    thermal = match[1].lower().startswith("t")
    unit = match[2]
    if (unit[:1], unit[-1:]) in (("[", "]"), ("(", ")")) and unit != "[degF]":
        unit = unit[1:-1].strip()
    unit = unit or ("Cel" if thermal else "mPa.s")
    return ("temperature" if thermal else "viscosity", _SPELT.get(unit, unit))


def _cell(row: Sequence[str], column: tuple[int, str], name: str, line: int) -> float:
    """In SI.  ValueError names the place."""
    at, unit = column
    where = f"{name}:{line}:{at + 1}"
    text = row[at].strip() if at < len(row) else ""
    try:
        value = float(text if text.isascii() and "_" not in text else "no")
    except ValueError:
        raise ValueError(f"{where}: {text!r} is not a number") from None
    factor, offset = dimensions.to_si(unit)
    return value * factor + offset


def picture(fits: Sequence[Fit], points: Sequence[tuple[float, float]]) -> str:
    """Points and curves, the viscosity on a logarithmic axis."""
    width, height, left, right, top, bottom = _SIZE
    low_k, high_k = min(kelvin for kelvin, _ in points), max(kelvin for kelvin, _ in points)
    low, high = floor(log10(min(eta for _, eta in points))), ceil(log10(max(eta for _, eta in points)))
    high = max(high, low + 1)

    def x(kelvin: float) -> float:
        return left + (kelvin - low_k) / (high_k - low_k) * (width - left - right)

    def y(eta: float) -> float:
        return top + (high - log10(eta)) / (high - low) * (height - top - bottom)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for decade in range(low, high + 1):
        level = y(10.0**decade)
        parts.append(f'<path d="M{left} {level:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{level + 4:.1f}" font-size="12" text-anchor="end">{10.0**decade:g}</text>'
        )
    for at in range(6):
        kelvin = low_k + (high_k - low_k) * at / 5
        said = f"{kelvin - ZERO_CEL:.4g}"
        parts.append(f'<text x="{x(kelvin):.1f}" y="{height - 28}" font-size="12" text-anchor="middle">{said}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 8}" font-size="12" text-anchor="middle">temperature, Cel</text>')
    turned = f'transform="translate(16 {height / 2}) rotate(-90)"'
    parts.append(f'<text {turned} font-size="12" text-anchor="middle">viscosity, mPa.s</text>')
    for number, (fit, colour) in enumerate(zip(fits, ("#1f5fa8", "#b5541c", "#2f7d4f"), strict=False)):
        path = " ".join(f"{x(kelvin):.1f},{y(eta):.1f}" for kelvin, eta in curve(fit.model))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        text = escape(f"{fit.model.kind}: worst residual {fit.worst_percent:.2g} %")
        parts.append(
            f'<text x="{width - right - 8}" y="{top + 16 + 18 * number}" font-size="13" fill="{colour}" '
            f'text-anchor="end">{text}</text>'
        )
    parts += [f'<circle cx="{x(kelvin):.1f}" cy="{y(eta):.1f}" r="4" fill="#222"/>' for kelvin, eta in points]
    return "\n".join([*parts, "</svg>"]) + "\n"
