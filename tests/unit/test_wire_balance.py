"""The lines of balances in each dialect: golden lines, any cut, any noise."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire import aandd, mt_sics, ohaus, sbi
from gateway.drivers.wire.weighing import LONGEST, Dialect, Message
from gateway.model import Quality

FOLDER = Path(__file__).parent.parent / "golden"
CODECS: dict[str, Callable[..., Dialect]] = {
    "mt_sics": mt_sics.MtSics,
    "sbi": sbi.Sbi,
    "aandd": aandd.AandD,
    "ohaus": ohaus.Ohaus,
}
PARSE: dict[str, Callable[..., Message]] = {
    "mt_sics": mt_sics.parse,
    "sbi": sbi.parse,
    "aandd": aandd.parse,
    "ohaus": ohaus.parse,
}
GOLDEN = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in CODECS}
CASES = [(name, case) for name, cases in GOLDEN.items() for case in cases]
dialects = pytest.mark.parametrize("name", CODECS)
numbers = st.decimals(0, 99999, places=2)


def options(case: dict[str, Any]) -> dict[str, str]:
    return {"es": case["es"]} if "es" in case else {}


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name} {case['line']}" for name, case in CASES])
def test_golden_lines(name: str, case: dict[str, Any]) -> None:
    """Each line is understood as the manual says, to the digit, or is bad with a reason and its bytes."""
    message = PARSE[name](case["line"].encode(), **options(case))

    assert message.raw == case["line"].encode()
    assert message.id == case["id"]
    assert message.quality is Quality[case["quality"].upper()]
    assert case.get("reason", "") in message.reason
    assert bool(message.reason) == (message.quality is not Quality.GOOD)
    assert str(message.value) == case.get("value", "None")
    assert message.unit == case.get("unit", "")
    assert message.more == case.get("more", False)
    assert message.error == case.get("error", False)
    assert message.unverified == case.get("unverified", 0)
    if message.quality is not Quality.BAD:
        assert message.text == case.get("text", "")


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name} {case['line']}" for name, case in CASES])
def test_every_split_of_every_golden_line(name: str, case: dict[str, Any]) -> None:
    """Wherever the bytes are cut, the same one message comes out, at the line end and not before."""
    data = case["line"].encode() + b"\r\n"
    (whole,) = CODECS[name](**options(case)).feed(data)

    assert whole == PARSE[name](case["line"].encode(), **options(case))
    for cut in range(1, len(data)):
        codec = CODECS[name](**options(case))
        early = codec.feed(data[:cut])

        assert early == ([whole] if cut == len(data) - 1 else [])
        assert early + codec.feed(data[cut:]) == [whole]


@dialects
@given(data=st.data())
def test_lines_in_pieces(name: str, data: st.DataObject) -> None:
    """However a conversation is cut, the same messages come out in the same order."""
    cases = data.draw(st.lists(st.sampled_from([case for case in GOLDEN[name] if "es" not in case]), max_size=6))
    stream = b"".join(case["line"].encode() + b"\r\n" for case in cases) + data.draw(st.binary(max_size=300))
    piece = data.draw(st.integers(1, 40))
    codec = CODECS[name]()
    found = [message for at in range(0, len(stream), piece) for message in codec.feed(stream[at : at + piece])]

    assert found == CODECS[name]().feed(stream)


@dialects
def test_half_a_line_waits(name: str) -> None:
    """Half a line is no line, and can be forgotten."""
    line = GOLDEN[name][0]["line"].encode()
    codec = CODECS[name]()

    assert codec.feed(line[:7]) == []
    codec.clear()
    assert codec.feed(line + b"\r\n")[0].value == Decimal(GOLDEN[name][0]["value"])


@dialects
def test_wrong_parity_is_garbage(name: str) -> None:
    """Bytes above 7F are shown and never read as digits."""
    line = bytearray(GOLDEN[name][0]["line"].encode())
    line[-4] |= 0x80
    (message,) = CODECS[name]().feed(bytes(line) + b"\r\n")

    assert message.quality is Quality.BAD
    assert "parity" in message.reason
    assert "\\x" in message.reason


@dialects
def test_a_line_without_end(name: str) -> None:
    """Noise without line ends is garbage once, fills no memory, and its tail is no line."""
    line = GOLDEN[name][0]["line"].encode() + b"\r\n"
    codec = CODECS[name]()
    messages = [message for _ in range(50) for message in codec.feed(b"\xff" * 100)]
    messages += codec.feed(b"\xff" + line + line)

    assert [message.quality for message in messages] == [Quality.BAD, Quality.GOOD]
    assert len(messages[0].raw) <= LONGEST
    assert codec.feed(b"x" * 4000) != []
    assert len(vars(codec)["_rest"]) <= LONGEST


@dialects
@given(data=st.binary(max_size=400))
def test_no_bytes_break_it(name: str, data: bytes) -> None:
    """Whatever comes, messages come out; none has a number that is not finite, and bad ones have none."""
    for message in CODECS[name]().feed(data):
        assert message.value is None or message.value.is_finite()
        assert message.quality is not Quality.BAD or (message.value is None and message.reason)


@pytest.mark.parametrize("name", ["mt_sics", "ohaus"])
@given(data=st.data())
def test_a_lost_character_is_never_another_weight(name: str, data: st.DataObject) -> None:
    """A weight from which one character was lost is bad, and the next one is good again."""
    line = f"S S {data.draw(numbers):>10} g" if name == "mt_sics" else f"{data.draw(numbers):>11} g"
    at = data.draw(st.integers(0, len(line) - 3))
    codec = CODECS[name]()
    stream = [line, line[:at] + line[at + 1 :], line]
    good, damaged, after = (codec.feed(text.encode() + b"\r\n")[0] for text in stream)

    assert good.value == after.value
    assert after.quality is Quality.GOOD
    assert damaged.value is None


@pytest.mark.parametrize("name", ["sbi", "aandd"])
@given(data=st.data())
def test_fixed_lines_lose_nothing(name: str, data: st.DataObject) -> None:
    """In lines of fixed width a lost character shows at once, in the very first line."""
    number = data.draw(numbers)
    line = f"+ {number:>8} kg " if name == "sbi" else f"ST,+{number:0>8} kg"
    at = data.draw(st.integers(0, len(line) - 1))
    (damaged,) = CODECS[name]().feed((line[:at] + line[at + 1 :]).encode() + b"\r\n")

    assert damaged.value is None


@pytest.mark.parametrize("name", ["mt_sics", "ohaus"])
@given(data=st.data())
def test_with_a_column_no_damaged_line_is_believed(name: str, data: st.DataObject) -> None:
    """Every line loses a character, from the first on: where the column is given, none is another weight."""
    codec = CODECS[name](column=14 if name == "mt_sics" else 11)
    for _ in range(4):
        number = data.draw(numbers)
        line = f"S S {number:>10} g" if name == "mt_sics" else f"{number:>11} g"
        at = data.draw(st.integers(0, len(line) - 3))
        (damaged,) = codec.feed((line[:at] + line[at + 1 :]).encode() + b"\r\n")

        assert damaged.value is None, line
        assert codec.feed(line.encode() + b"\r\n")[0].value == number


def test_a_new_layout_is_believed_at_its_second_line() -> None:
    """Somebody switched the balance to kilograms: one reading is bad, the following ones are right."""
    codec = mt_sics.MtSics()
    found = [codec.feed(b"S S     1.0120 %s\r\n" % unit)[0] for unit in (b"g", b"kg", b"kg", b"kg", b"g", b"g")]

    assert [message.unit for message in found] == ["g", "", "kg", "kg", "", "g"]
    assert "usual columns" in found[1].reason


@given(numbers, st.sampled_from(["g", "kg", "mg", "oz"]), st.booleans(), st.booleans())
def test_round_trips(value: Decimal, unit: str, negative: bool, stable: bool) -> None:
    """What a balance of each dialect would say of a weight is read back to the digit, with its state."""
    sign, signed = "-" if negative else "+", -value if negative else value
    lines = {
        "mt_sics": f"S {'S' if stable else 'D'} {('-' if negative else '') + str(value):>10} {unit}",
        "sbi": f"{sign} {value:>8} {unit if stable else '':<3}",
        "aandd": f"{'ST' if stable else 'US'},{sign}{value:0>8}{unit:>3}",
        "ohaus": f"{('-' if negative else '') + str(value):>11} {unit}{'' if stable else ' ?'}",
    }
    for name, line in lines.items():
        message = PARSE[name](line.encode())

        assert message.value == signed, line
        assert str(abs(message.value)) == str(value)
        assert message.quality is (Quality.GOOD if stable else Quality.UNCERTAIN)
        assert message.unit == (unit if stable or name != "sbi" else "")
