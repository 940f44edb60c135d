"""From one raw value to the tag's: a function made when the map is compiled, a C one wherever there is one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gateway.drivers.modbus.tags import ModbusTag
from gateway.drivers.wire.registers import FLOATS
from gateway.model import Value

Convert = Callable[[Any], Value]
"""None: the raw value is none of its kind (text that is not ASCII, digits that are not BCD)."""


def converter(tag: ModbusTag, kind: str, table: str) -> Convert:
    """For a tag of this kind, its scale and units included."""
    if kind == "bool":
        return bool if table in ("coil", "discrete") else _bit(tag.bit or 0)
    if kind == "ascii":
        return _text(tag.length)
    return number(kind, *tag.factors(), tag)


def number(kind: str, factor: float, offset: float, tag: ModbusTag) -> Convert:
    """The digits or bits of the raw number, times factor, plus offset."""
    scaled = _scaled(factor, offset, whole=kind not in FLOATS)
    if kind == "bits":
        return _bits(tag.bit or 0, tag.bits_wide or 1, scaled)
    if kind in ("bcd16", "bcd32"):
        return _bcd(scaled)
    return scaled


def bad_raws(tag: ModbusTag, kind: str) -> frozenset[int | float]:
    """Raw values that mean `no value`, as the wire can hold them: -9999.9 in a float32 is -9999.900390625."""
    if kind != "f32":
        return frozenset(tag.bad_values)
    return frozenset(_as_f32(value) for value in tag.bad_values)


def _as_f32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:  # no float32 is that large: it never comes
        return value


def _scaled(factor: float, offset: float, *, whole: bool) -> Convert:
    if offset:
        return _line(factor, offset)
    if factor == 1:
        return int if whole else float
    divisor = round(1 / factor)
    if divisor and 1 / divisor == factor:  # 3 / 10 is 0.3, 3 * 0.1 is not
        return float(divisor).__rtruediv__
    return factor.__mul__


def _line(factor: float, offset: float) -> Convert:
    return lambda raw: raw * factor + offset


def _bit(bit: int) -> Convert:
    mask = 1 << bit
    return lambda raw: raw & mask != 0


def _bits(bit: int, count: int, scaled: Convert) -> Convert:
    mask = (1 << count) - 1
    return lambda raw: scaled(raw >> bit & mask)


def _bcd(scaled: Convert) -> Convert:
    def convert(raw: int) -> Value:
        digits = f"{raw:x}"
        return scaled(int(digits)) if digits.isdecimal() else None

    return convert


def _text(chars: int) -> Convert:
    def convert(raw: bytes) -> Value:
        text = raw[:chars].rstrip(b"\0 ")
        return text.decode("ascii") if text.isascii() else None

    return convert
