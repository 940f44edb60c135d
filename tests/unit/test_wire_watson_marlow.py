"""Watson-Marlow lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire import watson_marlow
from gateway.drivers.wire.watson_marlow import LONGEST, Line, Status, WatsonMarlow, parse

GOLDEN = yaml.safe_load((Path(__file__).parent.parent / "golden" / "watson_marlow.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["source"])
def test_golden_lines(case: dict[str, Any]) -> None:
    """Each line is understood as the manual says, or is garbage with a reason and its bytes."""
    line = parse(case["line"].encode())

    assert line.raw == case["line"].encode()
    assert line.kind == case["kind"]
    assert bool(line.reason) == (line.kind == "garbage")
    assert line.count == case.get("count", 0)
    assert (msgspec.to_builtins(line.status) if line.status else None) == case.get("status")


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["source"])
@pytest.mark.parametrize("end", [b"\r", b"\r\n"])
def test_every_split(case: dict[str, Any], end: bytes) -> None:
    """Wherever a line is cut in two, one line comes out, and only when it is whole."""
    stream = case["line"].encode() + end
    for at in range(len(stream)):
        codec = WatsonMarlow()
        found = codec.feed(stream[:at]) + codec.feed(stream[at:])

        assert found == [parse(case["line"].encode())], at


@given(st.lists(st.sampled_from(GOLDEN), min_size=1, max_size=6), st.integers(1, 11))
def test_lines_in_pieces(cases: list[dict[str, Any]], piece: int) -> None:
    """However the bytes are cut, the same lines come out."""
    stream = b"".join(case["line"].encode() + b"\r" for case in cases)
    codec = WatsonMarlow()
    found = [line for at in range(0, len(stream), piece) for line in codec.feed(stream[at : at + piece])]

    assert found == [parse(case["line"].encode()) for case in cases]


NAMES = st.text(st.sampled_from("ABCDEFRSTdu0123456789./-"), min_size=1, max_size=12)
STATUSES = st.builds(
    Status,
    model=NAMES,
    ml_per_revolution=st.integers(0, 99_999).map(lambda hundredths: hundredths / 100),
    head=NAMES,
    tube=NAMES,
    speed_rpm=st.integers(0, 9999).map(lambda tenths: tenths / 10),
    direction=st.sampled_from(["CW", "CCW"]),
    number=st.integers(1, 32),
    pulses=st.integers(0, 10**10 - 1),
    running=st.booleans(),
)


@given(STATUSES)
def test_round_trip(status: Status) -> None:
    """Whatever a pump has to say comes out as it went in."""
    text = (
        f"{status.model} {status.ml_per_revolution:.2f} {status.head} {status.tube} {status.speed_rpm:.1f} "
        f"{status.direction} P/N {status.number} {status.pulses} {int(status.running)} !"
    )

    assert parse(text.encode()) == Line(text.encode(), "status", status)


def test_a_status_needs_no_carriage_return() -> None:
    """The exclamation mark ends a status too (505Di p. 6: it is the delimiter)."""
    (line,) = WatsonMarlow().feed(GOLDEN[0]["line"].encode())

    assert line.kind == "status"


def test_half_a_line_can_be_forgotten() -> None:
    """What is cleared does not spoil the next line."""
    codec = WatsonMarlow()

    assert codec.feed(b"520Du 15.8") == []
    codec.clear()
    assert codec.feed(b"1\r") == [Line(b"1", "digits", count=1)]


def test_wrong_parity_is_garbage() -> None:
    """Bytes above 7F are shown and never read as digits."""
    (line,) = WatsonMarlow().feed(b"\xb1\r")

    assert line.kind == "garbage"
    assert "xb1" in line.reason


def test_a_line_without_end() -> None:
    """Noise without line ends is garbage after a while and fills no memory."""
    codec = WatsonMarlow()
    found = [line for _ in range(20) for line in codec.feed(b"\xff" * 100)]

    assert found
    assert all(line.kind == "garbage" for line in found)
    assert len(codec._rest) <= LONGEST


@given(st.binary(max_size=400))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever comes, lines come out, each with its bytes."""
    for line in WatsonMarlow().feed(data):
        assert line.raw in data
        assert len(line.raw) <= LONGEST


def test_nothing_that_starts_can_be_said() -> None:
    """The codec makes four commands: three questions and stop."""
    made = {name: getattr(watson_marlow, name)(7) for name in ("ask_status", "ask_pulses", "ask_running", "stop")}
    source = Path(watson_marlow.__file__).read_text(encoding="utf-8")

    assert made == {"ask_status": b"7RS\r", "ask_pulses": b"7RT\r", "ask_running": b"7ZY\r", "stop": b"7ST\r"}
    assert source.count('return b"') == len(made)
