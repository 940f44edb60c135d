"""What raw registers may mean: every interpretation, and those under which they hold a value that is known.  Pure.

A match is as plausible as it is unlikely to be chance (bits of evidence), less what is unusual about it: a word order
few devices use, a scale, a unit of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from math import inf, isfinite, log2
from typing import Final

import msgspec

from gateway.drivers.wire.registers import CODES, FLOATS, WIDTHS, Field, unpacker

ORDERS: Final = {
    "AB CD": ("big", "big"),
    "CD AB": ("little", "big"),
    "BA DC": ("big", "little"),
    "DC BA": ("little", "little"),
}
"""How the bytes of a 32-bit value stand on the wire -> word order, byte order."""
_ODD_ORDER: Final = {("big", "big"): 0.0, ("little", "big"): 1.0, ("big", "little"): 4.0, ("little", "little"): 3.0}
_ODD_TYPE: Final = {"u16": 0.0, "i16": 0.5, "f32": 0.0, "u32": 1.0, "i32": 1.0, "f64": 2.0, "u64": 3.0, "i64": 3.0}
_SCALES: Final = {0: 0.0, 1: 1.0, 2: 1.5, 3: 2.5}
"""Decimals of a scaled whole number -> how unusual, in bits."""
_IN_FAHRENHEIT: Final = 3.0


class Match(msgspec.Struct, frozen=True):
    """One way to read a register so that it holds the value that is known."""

    address: int
    """PDU address."""
    type: str
    word_order: str
    byte_order: str
    decimals: int
    """The value is the raw number / 10 ** decimals."""
    fahrenheit: bool
    """Counted in degF, where the known value is in Cel."""
    raw: float
    value: float
    bits: float
    """How plausible: bits of evidence, less what is unusual."""

    def settings(self, base: int, table: str) -> str:
        """The tag, as YAML writes it."""
        words = [f"address: {self.address + base}", f"type: {self.type}"]
        words += [f"table: {table}"] if table != "holding" else []
        words += [f"word_order: {self.word_order}"] if self.word_order != "big" else []
        words += [f"byte_order: {self.byte_order}"] if self.byte_order != "big" else []
        words += [f"scale: {10**-self.decimals:g}"] if self.decimals else []
        words += ['device_unit: "[degF]"', "unit: Cel"] if self.fahrenheit else []
        return f"{{{', '.join(words)}}}"


def tolerance_of(text: str) -> float:
    """Half a unit of the last digit somebody wrote: 86.4 is 86.35 to 86.45.  ValueError where it is no number."""
    float(text)
    digits = text.strip().lower().partition("e")[0].partition(".")[2]
    return 0.5 / float(10 ** len(digits))


def interpretations(words: Mapping[int, int], address: int) -> dict[tuple[str, str], float]:
    """(type, order) -> number for every type that begins at this address; a hole in `words` ends them."""
    found: dict[tuple[str, str], float] = {}
    for kind in CODES:
        data = _data(words, address, WIDTHS[kind])
        if data is None:
            continue
        for order, (word_order, byte_order) in ORDERS.items():
            if WIDTHS[kind] == 1 and word_order != byte_order:
                continue  # one register has no words to order
            found[kind, order] = unpacker([Field(address, kind, word_order, byte_order)], address, 0)(data)[0]
    return found


def matches(words: Mapping[int, int], expected: float, tolerance: float) -> list[Match]:
    """Every way to find the value, the most plausible first."""
    found = [match for address in sorted(words) for match in _at(words, address, expected, tolerance)]
    return sorted(_plain(found), key=lambda match: (-match.bits, match.address))


def base_of(address: int, manual: int) -> int | None:
    """What the manual counts from, if this PDU address is what it calls `manual`; 40001 and 400001 understood."""
    for first in (0, 1, 40001, 30001, 400001, 300001, 10001, 100001):
        if manual - first == address:
            return min(first, 1)
    return None


def _data(words: Mapping[int, int], address: int, width: int) -> bytes | None:
    found = [words.get(at) for at in range(address, address + width)]
    return None if None in found else struct.pack(f">{width}H", *found)


def _at(words: Mapping[int, int], address: int, expected: float, tolerance: float) -> Iterator[Match]:
    for (kind, order), raw in interpretations(words, address).items():
        if not isfinite(raw):
            continue
        for decimals, fahrenheit, value in _readings(kind, raw):
            if abs(value - expected) > tolerance * (1 + 1e-9):
                continue
            per_raw = 10.0**-decimals * (5 / 9 if fahrenheit else 1)
            odd = _ODD_ORDER[ORDERS[order]] + _ODD_TYPE[kind] + _SCALES[decimals] + _IN_FAHRENHEIT * fahrenheit
            bits = _evidence(kind, raw, tolerance / per_raw) - odd
            word_order, byte_order = ORDERS[order]
            yield Match(address, kind, word_order, byte_order, decimals, fahrenheit, raw, value, bits)


def _readings(kind: str, raw: float) -> Iterator[tuple[int, bool, float]]:
    """(decimals, in degF?, value) for each scale and unit a raw number may have."""
    for decimals in (0,) if kind in FLOATS else _SCALES:
        value = raw / 10**decimals
        yield decimals, False, value
        yield decimals, True, (value - 32) / 1.8


def _evidence(kind: str, raw: float, tolerance: float) -> float:
    """Bits: how unlikely it is that a register nobody meant falls within the tolerance."""
    if kind in FLOATS:
        spread = max(abs(raw), 1e-30) / max(tolerance, abs(raw) * 1e-7, 1e-30)
        return max(0.0, log2(spread)) + 6 if raw else 1.0  # six bits for an exponent that fits
    return max(0.0, log2(abs(raw) + 1) - log2(2 * tolerance + 1))


def _plain(found: Sequence[Match]) -> Iterator[Match]:
    """Without those that say the same twice: i16 for what is a u16 as well, a u32 whose high word is empty."""
    said: dict[tuple[int, int, bool, float], float] = {}
    rank = list(_ODD_TYPE)
    for match in sorted(found, key=lambda match: (rank.index(match.type), -match.bits)):
        last = match.address + (WIDTHS[match.type] - 1 if match.word_order == "big" else 0)
        key = (last, match.decimals, match.fahrenheit, match.raw)
        if match.type not in FLOATS and said.get(key, -inf) > -inf:
            continue
        said[key] = match.bits
        yield match
