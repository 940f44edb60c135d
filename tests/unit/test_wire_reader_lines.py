"""Lines of barcode and vision readers, and GS1 element strings."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.reader.kind import ReaderConfig
from gateway.drivers.wire.gs1 import GS, Gs1Error, check_digit, elements, iso_date
from gateway.drivers.wire.reader_lines import Form, Framer, Read, parse

GOLDEN: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent.parent / "golden" / "reader_lines.yaml").read_text(encoding="utf-8")
)
OUTCOMES = {"code": True, "no_read": False, "garbled": None}
STX = Form(prefix=b"\x02", terminator=b"\x03")


def form_of(case: dict[str, Any]) -> Form:
    return ReaderConfig.model_validate({"url": "tcp://127.0.0.1:2112", **case.get("form", {})}).form


def reads(form: Form, *pieces: bytes) -> list[Read]:
    framer = Framer(form)
    return [parse(frame, form) for piece in pieces for frame in framer.feed(piece)]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_lines(case: dict[str, Any]) -> None:
    """Each line is a code, a no-read or garbled, with its parts, as its form says."""
    (read,) = reads(form_of(case), case["bytes"].encode("latin-1"))

    assert read.read is OUTCOMES[case["outcome"]]
    assert read.code == case.get("code", "")
    assert bool(read.reason) == (read.read is not True)
    for part in ("fields", "elements", "symbology"):
        assert part not in case or getattr(read, part) == case[part]
    if case.get("form", {}).get("gs1") and not case["elements"]:
        assert "no GS1 element string" in read.gs1_reason


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_every_split(case: dict[str, Any]) -> None:
    """Wherever the bytes of three lines are cut in two, the same three reads come out."""
    form, stream = form_of(case), 3 * case["bytes"].encode("latin-1")
    whole = reads(form, stream)

    assert len(whole) == 3
    for at in range(len(stream) + 1):
        assert reads(form, stream[:at], stream[at:]) == whole
    assert reads(form, *(stream[at : at + 1] for at in range(len(stream)))) == whole


codes = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";"), min_size=1, max_size=40)


@given(st.lists(st.tuples(codes, st.sampled_from("ABCDF")), max_size=6), st.integers(1, 9))
def test_round_trip(lines: list[tuple[str, str]], piece: int) -> None:
    """What a reader puts on the line comes out, in order, however the bytes are cut."""
    form = Form(prefix=b"\x02", suffix=b">", terminator=b"\x03", separator=";", fields=("code", "grade"), no_read=())
    stream = b"".join(f"\x02{code};{grade}>\x03".encode() for code, grade in lines)
    found = reads(form, *(stream[at : at + piece] for at in range(0, len(stream), piece)))

    assert [(read.code, read.fields["grade"]) for read in found] == lines


@given(st.lists(st.binary(max_size=80), max_size=8), st.sampled_from([form_of(case) for case in GOLDEN]))
def test_no_bytes_break_it(pieces: list[bytes], form: Form) -> None:
    """Whatever comes, reads come out; a code is never empty, and what is none says why."""
    framer = Framer(form)
    frames = [frame for piece in pieces for frame in framer.feed(piece)] + framer.end()
    for read in (parse(frame, form) for frame in frames):
        assert bool(read.code) == (read.read is True)
        assert bool(read.reason) == (read.read is not True)


def test_half_a_line_is_never_a_code() -> None:
    """A line that another one breaks into is garbled; the one behind it is whole."""
    broken, whole = reads(STX, b"\x02LOT-", b"\x02LOT-8\x03")

    assert broken.read is None
    assert "half a line" in broken.reason
    assert whole.code == "LOT-8"


def test_the_end_of_a_connection_tells_of_half_a_line() -> None:
    """What had begun when the cable was pulled is told, as garbled."""
    framer = Framer(STX)
    framer.feed(b"\x02LOT-7\x03\x02LO")
    (frame,) = framer.end()

    assert parse(frame, STX).read is None
    assert framer.end() == []


def test_noise_comes_out_once() -> None:
    """An endless stream without a line end is one garbled line, fills no memory, and the next line is read again."""
    framer = Framer(STX)
    frames = [frame for _ in range(200) for frame in framer.feed(b"\xff" * 1000)]

    assert [parse(frame, STX).read for frame in frames] == [None]
    assert len(framer._rest) <= STX.longest
    (frame,) = framer.feed(b"\xff\x02LOT-7\x03")
    assert parse(frame, STX).code == "LOT-7"


def test_noise_without_a_prefix_ends_with_its_line() -> None:
    """Without a prefix, the rest of a line that was too long belongs to it."""
    form = Form()
    noise, whole = reads(form, b"x" * 2000, b"yyy\r\n", b"LOT-7\r\n")

    assert "no line end" in noise.reason
    assert whole.code == "LOT-7"


def test_a_line_that_began_before_us() -> None:
    """Where the first line may be the end of one, it is garbled; only the first."""
    framer = Framer(Form())
    framer.torn = True
    first, second = (parse(frame, framer.form) for frame in framer.feed(b"0417\r\nB-2026-0417\r\n"))

    assert first.read is None
    assert "half a line" in first.reason
    assert second.code == "B-2026-0417"


def test_heartbeats_are_no_reads() -> None:
    """Lines that only show that the reader lives are counted apart."""
    form = Form(prefix=b"\x02", terminator=b"\x03", heartbeat=b"ALIVE")
    framer = Framer(form)

    (frame,) = framer.feed(b"\x02ALIVE\x03\x02LOT-7\x03\r\n\x02ALIVE\x03")
    assert parse(frame, form).code == "LOT-7"
    assert framer.beats == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("0109521234543214", "wrong check digit; 3"),
        ("01095212345432", "(01) has 14 digits"),
        ("0509521234543213", "no application identifier at '0509'"),
        ("10", "(10) has 1 to 20 characters, not 0"),
        ("10" + 21 * "A", "(10) has 1 to 20 characters, not 21"),
        ("10A\x1d10B", "stands there twice"),
        ("(01)09521234543213)", "no (identifier) at ')'"),
        ("(99", "no (identifier)"),
        ("(311)1", "(311) is not an application identifier"),
    ],
)
def test_what_is_no_element_string(text: str, why: str) -> None:
    """A string that is not wholly understood is refused, with the place."""
    with pytest.raises(Gs1Error) as caught:
        elements(text)

    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["260231", "261301", "26113", "26-1-1", "26\uff11\uff1130"])
def test_what_is_no_date(text: str) -> None:
    """A date that there is not is refused."""
    with pytest.raises(Gs1Error):
        iso_date(text)


variable = st.text("ABC123-/", min_size=1, max_size=20)


@given(variable, variable, st.integers(0, 10**13 - 1), st.permutations(["01", "10", "21", "3103"]))
def test_element_strings_round_trip(lot: str, serial: str, number: int, order: list[str]) -> None:
    """Elements in any order come out as they went in: separators only behind variable lengths."""
    digits = f"{number:013}"
    data = {"01": digits + str(check_digit(digits)), "10": lot, "21": serial, "3103": "001250"}
    sent = "".join(name + data[name] + (GS if name in ("10", "21") else "") for name in order).removesuffix(GS)

    assert elements(sent) == data
    assert elements("".join(f"({name}){data[name]}" for name in order)) == data


@given(st.text(st.sampled_from("0123456789()ABC\x1d"), max_size=40))
def test_no_text_breaks_the_element_strings(text: str) -> None:
    """Whatever was read: elements that say something, or a refusal."""
    found = {"": "x"}
    with contextlib.suppress(Gs1Error):
        found = elements(text)

    assert all(found.values())
