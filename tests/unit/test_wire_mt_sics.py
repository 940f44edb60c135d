"""MT-SICS lines."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire.mt_sics import MtSics, parse
from gateway.drivers.wire.weighing import LONGEST
from gateway.model import Quality

GOLDEN = yaml.safe_load((Path(__file__).parent.parent / "golden" / "mt_sics.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["line"])
def test_golden_lines(case: dict[str, Any]) -> None:
    """Each line is understood as the manual says, to the digit, or is bad with a reason and its bytes."""
    message = parse(case["line"].encode())

    assert message.raw == case["line"].encode()
    assert message.id == case["id"]
    assert message.quality is Quality[case["quality"].upper()]
    assert bool(message.reason) == (message.quality is not Quality.GOOD)
    assert str(message.value) == case.get("value", "None")
    assert message.unit == case.get("unit", "")
    if "text" in case:
        assert message.text == case["text"]


@given(st.lists(st.sampled_from(GOLDEN), min_size=1, max_size=6), st.integers(1, 11))
def test_lines_in_pieces(cases: list[dict[str, Any]], piece: int) -> None:
    """However the bytes are cut, the same lines come out, each when it is whole."""
    stream = b"".join(case["line"].encode() + b"\r\n" for case in cases)
    codec = MtSics()
    found = [message for at in range(0, len(stream), piece) for message in codec.feed(stream[at : at + piece])]

    assert found == [parse(case["line"].encode()) for case in cases]


def test_half_a_line_waits() -> None:
    """Half a line is no line, and can be forgotten."""
    codec = MtSics()

    assert codec.feed(b"S S     10") == []
    codec.clear()
    assert codec.feed(b"S S     1.00 g\r\n")[0].value == Decimal("1.00")


def test_wrong_parity_is_garbage() -> None:
    """Bytes above 7F are shown and never read as digits."""
    (message,) = MtSics().feed(b"\xd3 S     100.00 g\r\n")

    assert message.quality is Quality.BAD
    assert "xd3" in message.reason


def test_a_line_without_end() -> None:
    """Noise without line ends is garbage after a while and fills no memory."""
    codec = MtSics()
    messages = [message for _ in range(20) for message in codec.feed(b"\xff" * 100)]

    assert messages
    assert all(message.quality is Quality.BAD for message in messages)
    assert len(codec._rest) <= LONGEST


@given(st.binary(max_size=400))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever comes, messages come out; a good one has a finite number or a text."""
    for message in MtSics().feed(data):
        assert message.value is None or message.value.is_finite()
