"""A scale of the companion model as a balance."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest

from gateway.drivers.opcua.scale import PART_NAMES, Scale, ScaleTag
from gateway.drivers.wire.opcua_publish import Engineering, Structure
from gateway.model import Fault, Quality

WEIGHT, PRINTABLE, UNIT, STABLE, OVERLOAD, UNDERLOAD, PRECISION = range(len(PART_NAMES))
GRAM, KILOGRAM = Engineering(0x47524D, "g"), Engineering(0x4B474D, "kg")
TAGS = (
    ScaleTag(0, "scale-net", "decimal", "g"),
    ScaleTag(1, "scale-gross", "decimal", "g"),
    ScaleTag(2, "scale-tare", "number", "g"),
    ScaleTag(3, "scale-status", "text", "1"),
)


def weight(gross: float, net: float, tare: float) -> Structure:
    return Structure("ns=2;i=88", struct.pack("<3d", gross, net, tare))


def printable(*texts: str) -> Structure:
    return Structure("ns=2;i=91", b"".join(struct.pack("<i", len(text)) + text.encode() for text in texts))


def shown(parts: dict[int, Any], status: int = 0) -> dict[int, tuple[Any, Fault | None]]:
    """What the four tags say, by position."""
    scale = Scale(TAGS, lambda code: f"code {code:x}")
    for part, value in parts.items():
        scale.put(part, value, status if part == WEIGHT else 0)
    return {tag: (value, fault) for tag, value, fault in scale.show()}


GOOD = {WEIGHT: weight(21.012, 1.012, 20.0), UNIT: GRAM, STABLE: True, OVERLOAD: False, UNDERLOAD: False}


def test_a_stable_weight_is_good() -> None:
    """Net and gross as decimals, tare as the number it was asked to be, in the tags' own unit."""
    tags = shown(GOOD)

    assert tags == {
        0: (Decimal("1.012"), None),
        1: (Decimal("21.012"), None),
        2: (20.0, None),
        3: ("stable", None),
    }
    assert isinstance(tags[2][0], float)


@pytest.mark.parametrize(
    ("stable", "says"), [(False, "not stable"), (None, "the scale does not say that it is stable")]
)
def test_not_stable_is_uncertain(stable: bool | None, says: str) -> None:
    """A weight on its way, and one of a scale without WeightStable, is there and uncertain."""
    tags = shown({**GOOD, STABLE: stable})

    assert tags[0] == (Decimal("1.012"), Fault(Quality.UNCERTAIN, says))
    assert tags[3] == (says, None)


def test_without_the_stable_property() -> None:
    """WeightStable is optional: a scale that never had it is never stable."""
    without = {part: value for part, value in GOOD.items() if part != STABLE}

    assert shown(without)[0][1] == Fault(Quality.UNCERTAIN, "the scale does not say that it is stable")


@pytest.mark.parametrize(
    ("parts", "status", "says"),
    [
        ({OVERLOAD: True}, 0, "overload"),
        ({UNDERLOAD: True}, 0, "underload"),
        ({}, 0x80310000, "code 80310000"),
        ({WEIGHT: Structure("ns=2;i=99", b"short")}, 0, "no weight of the type"),
        ({WEIGHT: 1.5}, 0, "no weight of the type"),
    ],
)
def test_no_weight_is_no_number(parts: dict[int, Any], status: int, says: str) -> None:
    """Overload, a bad status and a structure of another type are bad, with the reason in the status tag too."""
    tags = shown({**GOOD, **parts}, status)

    value, fault = tags[0]
    assert value is None
    assert fault is not None
    assert fault.quality is Quality.BAD
    assert says in fault.reason
    assert tags[3] == (fault.reason, None)


def test_an_uncertain_status_wins_over_stable() -> None:
    """The server's own doubt is kept."""
    assert shown(GOOD, 0x40900000)[0][1] == Fault(Quality.UNCERTAIN, "code 40900000")


@pytest.mark.parametrize("unit", [None, Engineering(-1, "stone"), Engineering(0x4D5452, "m")])
def test_a_weight_without_a_unit_is_bad(unit: Engineering | None) -> None:
    """No unit, or one that is no mass: no number."""
    value, fault = shown({**GOOD, UNIT: unit})[0]

    assert value is None
    assert fault is not None
    assert "without a unit" in fault.reason


def test_kilograms_are_shown_in_grams() -> None:
    """The point moves and no digit is lost; a unit id of -1 goes by its text."""
    assert str(shown({**GOOD, WEIGHT: weight(1, 0.001012, 1), UNIT: KILOGRAM})[0][0]) == "1.012000"
    assert str(shown({**GOOD, WEIGHT: weight(3, 2.0, 1), UNIT: Engineering(-1, "kg")})[0][0]) == "2000.0"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({PRINTABLE: printable(" 21.0120", "1.0120", "20.0000")}, "1.0120"),
        ({PRINTABLE: printable("21.0", "1.5", "20")}, "1.012"),
        ({PRINTABLE: printable("21.0", "no", "20")}, "1.012"),
        ({PRINTABLE: Structure("ns=2;i=91", b"\xff\xff")}, "1.012"),
        ({PRECISION: 4.0}, "1.0120"),
        ({PRECISION: 1.0}, "1.012"),
        ({PRECISION: 3.0, WEIGHT: weight(21, 1.0120000000000002, 20)}, "1.012"),
    ],
)
def test_digits(parts: dict[int, Any], text: str) -> None:
    """The digits the scale prints, where they say the same; its precision puts zeros on and rounds nothing away."""
    assert str(shown({**GOOD, **parts})[0][0]) == text


def test_a_weight_that_is_no_number() -> None:
    """NaN in the structure is bad."""
    assert shown({**GOOD, WEIGHT: weight(1, float("nan"), 1)})[0][0] is None
    assert shown({**GOOD, WEIGHT: weight(1, 1e300, 1), PRECISION: 3})[0][0] == Decimal("1e300")
