"""From answers to readings: conversion, quality, and what is not finite."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.modbus.layout import Layout
from gateway.model import Quality, Reading


def reading(tags: dict[str, Any], memory: dict[int, int], **given: Any) -> Reading:
    """The reading of a device whose holding registers hold `memory`."""
    config = ModbusConfig.model_validate({"url": "tcp://127.0.0.1:502", "tags": tags, **given})
    layout = Layout(config.channels, len(config.names), config.parts, 9)
    answers = [
        bytes(9) + b"".join(memory.get(at, 0).to_bytes(2, "big") for at in range(start, start + count))
        for start, count in ((part.block.start, part.block.count) for part in config.parts)
    ]
    return layout.reading(answers, config.held)


def f32(address: int, value: float) -> dict[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return {address: high, address + 1: low}


@pytest.mark.parametrize(
    ("tag", "word", "value"),
    [
        ({}, 7, 7),
        ({"type": "i16"}, 65535, -1),
        ({"scale": 0.1}, 3, 0.3),
        ({"scale": 0.01, "type": "i16"}, 65436, -1.0),
        ({"scale": 0.3}, 10, 3.0),
        ({"offset": -40.0, "scale": 0.5}, 100, 10.0),
        ({"device_unit": "[degF]", "unit": "Cel"}, 212, 100.0),
        ({"device_unit": "[degF]", "unit": "Cel", "scale": 0.1}, 320, 0.0),
        ({"bit": 3}, 0b1000, True),
        ({"bit": 3}, 0b0111, False),
        ({"bit": 2, "bits_wide": 3}, 0b10110, 5),
        ({"bit": 8, "bits_wide": 8, "scale": 0.1}, 0x7B00, 12.3),
        ({"type": "u8"}, 0x12FE, 0xFE),
        ({"type": "i8"}, 0x12FE, -2),
        ({"type": "u8", "half": "high"}, 0x12FE, 0x12),
        ({"type": "i8", "half": "high", "byte_order": "little"}, 0x12FE, -2),
        ({"type": "bcd16"}, 0x1987, 1987),
        ({"type": "bcd16", "scale": 0.1}, 0x0215, 21.5),
    ],
)
def test_conversions(tag: dict[str, Any], word: int, value: float) -> None:
    """Raw words become numbers in the tag's unit."""
    found = reading({"a": {"address": 4, **tag}}, {4: word}).values[0]

    assert type(found) is type(value)
    assert found == pytest.approx(value, abs=1e-9)
    if "offset" not in tag and "device_unit" not in tag:
        assert found == value


@pytest.mark.parametrize("tag", [{"type": "u32", "bit": 24}, {"type": "u32", "bit": 24, "word_order": "little"}])
def test_a_bit_of_a_wide_register(tag: dict[str, Any]) -> None:
    """Bit 24 of a status of 32 bits stands in its high word, wherever that is."""
    high = 4 if "word_order" not in tag else 5

    assert reading({"a": {"address": 4, **tag}}, {high: 0x0100}).values == (True,)
    assert reading({"a": {"address": 4, **tag}}, {high: 0x0200}).values == (False,)


def test_digits_that_are_none() -> None:
    """BCD with a digit above nine is bad."""
    found = reading({"a": {"address": 4, "type": "bcd32"}}, {4: 0x0012, 5: 0x34A6})

    assert found.values == (None,)
    assert found.faults[0].reason == "not BCD: 0x1234a6"


LINKED: dict[str, Any] = {
    "pv": {
        "address": 0,
        "type": "i16",
        "unit": "Cel",
        "decimals": "dp",
        "unit_from": {"tag": "unit", "codes": {15: "Cel", 30: "[degF]"}},
    },
    "dp": {"address": 1},
    "unit": {"address": 2},
}


@pytest.mark.parametrize("select", [None, ["pv"]])
@pytest.mark.parametrize(
    ("words", "value"),
    [((251, 1, 15), 25.1), ((2510, 2, 15), 25.1), ((25, 0, 15), 25), ((772, 1, 30), 25.111111), ((65286, 1, 15), -25)],
)
def test_decimals_and_unit_by_register(words: tuple[int, int, int], value: float, select: Any) -> None:
    """A whole number is read as two other registers of the same poll say: its decimals, its unit."""
    found = reading(LINKED, dict(enumerate(words)), select=select)

    assert found.faults == {}
    assert found.values[0] == pytest.approx(value)


@pytest.mark.parametrize(("words", "reason"), [((251, 7, 15), "dp is 7, unit is 15"), ((251, 1, 0), "unit is 0")])
def test_a_code_nobody_knows_is_no_number(words: tuple[int, int, int], reason: str) -> None:
    """What the other registers say and nobody can read makes the value bad, never a guess."""
    found = reading(LINKED, dict(enumerate(words)))

    assert found.values[0] is None
    assert found.faults[0].quality is Quality.BAD
    assert reason in found.faults[0].reason


def test_a_link_that_cannot_be_read() -> None:
    """Without its decimals a number is bad."""
    config = ModbusConfig.model_validate({"url": "tcp://127.0.0.1:502", "tags": LINKED, "max_read": 1})
    layout = Layout(config.channels, len(config.names), config.parts, 0)
    found = layout.damaged([b"\0\7", None, b"\0\x0f"], {1: "refused"}, None)

    assert found.values == (None, None, 15)
    assert "dp, which says how it is read, cannot be read" in found.faults[0].reason


@pytest.mark.parametrize(("word", "good"), [(65037, False), (65036, False), (65047, True), (2000, True), (2001, False)])
def test_beyond_what_can_be(word: int, good: bool) -> None:
    """A value outside its valid range is a broken sensor's, and bad."""
    tags = {"a": {"address": 1, "type": "i16", "scale": 0.1, "unit": "Cel", "valid": [-49, 200]}, "b": {"address": 2}}
    found = reading(tags, {1: word, 2: 7})

    assert (found.values[0] is not None) is good
    assert found.values[1] == 7
    if not good:
        assert "cannot be: valid is -49 to 200" in found.faults[0].reason


def test_bad_values_of_a_float32() -> None:
    """-9999.9 is found although no float32 is exactly that."""
    found = reading({"a": {"address": 0, "type": "f32", "bad_values": [-9999.9]}}, f32(0, -9999.9))

    assert found.values == (None,)


def test_whole_numbers_stay_whole() -> None:
    """A counter beside a scaled tag stays an int."""
    values = reading({"a": {"address": 1, "scale": 0.1}, "b": {"address": 2}}, {1: 5, 2: 9}).values

    assert values == (0.5, 9)
    assert isinstance(values[1], int)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_not_finite_is_bad(wrong: float) -> None:
    """NaN and infinities are bad and have no value; the neighbours keep theirs."""
    tags = {"a": {"address": 0, "type": "f32"}, "b": {"address": 2, "type": "f32", "unit": "Cel"}}
    found = reading(tags, {**f32(0, 1.5), **f32(2, wrong)})

    assert found.values == (1.5, None)
    assert found.faults[1].quality is Quality.BAD
    assert str(wrong) in found.faults[1].reason


def test_a_sum_that_overflows_is_not_a_fault() -> None:
    """Two huge but finite numbers are both good."""
    tags = {"a": {"address": 0, "type": "f64"}, "b": {"address": 4, "type": "f64"}}
    words = dict(enumerate(struct.unpack(">8H", struct.pack(">dd", 1.7e308, 1.7e308))))

    assert reading(tags, words).faults == {}


def test_infinity_by_conversion_is_bad() -> None:
    """A number that becomes infinite by its scale is bad too."""
    tags = {"a": {"address": 0, "type": "f64", "scale": 1000.0}}
    words = dict(enumerate(struct.unpack(">4H", struct.pack(">d", 1.7e308))))

    assert reading(tags, words).values == (None,)


def test_bad_values() -> None:
    """A raw value that means `no value` is bad, and named."""
    found = reading({"a": {"address": 1, "type": "i16", "bad_values": [-32768]}, "b": {"address": 2}}, {1: 0x8000})

    assert found.values == (None, 0)
    assert "-32768" in found.faults[0].reason


STATUS: dict[str, Any] = {
    "pv": {
        "address": 0,
        "bad_bits": {"tag": "status", "mask": 0x40},
        "uncertain_bits": {"tag": "status", "mask": 0x101},
        "good_when": {"tag": "mode", "in": [10, 54]},
    },
    "status": {"address": 1, "bits": {6: "sensor error", 8: "not stable"}},
    "mode": {"address": 2, "meanings": {62: "off"}},
}


@pytest.mark.parametrize(
    ("status", "mode", "quality", "reason"),
    [
        (0, 10, None, ""),
        (0x8000, 54, None, ""),
        (0x40, 10, Quality.BAD, "status says sensor error"),
        (0x140, 10, Quality.BAD, "status says sensor error"),
        (0x101, 10, Quality.UNCERTAIN, "status says bit 0, not stable"),
        (0, 62, Quality.BAD, "mode is 62 (off)"),
        (0x100, 62, Quality.BAD, "mode is 62 (off)"),
    ],
)
@pytest.mark.parametrize("select", [None, ["pv"]])
def test_status_words(status: int, mode: int, quality: Quality | None, reason: str, select: Any) -> None:
    """Another register decides on a value's quality, whether it is shown or only read for that."""
    found = reading(STATUS, {0: 123, 1: status, 2: mode}, select=select)

    assert len(found.values) == (1 if select else 3)
    if quality is None:
        assert found.faults == {}
        assert found.values[0] == 123
    else:
        assert found.faults[0].quality is quality
        assert found.faults[0].reason == reason
        assert (found.values[0] is None) == (quality is Quality.BAD)


def test_nan_under_a_doubtful_status() -> None:
    """A NaN is bad even where the status only calls it uncertain."""
    tags = {
        "pv": {"address": 0, "type": "f32", "uncertain_bits": {"tag": "s", "mask": 1}},
        "s": {"address": 2},
    }
    found = reading(tags, {**f32(0, math.nan), 2: 1})

    assert found.values[0] is None
    assert found.faults[0].quality is Quality.BAD


def test_text_that_is_none() -> None:
    """Text is trimmed; bytes that are no ASCII are bad."""
    tags = {"a": {"address": 0, "type": "ascii", "length": 4}, "b": {"address": 2, "type": "ascii", "length": 2}}
    found = reading(tags, {0: 0x4C31, 1: 0x2000, 2: 0xFFFE})

    assert found.values == ("L1", None)
    assert "not ASCII" in found.faults[1].reason


def test_held_is_the_machine_s_word() -> None:
    """Held follows the confirm tag, shown or not."""
    halt = {"write": {"coil": 1, "value": True}, "confirm": {"tag": "state", "in": [10, 11]}}
    tags = {"a": {"address": 0}, "state": {"address": 3}}

    assert reading(tags, {3: 11}, halt=halt).held is True
    assert reading(tags, {3: 6}, halt=halt, select=["a"]).held is False
    assert reading(tags, {3: 6}).held is None


def test_order_of_tags_is_the_order_of_values() -> None:
    """Values stand in the config's order, whatever their addresses."""
    tags = {name: {"address": at} for name, at in (("c", 30), ("a", 10), ("d", 40), ("b", 20))}

    assert reading(tags, {10: 1, 20: 2, 30: 3, 40: 4}).values == (3, 1, 4, 2)
