"""What Zebra printers say."""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire import zebra_hs
from gateway.drivers.wire.zebra_hs import LONGEST, Message, Status, ZebraHs

GOLDEN = yaml.safe_load((Path(__file__).parent.parent / "golden" / "zebra.yaml").read_text(encoding="utf-8"))


def stream(case: dict[str, Any]) -> bytes:
    return b"".join(b"\x02" + string.encode() + b"\x03\r\n" for string in case["strings"])


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["source"])
def test_golden_strings(case: dict[str, Any]) -> None:
    """Each answer is understood as the guide says, or is garbage with a reason and its bytes."""
    found = ZebraHs().feed(stream(case))

    assert [message.kind for message in found] == case["found"]
    assert all(bool(message.reason) == (message.kind == "garbage") for message in found)
    if "status" in case:
        assert msgspec.to_builtins(found[0].status) == case["status"]
        assert found[0].raw == "\n".join(case["strings"]).encode()
    if "model" in case:
        assert (found[0].model, found[0].firmware) == (case["model"], case["firmware"])


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["source"])
def test_every_split(case: dict[str, Any]) -> None:
    """Wherever the bytes are cut in two, the same comes out."""
    data, whole = stream(case), ZebraHs().feed(stream(case))
    for at in range(len(data)):
        codec = ZebraHs()

        assert codec.feed(data[:at]) + codec.feed(data[at:]) == whole, at


@given(st.lists(st.sampled_from(GOLDEN[:5]), min_size=1, max_size=4), st.lists(st.integers(1, 40), max_size=12))
def test_answers_in_pieces(cases: list[dict[str, Any]], sizes: list[int]) -> None:
    """However the bytes are cut, the same answers come out."""
    data = b"".join(stream(case) for case in cases)
    codec = ZebraHs()
    cuts = [0, *(cut for cut in accumulate(sizes) if cut < len(data)), len(data)]
    found = [message for start, end in pairwise(cuts) for message in codec.feed(data[start:end])]

    assert found == [message for case in cases for message in ZebraHs().feed(stream(case))]


STATUSES = st.builds(
    Status,
    paper_out=st.booleans(),
    paused=st.booleans(),
    label_length_dots=st.integers(0, 9999),
    formats_waiting=st.integers(0, 999),
    buffer_full=st.booleans(),
    diagnostic_mode=st.booleans(),
    partial_format=st.booleans(),
    corrupt_ram=st.booleans(),
    under_temperature=st.booleans(),
    over_temperature=st.booleans(),
    head_open=st.booleans(),
    ribbon_out=st.booleans(),
    thermal_transfer=st.booleans(),
    print_mode=st.sampled_from(list(zebra_hs.PRINT_MODES.values())),
    label_waiting=st.booleans(),
    labels_remaining=st.integers(0, 99_999_999),
)


@given(STATUSES)
def test_round_trip(status: Status) -> None:
    """Whatever a printer has to say comes out as it went in."""
    mode = {name: code for code, name in zebra_hs.PRINT_MODES.items()}[status.print_mode]
    first = (
        f"030,{status.paper_out:d},{status.paused:d},{status.label_length_dots:04d},{status.formats_waiting:03d},"
        f"{status.buffer_full:d},{status.diagnostic_mode:d},{status.partial_format:d},000,{status.corrupt_ram:d},"
        f"{status.under_temperature:d},{status.over_temperature:d}"
    )
    second = (
        f"001,0,{status.head_open:d},{status.ribbon_out:d},{status.thermal_transfer:d},{mode},6,"
        f"{status.label_waiting:d},{status.labels_remaining:08d},1,000"
    )
    (message,) = ZebraHs().feed(stream({"strings": [first, second, "1234,0"]}))

    assert message.status == status


def test_noise_between_strings_spoils_the_status() -> None:
    """Bytes outside STX and ETX are told, and a status they stand in is not put together."""
    data = stream(GOLDEN[0]).replace(b"\r\n\x02001", b"\r\nxx\x02001")

    assert [message.kind for message in ZebraHs().feed(data)] == ["garbage", "garbage", "garbage"]


def test_half_an_answer_can_be_forgotten() -> None:
    """What is cleared does not spoil the next answer."""
    codec = ZebraHs()
    codec.feed(stream(GOLDEN[0])[:60])
    codec.clear()

    assert [message.kind for message in codec.feed(stream(GOLDEN[0]))] == ["status"]


def test_a_string_without_end() -> None:
    """Noise without an ETX is garbage after a while and fills no memory."""
    codec = ZebraHs()
    found = [message for _ in range(20) for message in codec.feed(b"\xff" * 100)]

    assert found
    assert all(message.kind == "garbage" for message in found)
    assert len(codec._rest) <= LONGEST


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"\x02", b"\x03", b"\r\n", b"1234,0"])), max_size=12)
)
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    """Whatever comes, messages come out, and no status without its three strings."""
    codec = ZebraHs()
    found: list[Message] = [message for piece in pieces for message in codec.feed(piece)]

    assert all((message.status is not None) == (message.kind == "status") for message in found)


def test_nothing_that_starts_can_be_said() -> None:
    """The codec knows three commands: two questions and pause."""
    known = {value for name, value in vars(zebra_hs).items() if isinstance(value, bytes) and name.isupper()}

    assert {value for value in known if value.startswith((b"~", b"^"))} == {b"~HS\r\n", b"~HI\r\n", b"~PP\r\n"}
