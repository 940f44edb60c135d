"""Scales by OPC 40200 V2: a weight of the companion model as the decimal of a balance.  Pure.

One weight (`CurrentWeight`, `RegisteredWeight`) is a structure of gross, net and tare, with properties beside it.
Good only where `WeightStable` says so: the property is optional, and a scale without it never said that it stands.
Digits: those of `PrintableValue` where the scale gives it and it says the same; else `ValuePrecision` decimals;
else the shortest text of the double.  Source: OPC 40200 v2.00 §9.3, §10.3, nodeset 2.00; units: UNECE Rec. 20.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple

from gateway.drivers.opcua.compose import Shown, quality
from gateway.drivers.wire.opcua_publish import Engineering, Structure
from gateway.model import Fault, Quality, Value

URI: Final = "http://opcfoundation.org/UA/Scales/V2/"
Which = Literal["scale-net", "scale-gross", "scale-tare", "scale-status"]
_FIELDS: Final[Mapping[str, int]] = {"scale-gross": 0, "scale-net": 1, "scale-tare": 2}
"""Place in WeightType and in PrintableWeightType."""

PART_NAMES: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    (),
    ((URI, "PrintableValue"),),
    (("", "EngineeringUnits"),),
    ((URI, "WeightStable"),),
    ((URI, "Overload"),),
    ((URI, "Underload"),),
    (("", "ValuePrecision"),),
)
"""Browse paths below the weight; the first is the weight itself."""
_WEIGHT, _PRINTABLE, _UNIT, _STABLE, _OVERLOAD, _UNDERLOAD, _PRECISION = range(7)

GRAMS: Final[Mapping[str, Decimal]] = {
    "g": Decimal(1),
    "mg": Decimal("0.001"),
    "kg": Decimal(1000),
    "[oz_av]": Decimal("28.349523125"),
    "[lb_av]": Decimal("453.59237"),
}
"""UCUM code -> exact grams."""
_COMMON: Final[Mapping[str, str]] = {"GRM": "g", "MGM": "mg", "KGM": "kg", "ONZ": "[oz_av]", "LBR": "[lb_av]"}
"""UNECE common code -> UCUM; an EUInformation's UnitId is the code's letters as one number (10000-8 §5.6.3)."""
_DOUBLES: Final = struct.Struct("<3d")
_MOST_DECIMALS: Final = 12
_NOISE: Final = Decimal("1e-12")
"""Of a double, relative: 1.0120000000000002 is 1.012."""


class ScaleTag(NamedTuple):
    """One tag made of a scale's weight."""

    position: int
    which: Which
    kind: str
    unit: str
    """UCUM code it is shown in."""


class Scale:
    """What one weight of a scale says."""

    parts = len(PART_NAMES)

    def __init__(self, tags: Iterable[ScaleTag], status_name: Any) -> None:
        self._tags = tuple(tags)
        self.tags: Sequence[int] = tuple(tag.position for tag in self._tags)
        self._status_name = status_name
        self._said: list[Any] = [None] * self.parts
        self._status = 0

    def put(self, part: int, value: Any, status: int) -> None:
        if part == _WEIGHT:
            self._status = status
        self._said[part] = None if quality(status) is Quality.BAD else value

    def show(self) -> Iterable[Shown]:
        fault = self._fault()
        for tag in self._tags:
            if tag.which == "scale-status":
                yield tag.position, fault.reason if fault else "stable", None
            elif fault is not None and fault.quality is Quality.BAD:
                yield tag.position, None, fault
            else:
                yield self._weight(tag, fault)

    def _fault(self) -> Fault | None:
        """What is not good about the weight as a whole; None: stable."""
        useless = self._useless()
        if useless:
            return Fault(Quality.BAD, useless)
        if quality(self._status) is Quality.UNCERTAIN:
            return Fault(Quality.UNCERTAIN, self._status_name(self._status))
        if self._said[_STABLE] is True:
            return None
        silent = self._said[_STABLE] is None
        return Fault(Quality.UNCERTAIN, "the scale does not say that it is stable" if silent else "not stable")

    def _useless(self) -> str:
        """Why there is no weight at all; "" if there is one."""
        if quality(self._status) is Quality.BAD:
            return str(self._status_name(self._status))
        for part, says in ((_OVERLOAD, "overload"), (_UNDERLOAD, "underload")):
            if self._said[part] is True:
                return says
        return "" if _doubles(self._said[_WEIGHT]) else "the scale gives no weight of the type WeightType"

    def _weight(self, tag: ScaleTag, fault: Fault | None) -> Shown:
        unit = _ucum(self._said[_UNIT])
        if unit is None:
            return (
                tag.position,
                None,
                Fault(Quality.BAD, f"weight without a unit we know ({_named(self._said[_UNIT])})"),
            )
        said = self._digits(_FIELDS[tag.which])
        if said is None:
            return tag.position, None, Fault(Quality.BAD, "the weight is no finite number")
        shown = said if unit == tag.unit else _shorter(said * GRAMS[unit] / GRAMS[tag.unit])
        value: Value = shown if tag.kind == "decimal" else float(shown)
        return tag.position, value, fault

    def _digits(self, field: int) -> Decimal | None:
        """The field with the digits the scale shows."""
        doubles = _doubles(self._said[_WEIGHT])
        assert doubles is not None, "checked before"
        exact = Decimal(repr(doubles[field]))
        if not exact.is_finite():
            return None
        printed = _printed(self._said[_PRINTABLE], field)
        if printed is not None and abs(printed - exact) * 2 <= _last_place(printed):
            return printed
        decimals = self._said[_PRECISION]
        if isinstance(decimals, (int, float)) and 0 <= decimals <= _MOST_DECIMALS:
            return _padded(exact, int(decimals))
        return exact


def _doubles(value: Any) -> tuple[float, float, float] | None:
    if not isinstance(value, Structure) or len(value.body) != _DOUBLES.size:
        return None
    gross, net, tare = _DOUBLES.unpack(value.body)
    return gross, net, tare


def _printed(value: Any, field: int) -> Decimal | None:
    """A field of PrintableWeightType: three strings, each with its length before it."""
    if not isinstance(value, Structure):
        return None
    texts, at = [], 0
    try:
        for _ in range(3):
            (size,) = struct.unpack_from("<i", value.body, at)
            texts.append(value.body[at + 4 : at + 4 + max(size, 0)].decode())
            at += 4 + max(size, 0)
        number = Decimal(texts[field].strip())
    except (struct.error, UnicodeDecodeError, InvalidOperation):
        return None
    return number if number.is_finite() else None


def _padded(exact: Decimal, decimals: int) -> Decimal:
    """With so many decimals: zeros are put on, the noise of a double is taken off, nothing is rounded away."""
    try:
        rounded = exact.quantize(Decimal(1).scaleb(-decimals))
    except InvalidOperation:  # more digits than a Decimal here has
        return exact
    return rounded if abs(rounded - exact) <= _NOISE * max(Decimal(1), abs(exact)) else exact


def _last_place(number: Decimal) -> Decimal:
    exponent = number.as_tuple().exponent
    return Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)


def _shorter(number: Decimal) -> Decimal:
    """Without the zeros that a division by 0.001 or 1000 leaves in front of the point."""
    exponent = number.as_tuple().exponent
    return number.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else number


def _ucum(value: Any) -> str | None:
    if not isinstance(value, Engineering):
        return None
    code = value.unit_id.to_bytes(4, "big", signed=True).lstrip(b"\0").decode("ascii", "replace")
    return _COMMON.get(code) or (value.text if value.text in GRAMS else None)


def _named(value: Any) -> str:
    return f"{value.text!r}, unit id {value.unit_id}" if isinstance(value, Engineering) else "none is given"
