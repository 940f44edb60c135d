"""The second home of the latches."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.latches import LatchFile

LATCHES = {"filler:hot": {"id": "filler:hot", "version": 3}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "latches.json"


def test_what_was_written_is_read(path: Path) -> None:
    """Also by the next process, readable by this user only, without leftovers."""
    LatchFile(path).write(LATCHES)

    assert LatchFile(path).read() == LATCHES
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_last_one_counts(path: Path) -> None:
    """Released is gone."""
    file = LatchFile(path)
    file.write(LATCHES)
    file.write({})

    assert LatchFile(path).read() == {}


def test_no_file_is_no_latch(path: Path) -> None:
    """The first start of all."""
    file = LatchFile(path)

    assert file.read() == {}
    assert file.damaged == ""


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"x" * 100, b"[" * 100_000, b'{"a": 1}trailing', b"\x00" * 512]
)
def test_a_damaged_file_is_put_aside_and_said(path: Path, content: bytes) -> None:
    """Whatever it holds: no crash, its bytes are kept, and the next start finds a file that can be written."""
    path.write_bytes(content)
    file = LatchFile(path)

    assert file.read() == {}
    assert "latches.json" in file.damaged
    assert (path.parent / "latches.json.damaged-1").read_bytes() == content
    file.write(LATCHES)
    assert LatchFile(path).read() == LATCHES


def test_damage_upon_damage_loses_neither(path: Path) -> None:
    """A second damaged file does not cover the first."""
    for number in (1, 2):
        path.write_bytes(b"damage %d" % number)
        LatchFile(path).read()

    assert (path.parent / "latches.json.damaged-2").read_bytes() == b"damage 2"
    assert (path.parent / "latches.json.damaged-1").read_bytes() == b"damage 1"


def test_a_folder_in_its_place_is_put_aside(path: Path) -> None:
    """Somebody's mistake in a shell is no reason not to start."""
    path.mkdir()
    file = LatchFile(path)

    assert file.read() == {}
    assert file.damaged
    file.write(LATCHES)


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The caller hears of it and alarms; the ledger still keeps the latches."""
    with pytest.raises(OSError, match="No such file"):
        LatchFile(tmp_path / "gone" / "latches.json").write(LATCHES)


def test_a_write_that_was_cut_leaves_the_file_before(path: Path) -> None:
    """Killed between writing and renaming: the old content stands, the half one is ignored."""
    LatchFile(path).write(LATCHES)
    (path.parent / "latches.json.new").write_bytes(b'{"filler:h')

    assert LatchFile(path).read() == LATCHES
    LatchFile(path).write({})
    assert LatchFile(path).read() == {}
