"""The balance to the byte: MT-SICS transcripts over a scale whose time we hold."""

from __future__ import annotations

from simulators.mt_sics import Interpreter
from simulators.pan import Pan


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

    def __init__(self, shown: float | None = 100.0) -> None:
        self.scale = _Scale()
        self.scale.shown = shown
        self._said = b""
        self.interpreter = Interpreter(self.scale, self._hear)

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
