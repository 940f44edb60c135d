"""The command line: words, exit codes, and never a traceback for what is not our bug."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from store_kit import make_bundle, pack, unpack

import gateway
from gateway.cli import line as cli_line
from gateway.cli import main as cli
from gateway.client import Client
from gateway.commands.commands import COMMANDS
from gateway.errors import ConfigError, LinegateError, Problem, Refused

GOOD = str(Path(__file__).parents[2] / "config" / "line.yaml")


class Cli:
    """Runs `linegate ...` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        self._monkeypatch.setattr(sys, "argv", ["linegate", *map(str, arguments)])
        code: str | int | None = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return int(code or 0)


@pytest.fixture
def linegate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.setenv("COLUMNS", "200")
    yield Cli(capsys, monkeypatch)
    structlog.reset_defaults()  # `run` sets the logs up, and this process goes on


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What would have been sent to the gateway; the answer is empty."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def command(self: Client, name: str, /, *, signed: bool = False, **arguments: Any) -> Any:
        headers = self._headers("T", signed=signed)
        who = headers.get("X-Linegate-Person", "")
        sent.append((name, {**arguments, "_who": who, "_signed": signed}))
        return {"done": name}

    monkeypatch.setattr(Client, "command", command)
    monkeypatch.setenv("LINEGATE_PASSWORD", "correct horse")
    return sent


# -- words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_a_halt_is_and_is_not_is_said(linegate: Cli, option: str) -> None:
    """Version and help carry the wording: a quality function, never a safety function."""
    assert linegate(option) == 0
    told = " ".join(linegate.out.split())
    assert "operational hold request to the machine's own controller" in told
    assert "no safety function, no emergency stop and no interlock" in told
    assert (gateway.__version__ in told) is (option == "--version")


def test_nothing_asked_is_help(linegate: Cli) -> None:
    """`linegate` alone shows the commands."""
    assert linegate() == 2
    for name in ("run", "check", "demo", "simulate", "people", "batch", "take", "sign", "alarms", "halts", "verify"):
        assert name in linegate.out + linegate.err


def test_the_wrong_word_is_named(linegate: Cli) -> None:
    """A typo in a command or an option is a usage error."""
    assert linegate("chekc") == 2
    assert "chekc" in linegate.err
    assert linegate("run") == 2


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigError([Problem("line.yaml", 3, 7, "devices.x", "is odd")] * 2), 2, "line.yaml:3:7: devices.x: is odd"),
        (Refused("changed", "look again first"), 3, "refused (changed): look again first"),
        (LinegateError("no running gateway"), 4, "linegate: no running gateway"),
    ],
)
def test_errors_of_ours_are_sentences_with_a_code(
    linegate: Cli, monkeypatch: pytest.MonkeyPatch, error: LinegateError, code: int, told: str
) -> None:
    """2: the configuration; 3: refused; 4: it cannot be done now.  On stderr, nothing on stdout."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Client, "status", fail)
    assert linegate("status") == code
    assert told in linegate.err
    assert linegate.out == ""
    if code == 2:
        assert "2 error(s); nothing was started." in linegate.err


def test_a_bug_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ours to mend is not hidden behind a sentence."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Client, "status", fail)
    monkeypatch.setattr(sys, "argv", ["linegate", "status"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


# -- check ----------------------------------------------------------------------------------------------


def test_a_good_line_checks_clean(linegate: Cli) -> None:
    """With the worst case of every halt, and 0."""
    assert linegate("check", GOOD) == 0
    assert "worst-case reaction" in linegate.out
    assert "s poll + 500ms halt = " in linegate.out
    assert linegate.out.rstrip().endswith("good")


def test_every_error_has_its_place(linegate: Cli, tmp_path: Path) -> None:
    """File, line and column, with the nearest right word; 2, and what `run` would do."""
    text = Path(GOOD).read_text().replace("driver: balance", "driver: balanse").replace("deadband: 0.5", "dedband: 0.5")
    broken = tmp_path / "line.yaml"
    broken.write_text(text)

    assert linegate("check", broken) == 2
    lines = text.splitlines()
    for word, hint in (("balanse", "balance"), ("dedband", "deadband")):
        line = next(number for number, each in enumerate(lines, 1) if word in each)
        column = lines[line - 1].index(word) + 1
        assert f"line.yaml:{line}:{column}: " in linegate.err
        assert hint in linegate.err
    assert "error(s); `linegate run` would refuse." in linegate.err


def test_the_schema_is_json(linegate: Cli) -> None:
    """For editors."""
    assert linegate("check", GOOD, "--schema") == 0
    assert "properties" in json.loads(linegate.out)


@pytest.mark.parametrize("command", ["check", "run"])
def test_no_file_is_a_sentence(linegate: Cli, tmp_path: Path, command: str) -> None:
    """A wrong path is the configuration's fault."""
    assert linegate(command, tmp_path / "no.yaml") == 2
    assert "no.yaml:1:1: file: no such file" in linegate.err


# -- verify ---------------------------------------------------------------------------------------------


async def test_a_good_bundle_holds(linegate: Cli, tmp_path: Path) -> None:
    """0, with the batch, the root and the key in words; also against a checkpoint kept elsewhere."""
    bundle, note = await make_bundle(tmp_path, 5, 30, 10)
    (tmp_path / "witness").write_text(note)

    assert linegate("verify", bundle) == 0
    assert "holds: batch B1" in linegate.out
    assert linegate("verify", bundle, "--witness", tmp_path / "witness") == 0


async def test_a_changed_record_is_named(linegate: Cli, tmp_path: Path) -> None:
    """One digit in one record: 1, and its index."""
    bundle, _ = await make_bundle(tmp_path, 5, 30, 10)
    files = unpack(bundle)
    name = next(each for each in files if b"1.000012" in files[each])
    spoilt = pack(tmp_path / "spoilt.zip", {**files, name: files[name].replace(b"1.000012", b"1.000013")})

    assert linegate("verify", spoilt) == 1
    assert "record 17" in linegate.out + linegate.err


@pytest.mark.parametrize("content", [None, b"", b"not a zip"])
def test_what_is_no_bundle_does_not_hold(linegate: Cli, tmp_path: Path, content: bytes | None) -> None:
    """No file, an empty one, another kind: 1 and a sentence."""
    path = tmp_path / "evidence.zip"
    if content is not None:
        path.write_bytes(content)

    assert linegate("verify", path) == 1
    assert "evidence.zip" in linegate.out + linegate.err


# -- to the running gateway -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["status"], ["alarms"], ["halts"], ["batch", "show"], ["take", "w"], ["batch", "report", "B1"]],
)
def test_no_gateway_is_a_sentence(linegate: Cli, tmp_path: Path, command: list[str]) -> None:
    """4, and what to do."""
    assert linegate(*command, "--state", tmp_path) == 4
    assert "no running gateway" in linegate.err
    assert "--state" in linegate.err


def test_a_gateway_that_is_gone_is_a_sentence(linegate: Cli, tmp_path: Path) -> None:
    """Its token file was left behind by a kill: nobody answers there."""
    (tmp_path / "console.token").write_text("http://127.0.0.1:9 T\n")

    assert linegate("status", "--state", tmp_path) == 4
    assert "does not answer" in linegate.err


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("take weight --check weight#1 --unit-no 7", "check.take",
         {"rule": "weight", "check": "weight#1", "unit_no": 7, "tray": None}),
        ("value weight#1 leaks 0", "check.value",
         {"check": "weight#1", "characteristic": "leaks", "value": "0", "unit": "1"}),
        ("take weight --item C-17", "check.take",
         {"rule": "weight", "check": None, "unit_no": None, "tray": None, "item": "C-17"}),
        ("tare weight C-17", "check.take",
         {"rule": "weight", "item": "C-17", "stage": "tare", "characteristic": None}),
        ("reweigh weight draught --unit-no 7", "check.reweigh",
         {"rule": "weight", "reason": "draught", "check": None, "characteristic": None, "unit_no": 7, "item": ""}),
        ("adjusted dose --device filler", "process.adjusted", {"text": "dose", "device": "filler"}),
        ("repeatability balance 1.0 1.1", "scale.repeatability",
         {"device": "balance", "weighings": ["1.0", "1.1"], "unit": "g"}),
        ("balance tare scale", "balance.tare", {"device": "scale"}),
        ("balance zero scale", "balance.zero", {"device": "scale"}),
        ("scan B1 OIL-7", "batch.scan", {"batch": "B1", "code": "OIL-7"}),
        ("sign B1 clearance --comment clean", "batch.sign", {"batch": "B1", "step": "clearance", "comment": "clean"}),
        ("alarms ack hot 3 --comment seen", "alarm.acknowledge", {"alarm": "hot", "occurrence": 3, "comment": "seen"}),
        ("alarms reset hot 3", "alarm.reset", {"alarm": "hot", "occurrence": 3}),
        ("alarms shelve hot --for 30min --reason moved", "alarm.shelve",
         {"alarm": "hot", "seconds": 1800.0, "reason": "moved"}),
        ("alarms unshelve hot", "alarm.unshelve", {"alarm": "hot"}),
        ("alarms remove hot --reason broken", "alarm.remove", {"alarm": "hot", "reason": "broken"}),
        ("alarms return hot", "alarm.return", {"alarm": "hot"}),
        ("halts release filler:hot --version 2 --reason mended", "halt.release",
         {"halt": "filler:hot", "version": 2, "reason": "mended", "recalibration": ""}),
        ("batch start B1", "batch.start", {"batch": "B1"}),
        ("batch complete B1", "batch.complete", {"batch": "B1"}),
        ("batch close B1 released --reason good", "batch.close",
         {"batch": "B1", "disposition": "released", "reason": "good", "reasons": {}}),
        ("batch abort B1 spilt", "batch.abort", {"batch": "B1", "reason": "spilt"}),
        ("batch tray B1 T1 rejected cold", "batch.tray",
         {"batch": "B1", "tray": "T1", "disposition": "rejected", "reason": "cold"}),
        ("batch enter B1 oil_remaining 12.5 --unit g", "batch.enter",
         {"batch": "B1", "name": "oil_remaining", "value": "12.5", "unit": "g", "comment": "", "corrects": None,
          "roll": ""}),
    ],
)  # fmt: skip
def test_each_command_asks_for_what_it_says(
    linegate: Cli, asked: list[tuple[str, dict[str, Any]]], line: str, name: str, arguments: dict[str, Any]
) -> None:
    """Arguments as given, by whom, and signed where the gateway wants a signature."""
    assert linegate(*line.split(), "--as", "tom") == 0
    assert asked == [(name, {**arguments, "_who": "tom", "_signed": COMMANDS[name].signed})]
    assert json.loads(linegate.out) == {"done": name}
    COMMANDS[name].arguments.model_validate(arguments)


def test_an_order_comes_from_a_file(linegate: Cli, asked: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    """As the MES would send it; a file that is not there, or no JSON, is a sentence with its place."""
    file = tmp_path / "order.json"
    assert linegate("batch", "order", file, "--as", "sue") == 4
    assert "cannot be read" in linegate.err
    file.write_text('{"batch": }')
    assert linegate("batch", "order", file, "--as", "sue") == 4
    assert "line 1 column 11" in linegate.err
    file.write_bytes(b"\xff\xfe")
    assert linegate("batch", "order", file, "--as", "sue") == 4
    assert asked == []

    file.write_text('{"batch": "B1"}')
    assert linegate("batch", "order", file, "--as", "sue") == 0
    assert asked[0][1]["order"] == {"batch": "B1"}


def test_a_release_asks_who(linegate: Cli, asked: list[tuple[str, dict[str, Any]]]) -> None:
    """Before it asks for a password."""
    assert linegate("halts", "release", "filler:hot", "--version", "1", "--reason", "x") == 3
    assert "--as NAME" in linegate.err
    assert asked == []


def test_people_are_added_by_token_or_by_an_admin(
    linegate: Cli, asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new person's password comes by the environment or is asked for, never on the command line."""
    monkeypatch.setenv("LINEGATE_NEW_PASSWORD", "battery staple")
    assert linegate("people", "add", "anna", "--first-run", "TOKEN") == 0
    assert linegate("people", "add", "tom", "--full-name", "Tom T", "--role", "technician", "--role", "operator",
                    "--qualified-until", "2027-01-31", "--as", "anna") == 0  # fmt: skip

    assert asked == [
        ("people.first", {"token": "TOKEN", "name": "anna", "full_name": "anna", "roles": ["admin"],
                          "password": "battery staple", "_who": "", "_signed": False}),
        ("people.add", {"name": "tom", "full_name": "Tom T", "roles": ["technician", "operator"],
                        "password": "battery staple", "qualified_until": "2027-01-31", "_who": "anna",
                        "_signed": True}),
    ]  # fmt: skip


def test_people_are_changed_by_an_admin_and_a_password_by_its_owner(
    linegate: Cli, asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is named is sent; `never` takes the last day away."""
    monkeypatch.setenv("LINEGATE_NEW_PASSWORD", "battery staple")
    change = ("people", "change", "tom", "--reason", "retrained", "--as", "anna")
    assert linegate(*change, "--qualified-until", "2027-12-31") == 0
    assert linegate(*change, "--qualified-until", "never", "--role", "qa", "--disable", "--new-password") == 0
    assert linegate("people", "password", "--as", "tom") == 0
    assert linegate("people", "change", "tom", "--as", "anna") != 0, "a reason is asked for"

    said = {"name": "tom", "reason": "retrained", "_who": "anna", "_signed": True}
    assert asked == [
        ("people.change", {**said, "qualified_until": "2027-12-31"}),
        ("people.change", {**said, "qualified_until": None, "roles": ["qa"], "disabled": True,
                           "password": "battery staple"}),
        ("people.password", {"password": "battery staple", "_who": "tom", "_signed": True}),
    ]  # fmt: skip


def test_people_are_listed_with_what_is_over(linegate: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who signs no more is told from who does."""
    everybody = [
        {
            "person": name,
            "full_name": name.title(),
            "roles": ["qa"],
            "qualified_until": until,
            "over": over,
            "disabled": gone,
        }
        for name, until, over, gone in (
            ("ada", None, False, False),
            ("ben", "2020-01-01", True, False),
            ("cora", "2999-01-01", False, False),
            ("dora", "2020-01-01", True, True),
        )
    ]
    monkeypatch.setattr(Client, "command", lambda *_, **__: everybody)
    assert linegate("people", "list") == 0
    told = {line.split()[1]: line.split("│")[-2].strip() for line in linegate.out.splitlines() if line.startswith("│")}
    assert told == {"ada": "", "ben": "signs no more", "cora": "", "dora": "disabled"}


def test_a_new_password_is_asked_for_twice(
    linegate: Cli, asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees what they type: with a slip in it an admin would be locked out."""
    typed = iter(["battery staple", "battery stalpe", "battery staple", "battery staple"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert linegate("people", "password", "--as", "anna") == 4
    assert "not the same" in linegate.err
    assert linegate("people", "password", "--as", "anna") == 0
    assert [said["password"] for _, said in asked] == ["battery staple"]


def test_a_password_comes_from_a_file(
    linegate: Cli, asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For scripts; a file that is not there is a sentence."""
    monkeypatch.delenv("LINEGATE_PASSWORD")
    monkeypatch.setenv("LINEGATE_PASSWORD_FILE", str(tmp_path / "secret"))
    assert linegate("batch", "start", "B1", "--as", "olga") == 4
    assert "cannot be read" in linegate.err
    (tmp_path / "secret").write_text("correct horse\n")
    assert linegate("batch", "start", "B1", "--as", "olga") == 0
    assert cli_line._client(Path(), "olga")._password == "correct horse"


def test_what_stands_is_a_table(linegate: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms and halts as the gateway's board has them; nothing is an empty table."""
    alarm = {"alarm": "hot", "occurrence": 2, "state": "unack", "priority": "high", "raised_ns": "1800000000000000000",
             "text": "95 Cel is above 90 Cel"}  # fmt: skip
    halt = {"halt": "filler:hot", "version": 3, "state": "confirmed", "judged": "1800000000000000000",
            "confirmed": None, "needs": "condition gone", "text": "too hot"}  # fmt: skip
    monkeypatch.setattr(Client, "status", lambda *_: {"alarms": {"hot": alarm}, "halts": {"filler:hot": halt}})
    assert linegate("alarms") == 0
    assert all(word in linegate.out for word in ("hot", "unack", "08:00:00.000Z", "95 Cel is above 90 Cel"))
    assert linegate("halts") == 0
    assert all(word in linegate.out for word in ("filler:hot", "3", "confirmed", "condition gone", "too hot"))

    monkeypatch.setattr(Client, "status", lambda *_: {})
    assert linegate("alarms") == 0
    assert linegate("halts") == 0
