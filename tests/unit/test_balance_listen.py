"""Which dialect is on the line: by what came, and never by writing to it unasked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.drivers.balance.kind import SCHEMES, BalanceConfig
from gateway.drivers.balance.listen import QUESTIONS, opinions, settings, shown, verdict
from gateway.drivers.transport import parse_url

FOLDER = Path(__file__).parent.parent / "golden"
FILES = {"mt-sics": "mt_sics", "sbi": "sbi", "a-and-d": "aandd", "ohaus": "ohaus"}
LINES = {
    "mt-sics": b"S S     1.0120 g\r\n",
    "sbi": b"+   1.0120 g  \r\n",
    "a-and-d": b"ST,+001.0120  g\r\n",
    "ohaus": b"     1.0120 g\r\n",
}

TAKEN = 10
"""So many lines, far more than a name for the dialect needs."""
PATIENCE_S = 10.0


class Line(threading.Thread):
    """The balance's end of a serial line: says a line each 30 ms, answers what it is asked, keeps what it hears."""

    def __init__(self, says: bytes, answers: dict[bytes, bytes]) -> None:
        super().__init__(daemon=True)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._says, self._answers = says, answers
        self.heard = b""
        self.over = threading.Event()
        self.listened = threading.Event()
        """Somebody takes what is said: some lines in a row were gone when the next one came."""

    def run(self) -> None:
        gone = 0
        while not self.over.wait(0.03):
            gone = 0 if self._waiting() else gone + 1
            if gone > TAKEN:
                self.listened.set()
            os.write(self._master, self._says)
            while select.select([self._master], [], [], 0)[0]:
                asked = os.read(self._master, 1024)
                self.heard += asked
                os.write(self._master, b"".join(self._answers.get(each, b"") for each in asked.splitlines(True)))

    def _waiting(self) -> int:
        """Bytes that were said and not read."""
        return int.from_bytes(fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)), sys.byteorder)

    def end(self) -> None:
        self.over.set()
        self.join()
        os.close(self._master)
        os.close(self._slave)


@contextlib.contextmanager
def line(says: bytes = b"", answers: dict[bytes, bytes] | None = None) -> Iterator[Line]:
    made = Line(says, answers or {})
    made.start()
    try:
        yield made
    finally:
        made.end()


def linegate(*words: str) -> Any:
    return CliRunner().invoke(app, ["listen", *words])


@pytest.mark.parametrize("name", FILES)
def test_each_dialect_wins_its_own_weights(name: str) -> None:
    """Of the golden weights of each dialect, that dialect is named, whatever texts and errors stand between."""
    cases = yaml.safe_load((FOLDER / f"{FILES[name]}.yaml").read_text(encoding="utf-8"))
    lines = [case["line"] for case in cases if "value" in case or case.get("error") or case.get("id") == "text"]
    found = verdict("".join(f"{each}\r\n" for each in lines).encode())

    assert found is not None
    assert found.dialect == name


def test_nobody_is_named_by_noise_or_texts() -> None:
    """Noise, a printed head, errors alone, silence: none is a dialect."""
    for data in (b"", b"\xff" * 900, b"Sartorius\r\nMod. MSE224S\r\n", b"ES\r\nES\r\n", b"hello 12\r\n" * 9):
        assert verdict(data) is None, (data, opinions(data))


def test_questions_change_nothing() -> None:
    """What may be asked neither tares nor zeroes nor resets, in any of the dialects."""
    asked = {each.strip() for questions in QUESTIONS.values() for each in questions}

    assert not asked & {
        b"T",
        b"Z",
        b"TI",
        b"ZI",
        b"@",
        b"TAC",
        b"\x1bT",
        b"\x1bU",
        b"\x1bV",
        b"\x1bS",
        b"\x1bZ",
        b"\x1bW",
    }


def test_settings_are_tried_once_each() -> None:
    """The given one first, then the usual ones; each is a URL that a device could have."""
    tried = settings(parse_url("serial:///dev/ttyS9?baudrate=2400&bytesize=7&parity=E", SCHEMES))

    assert shown(tried[0]) == "serial:///dev/ttyS9?baudrate=2400&bytesize=7&parity=E"
    assert len({shown(each) for each in tried}) == len(tried) > 10
    assert all(parse_url(shown(each), SCHEMES) == each for each in tried)


@pytest.mark.parametrize("name", LINES)
def test_listening_writes_nothing_and_prints_a_device(name: str) -> None:
    """A streaming balance is named, its device printed ready for line.yaml; not one byte went to it."""
    with line(LINES[name]) as end:
        result = linegate(f"serial://{end.path}", "--seconds", "0.8")

    assert result.exit_code == 0, result.output
    assert end.heard == b""
    assert f"it speaks {name}" in result.output
    assert LINES[name].hex(" ") in result.output
    document = yaml.safe_load(re.search(r"^devices:.*", result.output, re.MULTILINE | re.DOTALL)[0])  # type: ignore[index]
    made = BalanceConfig.model_validate(document["devices"]["balance"])
    assert (made.dialect, made.mode) == (name, "continuous")
    assert made.column == {"mt-sics": 14, "ohaus": 11}.get(name)


def test_asking_finds_a_silent_one() -> None:
    """With --ask a balance that waits for questions is named, in request mode."""
    with line(answers={b"SI\r\n": LINES["mt-sics"], b"I4\r\n": b'I4 A "B0123"\r\n'}) as end:
        result = linegate(f"serial://{end.path}", "--seconds", "1.2", "--ask")

    assert result.exit_code == 0, result.output
    assert "dialect: mt-sics" in result.output
    assert "mode:" not in result.output


def test_silence_says_what_to_do() -> None:
    """Nothing came: exit code 1, and the next step."""
    with line() as end:
        result = linegate(f"serial://{end.path}", "--seconds", "0.2")

    assert result.exit_code == 1
    assert "press PRINT" in result.output


def test_wrong_parity_says_what_to_do() -> None:
    """Bytes above 7F: the settings differ; --scan is the next step."""
    with line(bytes(byte | 0x80 for byte in LINES["sbi"])) as end:
        result = linegate(f"serial://{end.path}", "--seconds", "0.7")

    assert result.exit_code == 1
    assert "--scan" in result.output


def test_scan_stops_at_the_first_that_is_understood() -> None:
    """A scan tells each setting's count and ends where the lines can be read."""
    with line(LINES["a-and-d"]) as end:
        result = linegate(f"serial://{end.path}?baudrate=2400", "--seconds", "0.7", "--scan")

    assert result.exit_code == 0, result.output
    assert "baudrate=2400: " in result.output
    assert "dialect: a-and-d" in result.output


@pytest.mark.parametrize(("words", "why"), [(["udp://h:1"], "serial://"), (["tcp://127.0.0.1:9", "--scan"], "baud")])
def test_what_cannot_be_listened_to(words: list[str], why: str) -> None:
    """A wrong URL, and a scan of what has no settings, are refused in a sentence."""
    result = linegate(*words)

    assert result.exit_code != 0
    assert why in str(result.exception)


def test_a_cable_pulled_while_listening() -> None:
    """What came before the line was lost is judged all the same."""
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(line(LINES["sbi"]))

        def pull() -> None:
            end.listened.wait(PATIENCE_S)
            stack.close()

        pulling = threading.Thread(target=pull)
        pulling.start()
        result = linegate(f"serial://{end.path}", "--seconds", "20")
        end.listened.set()  # where nobody came to listen
        pulling.join()

    assert result.exit_code == 0, result.output
    assert "connection lost" in result.output
    assert "it speaks sbi" in result.output
