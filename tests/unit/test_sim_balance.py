"""The balance to the byte: transcripts of each dialect over a scale whose time we hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulators.aandd import AandD
from simulators.balance import Balance
from simulators.device import UnknownError
from simulators.link import Send
from simulators.mt_sics import Interpreter
from simulators.ohaus import Ohaus
from simulators.pan import Pan
from simulators.plant import Plant
from simulators.sbi import Sbi
from simulators.weigher import WIRE_FAULTS, Scale, Weigher, Wire

Make = Callable[[Scale, Send], Interpreter | Weigher]
GOLDEN = Path(__file__).parent.parent / "golden"


class _Scale:
    """A pan as the balance offers it to the protocol."""

    def __init__(self) -> None:
        self.pan = Pan(1)
        self.limit = ""
        self.unit = " g"
        self.shown: float | None = None

    @property
    def net_g(self) -> float:
        return self.pan.net_g if self.shown is None else self.shown

    @property
    def stable(self) -> bool:
        return self.shown is not None or self.pan.stable

    @property
    def tare_g(self) -> float:
        return self.pan.tare_g

    def set_tare(self, tare_g: float) -> None:
        self.pan.tare_g = tare_g

    def tare(self) -> float:
        return self.pan.tare()

    def zero(self) -> bool:
        return self.pan.zero()


class _Talk:
    """A conversation: what was said since last asked."""

    def __init__(self, shown: float | None = 100.0, kind: Make = Interpreter) -> None:
        self.scale = _Scale()
        self.scale.shown = shown
        self._said = b""
        self.interpreter = kind(self.scale, self._hear)

    def _hear(self, data: bytes) -> None:
        self._said += data

    def say(self, data: bytes) -> bytes:
        self.interpreter.feed(data)
        return self.heard()

    def heard(self) -> bytes:
        said, self._said = self._said, b""
        return said

    def wait(self, seconds: float) -> bytes:
        for _ in range(round(seconds / 0.02)):
            self.scale.pan.step(0.02)
            self.interpreter.tick(0.02)
        return self.heard()


def test_stable_weight_to_the_byte() -> None:
    """Id, status, weight right-aligned in ten characters, unit, CR LF."""
    assert _Talk(1.0003).say(b"S\r\n") == b"S S     1.0003 g\r\n"
    assert _Talk(-0.0312).say(b"SI\r\n") == b"S S    -0.0312 g\r\n"
    assert _Talk(219.5).say(b"SU\r\n") == b"S S   219.5000 g\r\n"


def test_no_negative_zero() -> None:
    """A hair below zero shows as zero."""
    assert _Talk(-0.00001).say(b"S\r\n") == b"S S     0.0000 g\r\n"


def test_pieces_and_several_lines_at_once() -> None:
    """A command may come in pieces, and two in one packet are answered in order."""
    talk = _Talk()
    assert talk.say(b"S") == b""
    assert talk.say(b"I\r") == b""
    assert talk.say(b"\nSI\r\n") == b"S S   100.0000 g\r\nS S   100.0000 g\r\n"


def test_identity() -> None:
    """I2 to I5 and the reset, which answers as I4."""
    talk = _Talk()
    assert talk.say(b"I2\r\n") == b'I2 A "SIM204 Linegate 220.0000 g"\r\n'
    assert talk.say(b"I4\r\n") == b'I4 A "B123456789"\r\n'
    assert talk.say(b"@\r\n") == b'I4 A "B123456789"\r\n'
    lines = talk.say(b"I0\r\n").split(b"\r\n")
    assert lines[0] == b'I0 B 0 "I0"'
    assert lines[-2] == b'I0 A 1 "TI"'


def test_errors() -> None:
    """Unknown and lower-case are ES, an argument too many EL, eight-bit rubbish ET."""
    talk = _Talk()
    assert talk.say(b"s\r\n") == b"ES\r\n"
    assert talk.say(b"HELLO\r\n") == b"ES\r\n"
    assert talk.say(b"S 5\r\n") == b"EL\r\n"
    assert talk.say(b"\xff\xfe\r\n") == b"ET\r\n"
    assert talk.say(b"A" * 200) == b"ES\r\n"


def test_overload_and_underload() -> None:
    """The limits answer at once, with the id of the command that waits."""
    talk = _Talk()
    talk.scale.limit = "+"
    assert talk.say(b"S\r\nSI\r\nT\r\nTI\r\n") == b"S +\r\nS +\r\nT +\r\nTI +\r\n"
    talk.scale.limit = "-"
    assert talk.say(b"S\r\nZ\r\n") == b"S -\r\nZ -\r\n"


def test_no_unit() -> None:
    """A balance set to print no unit ends after the number."""
    talk = _Talk(1.0003)
    talk.scale.unit = ""
    assert talk.say(b"S\r\n") == b"S S     1.0003\r\n"


def test_settling_is_dynamic_then_stable() -> None:
    """Right after the cartridge is put down SI says D; S waits about a second and then says S."""
    talk = _Talk(None)
    talk.scale.pan.place(5.2003, 4.2)
    talk.wait(0.04)
    assert talk.say(b"SI\r\n").startswith(b"S D ")
    assert talk.say(b"S\r\n") == b""
    answer = talk.wait(1.5)
    assert answer.startswith(b"S S     1.000")
    assert len(answer) == len(b"S S     1.0003 g\r\n")


def test_stability_timeout_is_not_executable() -> None:
    """A pan that never settles ends in S I, after five seconds and not before."""
    talk = _Talk(None)
    talk.scale.pan.restless = True
    talk.wait(0.1)
    talk.say(b"S\r\n")
    assert talk.wait(4.8) == b""
    assert talk.wait(0.4) == b"S I\r\n"


def test_commands_wait_behind_a_pending_one() -> None:
    """While S waits, the next command waits too and is answered after it; @ breaks both off."""
    talk = _Talk(None)
    talk.scale.pan.place(5.0, 4.0)
    talk.wait(0.04)
    assert talk.say(b"S\r\nI4\r\n") == b""
    assert talk.wait(1.5).split(b"\r\n")[1] == b'I4 A "B123456789"'
    talk.scale.pan.place(6.0, 4.0)
    talk.wait(0.04)
    assert talk.say(b"S\r\nI2\r\n@\r\n") == b'I4 A "B123456789"\r\n'
    assert talk.wait(2.0) == b""


def test_tare_and_zero() -> None:
    """T answers with the tare taken, TA asks and sets it, TAC clears it; a loaded pan cannot be zeroed."""
    talk = _Talk(None)
    talk.scale.pan.place(11.343, 0.0)
    talk.wait(1.5)
    assert talk.say(b"T\r\n").startswith(b"T S    11.34")
    assert talk.say(b"TA 4.2 g\r\n") == b"TA A     4.2000 g\r\n"
    assert talk.say(b"TA 4.2 kg\r\n") == b"TA L\r\n"
    assert talk.say(b"TAC\r\nTA\r\n") == b"TAC A\r\nTA A     0.0000 g\r\n"
    assert talk.say(b"Z\r\n") == b"Z +\r\n"
    talk.scale.pan.remove()
    talk.wait(1.5)
    assert talk.say(b"Z\r\n") == b"Z A\r\n"
    assert talk.say(b"ZI\r\n") == b"ZI S\r\n"


def test_repeat_streams_until_the_next_command() -> None:
    """SIR sends ten a second until anything else is asked."""
    talk = _Talk()
    first = talk.say(b"SIR\r\n")
    assert (first + talk.wait(1.0)).count(b"S S   100.0000 g\r\n") in (10, 11)
    assert talk.say(b"I4\r\n") == b'I4 A "B123456789"\r\n'
    assert talk.wait(1.0) == b""


def test_send_on_change() -> None:
    """SR: the stable value, then a dynamic one after a change that counts, then the new stable one."""
    talk = _Talk(None)
    talk.scale.pan.place(10.0, 0.0)
    talk.wait(1.5)
    assert talk.say(b"SR\r\n").startswith(b"S S    10.00")
    assert talk.wait(1.0) == b""
    talk.scale.pan.place(20.0, 0.0)
    answers = talk.wait(2.0).split(b"\r\n")
    assert answers[0].startswith(b"S D ")
    assert answers[1].startswith(b"S S    20.00")


def test_print_key() -> None:
    """The operator's PRINT key sends a line nobody asked for."""
    talk = _Talk(1.0)
    talk.interpreter.print_key()
    assert talk.heard() == b"S S     1.0000 g\r\n"


# -- the other dialects --------------------------------------------------------------------------------

KINDS: dict[str, tuple[Make, bytes]] = {
    "mt_sics": (Interpreter, b"SI\r\n"),
    "sbi": (Sbi, b"\x1bP\r\n"),
    "aandd": (AandD, b"Q\r\n"),
    "ohaus": (Ohaus, b"IP\r\n"),
}


def golden(name: str, *qualities: str) -> Iterator[dict[str, Any]]:
    cases = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))
    return (case for case in cases if case["quality"] in qualities)


@pytest.mark.parametrize("name", KINDS)
def test_columns_are_those_of_the_manual(name: str) -> None:
    """A stable weight stands in the columns of a golden line, character by character."""
    kind, ask = KINDS[name]
    for case in golden(name, "good"):
        if case.get("unit") == "g" and not case.get("text") and case["value"].count(".") and "[" not in case["line"]:
            break
    wanted = case["line"]
    said = _Talk(1.0120, kind).say(ask).decode().removesuffix("\r\n")
    shorter, longer = sorted((len(wanted), len(said)))

    assert said.rstrip()[-1] == wanted.rstrip()[-1] == "g"
    assert said.rindex("g") - said.rindex("0") == wanted.rindex("g") - wanted.rindex(case["value"][-1])
    assert longer - shorter <= 1  # ohaus: field widths differ with the number of decimals


def test_sbi_to_the_byte() -> None:
    """16 and 22 characters; a sign, or none at zero; commands with and without line end; the unknown is passed over."""
    assert _Talk(123.56, Sbi).say(b"\x1bP\r\n") == b"+ 123.5600 g  \r\n"
    assert _Talk(123.56, partial(Sbi, wide=True)).say(b"\x1bP") == b"N     + 123.5600 g  \r\n"
    assert _Talk(-0.5, Sbi).say(b"\x1bP") == b"-   0.5000 g  \r\n"
    assert _Talk(0.0, Sbi).say(b"\x1bP") == b"    0.0000 g  \r\n"
    talk = _Talk(1.0, Sbi)
    assert talk.say(b"\x1bx1_\r\n\x1bx2_") == b"MSE224S-100-DU\r\n31204567\r\n"
    assert talk.say(b"SI\r\n\x1bQ\x1bK\r\nnonsense") == b""
    assert (talk.say(b"\x1b"), talk.say(b"x"), talk.say(b"3"), talk.say(b"_")) == (b"", b"", b"", b"00-39-02\r\n")


def test_sbi_has_no_unit_while_it_settles() -> None:
    """The unit is what says stable."""
    talk = _Talk(None, Sbi)
    talk.scale.pan.place(5.2003, 4.2)
    talk.wait(0.04)
    assert talk.say(b"\x1bP").endswith(b"    \r\n")
    talk.wait(1.5)
    assert talk.say(b"\x1bP").endswith(b" g  \r\n")


def test_sbi_limits_and_silent_tare() -> None:
    """High and Low in the golden columns; tare waits for rest and says nothing."""
    talk = _Talk(1.0, Sbi)
    talk.scale.limit = "+"
    line = talk.say(b"\x1bP").decode().removesuffix("\r\n")
    assert line.strip() in {case["line"].strip() for case in golden("sbi", "bad")}
    assert len(line) == 14
    wide = _Talk(1.0, partial(Sbi, wide=True))
    wide.scale.limit = "-"
    assert wide.say(b"\x1bP").strip().endswith(b"Low")
    tared = _Talk(None, Sbi)
    tared.scale.pan.place(11.343, 0.0)
    tared.wait(0.04)
    assert tared.say(b"\x1bU\r\n") == b""
    assert tared.wait(1.5) == b""
    assert tared.scale.tare_g == pytest.approx(11.343, abs=0.001)


def test_aandd_to_the_byte() -> None:
    """Fifteen characters, acknowledges, error codes, overload, preset tare."""
    talk = _Talk(12.34, AandD)
    assert talk.say(b"Q\r\nSI\r\nS\r\n") == b"ST,+012.3400  g\r\n" * 3
    assert talk.say(b"?SN\r\n?ID\r\n") == b"15612345\r\nSIM-204\r\n"
    assert talk.say(b"HELLO\r\n") == b"EC,E01\r\n"
    assert talk.say(b"PT:4.2 g\r\nT\r\n") == b"AK\r\nAK\r\n"
    talk.scale.limit = "-"
    assert talk.say(b"Q\r\n") == b"OL,-999999.9  g\r\n"


def test_aandd_streams_and_gives_up() -> None:
    """SIR sends ten a second until C; S on a restless pan ends in E11 after ten seconds."""
    talk = _Talk(1.0, AandD)
    assert (talk.say(b"SIR\r\n") + talk.wait(1.0)).count(b"ST,") in (10, 11)
    assert (talk.say(b"C\r\n"), talk.wait(1.0)) == (b"", b"")
    restless = _Talk(None, AandD)
    restless.scale.pan.restless = True
    restless.wait(0.1)
    assert restless.say(b"Q\r\n").startswith(b"US,")
    assert (restless.say(b"S\r\n"), restless.wait(9.8)) == (b"", b"")
    assert restless.wait(0.4) == b"EC,E11\r\n"


def test_ohaus_to_the_byte() -> None:
    """Number, unit, a question mark while it moves; ES for what it does not know."""
    talk = _Talk(192.21, Ohaus)
    assert talk.say(b"IP\r\nSP\r\n") == b"   192.2100 g\r\n" * 2
    assert talk.say(b"PSN\r\nPV\r\nHELLO\r\n") == b"B834512345\r\nSIM 2.10\r\nES\r\n"
    assert talk.say(b"T\r\n") == b"OK!\r\n"
    moving = _Talk(None, Ohaus)
    moving.scale.pan.place(5.0, 0.0)
    moving.wait(0.04)
    assert moving.say(b"IP\r\n").endswith(b" g ?\r\n")


def test_ohaus_gives_up_after_forty_seconds() -> None:
    """SP on a restless pan ends in ES, the letters of an error, after 40 s and not before."""
    talk = _Talk(None, Ohaus)
    talk.scale.pan.restless = True
    talk.wait(0.1)
    talk.say(b"SP\r\n")
    assert talk.wait(39.5) == b""
    assert talk.wait(1.0) == b"ES\r\n"


def spoilt(fault: str, data: bytes, arguments: dict[str, Any] | None = None) -> tuple[Wire, list[bytes]]:
    """A wire with one fault, and what came through at once."""
    heard: list[bytes] = []
    wire = Wire({fault: arguments or {}}, heard.append, seed=1)
    for _ in range(4):
        wire.send(data)
    return wire, heard


def test_every_fault_of_the_wire_does_what_it_says() -> None:
    """Late, in order; noise in front; halves; one character less; parity as bit 7; silence."""
    line = b"S S     1.0120 g\r\n"
    wire, late = spoilt("late", line, {"seconds": 0.5})
    assert late == []
    wire.tick(0.6)
    assert late == [line] * 4
    assert [each[1:] for each in spoilt("noise", line)[1]] == [line] * 4
    assert [len(each) for each in spoilt("half_lines", line)[1]] == [9, 18, 9, 18]
    assert {len(each) for each in spoilt("lost_byte", line)[1]} == {17}
    assert all(each.endswith(b"\r\n") for each in spoilt("lost_byte", line)[1])
    assert all(bytes(byte & 0x7F for byte in each) == line for each in spoilt("seven_bit", line)[1])
    assert spoilt("seven_bit", line)[1][0] != line
    assert spoilt("garbled", line)[1][0] != line
    assert spoilt("menu", line)[1] == []


def test_faults_have_sentences(tmp_path: Path) -> None:
    """Each fault of the balance says in words what it does, and an unknown dialect is refused with the known ones."""
    balance = Balance(Plant(seed=1), "127.0.0.1", 0, tmp_path / "tty")
    known = balance.known_faults()

    assert set(WIRE_FAULTS) <= set(known)
    assert all(getattr(fault, "sentence", "") for name, fault in known.items())
    with pytest.raises(UnknownError, match="a-and-d"):
        Balance(Plant(seed=1), "127.0.0.1", 0, tmp_path / "tty", "klingon")
