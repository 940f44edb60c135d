"""Registers to numbers: one precompiled struct for a block, whatever the word and byte order.  Pure.

A 32-bit value with bytes A (high) B C D stands on the wire as

    word big,    byte big      AB CD   the usual one
    word little, byte big      CD AB   Watlow's default
    word big,    byte little   BA DC
    word little, byte little   DC BA

`struct` knows the first and the last; the two others are those with the bytes of each register swapped.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

HALVES: Final = {"u8": "B", "i8": "b"}
"""One byte of a register."""
CODES: Final = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
FLOATS: Final = frozenset({"f32", "f64"})
WIDTHS: Final = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "u64": 4, "i64": 4, "f32": 2, "f64": 4, "u8": 1, "i8": 1}
"""Registers of a type; ascii has two characters in each."""

Raws = tuple[Any, ...]
Unpack = Callable[[bytes], Raws]


class Field(NamedTuple):
    """One value in the registers.  Equal fields are read once."""

    start: int
    """PDU address."""
    type: str
    """A key of CODES or HALVES, or ascii."""
    word_order: str = "big"
    byte_order: str = "big"
    chars: int = 0
    """Characters of an ascii field."""
    high: bool = False
    """Of u8 and i8: the high byte of the register."""

    @property
    def width(self) -> int:
        """Registers it takes."""
        return (self.chars + 1) // 2 if self.type == "ascii" else WIDTHS[self.type]


class _Order(NamedTuple):
    """How a field is unpacked: bytes of each register swapped first?  Then with which struct prefix?"""

    swap: bool
    prefix: str


def unpacker(fields: Sequence[Field], start: int, data_at: int) -> Unpack:
    """A function from a whole answer to the raw values of `fields`, in their order.

    The block begins at register `start`, its data at byte `data_at` of the answer.
    """
    passes = [
        (_compile(part, order, start, data_at), part)
        for order, members in _by_order(fields).items()
        for part in _layers(members)
    ]
    found = [field for _, part in passes for field in part]
    steps = [step for step, _ in passes]
    unpack = steps[0] if len(steps) == 1 else _joined(steps)
    return unpack if found == list(fields) else _reordered(unpack, [found.index(field) for field in fields])


def bit_unpacker(addresses: Sequence[int], start: int, data_at: int) -> Unpack:
    """The same for coils and discrete inputs: the lowest bit of the first byte is the first address."""
    offsets = [address - start for address in addresses]
    length = max(offsets) // 8 + 1

    def unpack(adu: bytes) -> Raws:
        bits = int.from_bytes(adu[data_at : data_at + length], "little")
        return tuple([bits >> offset & 1 == 1 for offset in offsets])

    return unpack


def _orders(field: Field) -> tuple[_Order, ...]:
    """The ways to unpack a field: one register does not care for the word order, text not for the prefix."""
    big = field.byte_order == "big"
    if field.type == "ascii":
        return (_Order(not big, ">"), _Order(not big, "<"))
    straight, swapped = _Order(False, ">" if big else "<"), _Order(True, "<" if big else ">")
    if field.width == 1:
        return (straight, swapped)
    return (straight,) if field.word_order == field.byte_order else (swapped,)


def _by_order(fields: Sequence[Field]) -> dict[_Order, list[Field]]:
    """As few orders as possible: those who do not care go with those who do."""
    orders: dict[_Order, list[Field]] = {}
    for field in sorted(set(fields), key=lambda field: (len(_orders(field)), field)):
        choices = _orders(field)
        order = next((choice for choice in choices if choice in orders), choices[0])
        orders.setdefault(order, []).append(field)
    return orders


def _layers(fields: Sequence[Field]) -> list[list[Field]]:
    """Fields in address order, in as few passes as overlapping ones need."""
    layers: list[list[Field]] = []
    for field in sorted(fields):
        for layer in layers:
            if layer[-1].start + layer[-1].width <= field.start:
                layer.append(field)
                break
        else:
            layers.append([field])
    return layers


def _compile(fields: Sequence[Field], order: _Order, start: int, data_at: int) -> Unpack:
    codes = [f"{order.prefix}{0 if order.swap else data_at}x"]
    at = start
    for field in fields:
        codes.append(f"{2 * (field.start - at)}x")
        codes.append(_code(field, order.prefix))
        at = field.start + field.width
    unpack_from = Struct("".join(codes)).unpack_from
    if not order.swap:
        return unpack_from
    stop = data_at + 2 * (at - start)

    def unpack(adu: bytes) -> Raws:
        words = array("H", adu[data_at:stop])
        words.byteswap()
        return unpack_from(words)

    return unpack


def _code(field: Field, prefix: str) -> str:
    if field.type == "ascii":
        return f"{2 * field.width}s"
    if field.type in HALVES:
        first = field.high == (prefix == ">")
        return f"{HALVES[field.type]}x" if first else f"x{HALVES[field.type]}"
    return CODES[field.type]


def _joined(steps: Sequence[Unpack]) -> Unpack:
    def unpack(adu: bytes) -> Raws:
        return tuple([raw for step in steps for raw in step(adu)])

    return unpack


def _reordered(unpack: Unpack, order: Sequence[int]) -> Unpack:
    if len(order) == 1:
        only = order[0]
        return lambda adu: (unpack(adu)[only],)
    pick = itemgetter(*order)
    return lambda adu: pick(unpack(adu))
