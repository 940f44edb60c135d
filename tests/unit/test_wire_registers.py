"""Registers to numbers, in every order."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire.registers import CODES, WIDTHS, Field, bit_unpacker, unpacker


def on_the_wire(value: float, kind: str, word_order: str, byte_order: str) -> bytes:
    """Encode by the definition: words of the big-endian value, reversed or not, bytes in each swapped or not."""
    big = struct.pack(">" + CODES[kind], value)
    words = [big[at : at + 2] for at in range(0, len(big), 2)]
    words = words[::-1] if word_order == "little" else words
    return b"".join(word[::-1] if byte_order == "little" else word for word in words)


ORDERS = st.sampled_from(["big", "little"])


@st.composite
def maps(draw: st.DrawFn) -> list[tuple[Field, float]]:
    """Fields at rising addresses with holes between them, and their values."""
    at, found = draw(st.integers(0, 100)), []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(sorted(CODES)))
        bits = 16 * WIDTHS[kind]
        value = (
            draw(st.floats(width=32 if kind == "f32" else 64, allow_nan=False))
            if kind[0] == "f"
            else draw(
                st.integers(0, 2**bits - 1) if kind[0] == "u" else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            )
        )
        found.append((Field(at, kind, draw(ORDERS), draw(ORDERS)), value))
        at += WIDTHS[kind] + draw(st.integers(0, 3))
    return draw(st.permutations(found))


@given(maps(), st.sampled_from([3, 9]))
def test_every_map_decodes(given_map: list[tuple[Field, float]], data_at: int) -> None:
    """Any mixture of types and orders, in any order of tags, gives back what was encoded."""
    fields = [field for field, _ in given_map]
    start = min(field.start for field in fields)
    memory = bytearray(2 * (max(field.start + field.width for field in fields) - start))
    for field, value in given_map:
        at = 2 * (field.start - start)
        memory[at : at + 2 * field.width] = on_the_wire(value, field.type, field.word_order, field.byte_order)

    raws = unpacker(fields, start, data_at)(bytes(data_at) + bytes(memory) + b"crc")

    assert list(raws) == [value for _, value in given_map]


def test_watlow_float() -> None:
    """75.0 sent low word first is 75.0 (EZ-ZONE communications manual p. 13)."""
    assert unpacker([Field(2160, "f32", "little")], 2160, 0)(bytes.fromhex("0000 4296")) == (75.0,)


@given(st.integers(0, 255), st.integers(0, 255), ORDERS, ORDERS, ORDERS)
def test_halves_of_a_register(high: int, low: int, own: str, other: str, word: str) -> None:
    """Each byte of a register, in either byte order, beside a value of another order."""
    first, second = (high, low) if own == "big" else (low, high)
    fields = [
        Field(0, "u8", byte_order=own, high=True),
        Field(0, "u8", byte_order=own),
        Field(0, "i8", byte_order=own),
        Field(1, "u32", word, other),
    ]
    data = bytes((first, second)) + on_the_wire(7, "u32", word, other)

    assert unpacker(fields, 0, 0)(data) == (high, low, low - 256 * (low > 127), 7)


def test_overlapping_fields() -> None:
    """The same registers may be read as two things."""
    fields = [Field(0, "u32"), Field(1, "u16"), Field(0, "u16")]

    assert unpacker(fields, 0, 0)(bytes.fromhex("0001 0002")) == (0x10002, 2, 1)


@pytest.mark.parametrize(("order", "data"), [("big", b"AB C1\0"), ("little", b"BAC \x001")])
def test_text(order: str, data: bytes) -> None:
    """Two characters in each register, the first in the high byte or in the low one."""
    assert unpacker([Field(7, "ascii", byte_order=order, chars=5)], 7, 0)(data) == (b"AB C1\0",)


def test_bits() -> None:
    """Coils 27 to 38 of the standard's example: CD 6B 05 -> lowest bit first."""
    unpack = bit_unpacker([19, 20, 27, 37], 19, 3)

    assert unpack(b"\1\1\3\xcd\x6b\x05") == (True, False, True, True)
