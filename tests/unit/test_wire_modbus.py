"""Modbus frames: the makers' own bytes, chopped, late, noisy and wrong ones."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire import modbus as wire
from gateway.drivers.wire.modbus import FrameError, Refusal, RtuFraming, TcpFraming
from gateway.drivers.wire.registers import Field, unpacker

GOLDEN = yaml.safe_load((Path(__file__).parent.parent / "golden" / "modbus.yaml").read_text(encoding="utf-8"))
QUESTION = wire.read(1, "holding", 10, 2)
ANSWER = bytes((3, 4, 0, 1, 0, 2))


def asked(case: dict[str, Any]) -> wire.Request:
    if "read" in case:
        return wire.read(case["unit"], **case["read"])
    return wire.write_registers(case["unit"], **case["write"])


def tcp(tid: int, unit: int, pdu: bytes) -> bytes:
    return tid.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu


def rtu(unit: int, pdu: bytes) -> bytes:
    adu = bytes((unit,)) + pdu
    return adu + wire.crc16(adu)


def fresh_rtu() -> RtuFraming:
    framing = RtuFraming()
    framing.forget()
    return framing


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["source"])
def test_golden_requests(case: dict[str, Any]) -> None:
    """Our requests are the makers' requests, byte for byte."""
    assert asked(case).rtu == bytes.fromhex(case["request"])


@pytest.mark.parametrize("case", [case for case in GOLDEN if "reply" in case], ids=lambda case: case["source"])
def test_golden_replies(case: dict[str, Any]) -> None:
    """The makers' replies answer our requests, and hold the manual's value."""
    reply = bytes.fromhex(case["reply"])
    framing = fresh_rtu()
    framing.ask(asked(case))

    assert framing.feed(reply) == reply
    if "value" in case:
        field = Field(case["read"]["address"], **case["field"])
        assert unpacker([field], field.start, framing.data_at)(reply)[0] == pytest.approx(case["value"])


def test_crc_of_the_standard() -> None:
    """The check value of CRC-16/MODBUS over `123456789` is 4B37."""
    assert wire.crc16(b"123456789") == b"\x37\x4b"


@pytest.mark.parametrize(
    ("request_", "frame"),
    [
        (wire.write_coil(1, 5, True), "01 05 00 05 ff 00"),
        (wire.write_coil(1, 5, False), "01 05 00 05 00 00"),
        (wire.write_register(1, 1880, 62), "01 06 07 58 00 3e"),
        (
            wire.write_coils(1, 0, [True, False, True, True, False, False, True, True, True]),
            "01 0f 00 00 00 09 02 cd 01",
        ),
    ],
)
def test_writes(request_: wire.Request, frame: str) -> None:
    """Each write function, as the standard draws it."""
    assert request_.rtu[:-2].hex(" ") == frame


@pytest.mark.parametrize(
    "make",
    [
        lambda: wire.read(1, "holding", 0, 126),
        lambda: wire.read(1, "holding", 65535, 2),
        lambda: wire.read(1, "coil", 0, 2001),
        lambda: wire.read(1, "input", 5, 0),
        lambda: wire.read(256, "input", 5, 1),
        lambda: wire.write_registers(1, 0, [0] * 124),
    ],
)
def test_impossible_requests(make: Any) -> None:
    """What no request can carry is refused before it is sent."""
    with pytest.raises(ValueError, match=r"carries|addresses go|units go"):
        make()


def test_tcp_whole_answer() -> None:
    """The right answer in one piece comes back as it is."""
    framing = TcpFraming()
    sent = framing.ask(QUESTION)

    assert sent.hex(" ") == "00 01 00 00 00 06 01 03 00 0a 00 02"
    assert framing.feed(tcp(1, 1, ANSWER)) == tcp(1, 1, ANSWER)


@given(st.lists(st.integers(1, 12), max_size=8))
def test_tcp_in_pieces(cuts: list[int]) -> None:
    """However TCP cuts an answer, it is found exactly when it is whole."""
    framing = TcpFraming()
    framing.ask(QUESTION)
    whole = tcp(1, 1, ANSWER)
    pieces, rest = [], whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces = [piece for piece in [*pieces, rest] if piece]

    found = [framing.feed(piece) for piece in pieces]

    assert found == [None] * (len(pieces) - 1) + [whole]


def test_tcp_late_answer_is_dropped() -> None:
    """An abandoned answer is dropped by its transaction number, even glued to the right one."""
    framing = TcpFraming()
    framing.ask(QUESTION)
    framing.abandon()
    framing.ask(QUESTION)

    assert framing.feed(tcp(1, 1, ANSWER) + tcp(2, 1, ANSWER)) == tcp(2, 1, ANSWER)
    assert framing.late == 1


def test_tcp_late_refusal_is_dropped() -> None:
    """A late exception does not refuse the next question."""
    framing = TcpFraming()
    framing.ask(QUESTION)
    framing.abandon()

    assert framing.feed(tcp(1, 1, b"\x83\x02")) is None
    framing.ask(QUESTION)
    assert framing.feed(tcp(2, 1, ANSWER)) == tcp(2, 1, ANSWER)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (tcp(9, 1, ANSWER), "transaction 9"),
        (tcp(1, 2, ANSWER), "unit 2 answered, unit 1 was asked"),
        (tcp(1, 1, b"\x04\x04\0\1\0\2"), "function 4, function 3 was asked"),
        (tcp(1, 1, b"\x03\x02\0\1"), "4 bytes where 6"),
        (tcp(1, 1, b"\x03\x02\0\1\0\2"), "does not repeat"),
        (b"\0\1\0\7\0\7\1" + ANSWER, "not Modbus TCP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not Modbus TCP"),
    ],
)
def test_tcp_wrong_answers_are_named(answer: bytes, words: str) -> None:
    """A wrong answer is an error that shows what is wrong and the bytes, never a timeout."""
    framing = TcpFraming()
    framing.ask(QUESTION)

    with pytest.raises(FrameError, match=words):
        framing.feed(answer)


@pytest.mark.parametrize("framing", [TcpFraming(), fresh_rtu()])
def test_exceptions_are_named(framing: wire.Framing) -> None:
    """An exception says its number and its name."""
    framing.ask(QUESTION)
    frame = tcp(1, 1, b"\x83\x02") if isinstance(framing, TcpFraming) else rtu(1, b"\x83\x02")

    with pytest.raises(Refusal, match="exception 02 illegal data address"):
        framing.feed(frame)


def test_a_write_that_is_not_echoed() -> None:
    """FC06 answered with another value is an error."""
    framing = TcpFraming()
    framing.ask(wire.write_register(1, 5, 62))

    with pytest.raises(FrameError, match="does not repeat"):
        framing.feed(tcp(1, 1, b"\x06\x00\x05\x00\x00"))


@given(st.binary(max_size=40), st.integers(1, 9))
def test_rtu_noise_before_the_answer(noise: bytes, piece: int) -> None:
    """Noise before an answer is skipped, byte by byte or in lumps: the answer, or an error, never a wrong value."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    whole = rtu(1, ANSWER)
    stream = noise + whole
    found = None
    try:
        for at in range(0, len(stream), piece):
            found = found or framing.feed(stream[at : at + piece])
    except (FrameError, Refusal):
        return  # noise that is itself a sound or broken frame

    assert found == whole


def test_rtu_turnaround_glitch() -> None:
    """A zero byte before the answer, as bias-less RS-485 lines make it, costs nothing."""
    framing = fresh_rtu()
    framing.ask(QUESTION)

    assert framing.feed(b"\0" + rtu(1, ANSWER)) == rtu(1, ANSWER)


def test_rtu_echo_of_the_request() -> None:
    """An adapter that hears itself is not the device's answer."""
    framing = fresh_rtu()
    sent = framing.ask(QUESTION)

    assert framing.feed(sent) is None
    assert framing.feed(rtu(1, ANSWER)) == rtu(1, ANSWER)


def test_rtu_bad_crc_is_named() -> None:
    """A damaged answer is an error with its bytes."""
    framing = fresh_rtu()
    framing.ask(QUESTION)

    with pytest.raises(FrameError, match=r"CRC wrong .* 01 03 04"):
        framing.feed(rtu(1, ANSWER)[:-1] + b"\xee")


@given(st.integers(0, 8), st.integers(0, 7))
def test_rtu_one_flipped_bit_is_never_taken(byte: int, bit: int) -> None:
    """No answer with one flipped bit passes."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    frame = bytearray(rtu(1, ANSWER))
    frame[byte] ^= 1 << bit
    try:
        found = framing.feed(bytes(frame))
    except (FrameError, Refusal):
        return

    assert found is None


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (rtu(2, ANSWER), "unit 2 answered"),
        (rtu(1, b"\x04\x04\0\1\0\2"), "function 4"),
        (rtu(1, b"\3\2\0\1"), "4 bytes"),
    ],
)
def test_rtu_foreign_frames_are_named(frame: bytes, words: str) -> None:
    """A sound frame that answers something else is an error, not a timeout."""
    framing = fresh_rtu()
    framing.ask(QUESTION)

    with pytest.raises(FrameError, match=words):
        framing.feed(frame)


def test_rtu_late_answer_cleans_the_line() -> None:
    """After abandon the line is unclean until the late answer came by."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    framing.abandon()

    assert not framing.clean
    assert framing.feed(rtu(1, ANSWER)[:4]) is None
    assert not framing.clean
    assert framing.feed(rtu(1, ANSWER)[4:]) is None
    assert framing.clean
    assert framing.late == 1


def test_rtu_is_unclean_at_first() -> None:
    """A port just opened may still bring the answer to somebody's earlier question."""
    framing = RtuFraming()

    assert not framing.clean
    framing.feed(rtu(1, ANSWER))
    framing.forget()
    assert framing.clean


def test_rtu_memory_is_bounded() -> None:
    """A line that never stops making noise fills no memory."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    for _ in range(1000):
        assert framing.feed(b"\xff" * 100) is None

    assert framing._hunt is not None
    assert len(framing._hunt._buffer) <= 600


def test_rtu_late_answer_of_another_unit() -> None:
    """An answer given up for lost, that comes in the middle of the next question, is dropped."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    framing.abandon()
    framing.forget()
    framing.ask(wire.read(2, "holding", 10, 2))

    assert framing.feed(rtu(1, ANSWER)) is None
    assert framing.feed(rtu(2, ANSWER)) == rtu(2, ANSWER)
    assert framing.late == 1


@pytest.mark.parametrize("noise", [b"\xff", b"\x01\x03\x04", b"\x01\x83", b"\0", bytes(range(256))])
@pytest.mark.parametrize("piece", [1, 16, 4096])
def test_an_endless_stream_costs_little(noise: bytes, piece: int) -> None:
    """A second of a jammed line at 115,200 baud (11,520 bytes) costs less than a tenth of a second of CPU.

    Also where it imitates how the answer begins: each byte is looked at a bounded number of times.  The best of some
    tries counts: a processor that is slow for a moment is not the framing's cost.
    """
    stream = (noise * 11520)[:11520]

    assert any(spent_s(stream, piece) < 0.1 for _ in range(10))


def spent_s(stream: bytes, piece: int) -> float:
    """CPU that the framing takes for the stream, in such pieces."""
    framing = fresh_rtu()
    began = time.thread_time()
    for at in range(0, len(stream), piece):
        if framing._hunt is None:
            framing.ask(QUESTION)
        with suppress(FrameError, Refusal):
            framing.feed(stream[at : at + piece])
    return time.thread_time() - began


@given(st.lists(st.sampled_from([b"\x01\x03\x04", b"\xff", b"\0", rtu(1, ANSWER)[:-1], rtu(3, ANSWER)]), max_size=6))
def test_rtu_resynchronises(garbage: list[bytes]) -> None:
    """Whatever came with one answer, the next question is answered rightly."""
    framing = fresh_rtu()
    framing.ask(QUESTION)
    with suppress(FrameError, Refusal):
        framing.feed(b"".join(garbage))
    framing.abandon()
    framing.forget()
    framing.ask(QUESTION)

    assert framing.feed(rtu(1, ANSWER)) == rtu(1, ANSWER)


@given(st.binary(max_size=300))
def test_no_bytes_break_a_framing(data: bytes) -> None:
    """Whatever comes, only the two named errors are raised."""
    for framing in (TcpFraming(), fresh_rtu()):
        framing.ask(QUESTION)
        try:
            framing.feed(data)
        except (FrameError, Refusal):
            continue
