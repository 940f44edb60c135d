"""What registers may mean: a known value is found wherever and however it stands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.drivers.modbus.guess import base_of, interpretations, matches, tolerance_of


def words(data: bytes, at: int) -> dict[int, int]:
    return dict(enumerate(struct.unpack(f">{len(data) // 2}H", data), at))


@pytest.mark.parametrize(
    ("data", "expected", "tag"),
    [
        (struct.pack(">f", 86.4), 86.4, "{address: 40, type: f32}"),
        (bytes.fromhex("0000 4296"), 75.0, "{address: 40, type: f32, word_order: little}"),
        (struct.pack("<f", 86.4), 86.4, "{address: 40, type: f32, word_order: little, byte_order: little}"),
        (struct.pack(">H", 864), 86.4, "{address: 40, type: u16, scale: 0.1}"),
        (struct.pack(">h", -125), -12.5, "{address: 40, type: i16, scale: 0.1}"),
        (struct.pack(">i", -70000), -70000.0, "{address: 40, type: i32}"),
        (struct.pack(">d", 1.0201), 1.0201, "{address: 40, type: f64}"),
        (struct.pack(">f", 187.52), 86.4, '{address: 40, type: f32, device_unit: "[degF]", unit: Cel}'),
    ],
)
def test_the_right_reading_comes_first(data: bytes, expected: float, tag: str) -> None:
    """Type, orders, scale and the wire's own unit, from one value on a display."""
    found = matches(words(data, 40), expected, tolerance_of(str(expected)))

    assert found[0].settings(0, "holding") == tag


@settings(max_examples=25, deadline=None)
@given(
    st.floats(1, 1000, width=32),
    st.integers(0, 60),
    st.sampled_from([">", "<"]),
    st.lists(st.integers(0, 65535), min_size=64, max_size=64),
)
def test_it_is_found_among_anything(value: float, at: int, order: str, noise: list[int]) -> None:
    """Among sixty random registers the float is among the ways found, and leads or is beaten by a better chance."""
    memory = dict(enumerate(noise))
    memory.update(words(struct.pack(f"{order}f", value), at))
    found = matches(memory, value, 1e-4)

    assert any(match.address == at and match.type == "f32" and match.raw == value for match in found)


def test_holes_end_a_value() -> None:
    """What reaches into a register that was not read is not guessed."""
    assert {kind for kind, _ in interpretations({5: 1, 7: 2}, 5)} == {"u16", "i16"}


@pytest.mark.parametrize(
    ("address", "manual", "base"),
    [(360, 360, 0), (359, 360, 1), (360, 40361, 1), (360, 400361, 1), (56, 30057, 1), (3, 360, None)],
)
def test_what_a_manual_counts_from(address: int, manual: int, base: int | None) -> None:
    """The manual's number and the wire's tell the base."""
    assert base_of(address, manual) == base


@pytest.mark.parametrize(
    ("given_", "words_"),
    [
        (["modbus", "udp://x"], "does not begin with one of"),
        (["modbus", "tcp://127.0.0.1:9", "--table", "coil"], "holding or input"),
        (["modbus", "tcp://127.0.0.1:9", "--units", "a-b"], "numbers like 1-247"),
        (["modbus", "tcp://127.0.0.1:9", "--units", "1-300"], "units go from"),
        (["modbus", "tcp://127.0.0.1:9", "--units", "1-99999999999"], "units go from"),
        (["modbus", "tcp://127.0.0.1:9", "--units", "9-1"], "smaller number goes first"),
        (["modbus", "tcp://127.0.0.1:9", "--units", "\u0661"], "numbers like 1-247"),
        (["modbus", "tcp://127.0.0.1:9", "--timeout", "nan"], "seconds above 0"),
        (["modbus", "tcp://127.0.0.1:9", "--timeout", "-1"], "seconds above 0"),
        (["modbus", "tcp://127.0.0.1:9", "--from", "9", "--to", "3"], "smaller one first"),
        (["modbus", "serial:///dev/ttyNOWHERE"], "ttyNOWHERE"),
    ],
)
def test_mistakes_are_sentences(given_: list[str], words_: str) -> None:
    """Each mistake on the command line is answered in words."""
    result = CliRunner().invoke(app, ["probe", *given_])

    assert words_ in str(result.exception)
