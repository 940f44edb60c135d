"""Extra devices: made only when asked for, on ports of their own; and the catalogue of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from simulators import extras
from simulators.__main__ import _options
from simulators.arguments import arguments
from simulators.catalogue import as_text, describe
from simulators.device import Device, Fault, UnknownError
from simulators.extras import EXTRAS, PORTS_EACH, Extra, Stand
from simulators.line import Line, Options


class _Lamp(Device):
    sentence = "A lamp."
    tags = frozenset({"on"})
    own_faults: ClassVar = {"dim": Fault("It burns low.", "share")}

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.stand = stand


def make_lamp(stand: Stand) -> Device:
    """The factory that the test's registry names."""
    return _Lamp(stand)


@pytest.fixture
def lamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "lamp", Extra(f"{__name__}:make_lamp", 9000))


def _line(folder: Path, *names: str, base: int = 4100) -> Line:
    return Line(Options(seed=1, run_dir=folder, devices=("viscometer",), extras=names, extras_port=base))


async def test_only_what_is_asked_for_is_made(lamp: None, tmp_path: Path) -> None:
    """Without --with there is no extra device; with it there is, and it sees those made before it."""
    assert set(_line(tmp_path).devices) == {"viscometer"}
    device = _line(tmp_path, "lamp").device("lamp")
    assert isinstance(device, _Lamp)
    assert "viscometer" in device.stand.devices
    assert device.stand.tty() == tmp_path / "lamp.tty"


async def test_ports_count_from_the_base(lamp: None, tmp_path: Path) -> None:
    """Each extra has ten ports of its own above the base; base 0 means any free ones."""
    device = _line(tmp_path, "lamp").device("lamp")
    assert isinstance(device, _Lamp)
    assert (device.stand.port(), device.stand.port(3)) == (13100, 13103)
    free = _line(tmp_path, "lamp", base=0).device("lamp")
    assert isinstance(free, _Lamp)
    assert (free.stand.port(), free.stand.port(3)) == (0, 0)
    with pytest.raises(ValueError, match="ports 0 to 9"):
        device.stand.port(10)


async def test_unknown_and_doubled_names_are_refused(lamp: None, tmp_path: Path) -> None:
    """A name nobody registered, or one twice, is told in a sentence."""
    with pytest.raises(UnknownError, match=r"no extra device 'lmap'; there are .*lamp"):
        _line(tmp_path, "lmap")
    with pytest.raises(UnknownError, match="asked for twice"):
        _line(tmp_path, "lamp", "lamp")


def test_every_extra_has_ports_of_its_own() -> None:
    """No two extra devices share an offset, and all are whole tens."""
    offsets = [extra.offset for extra in EXTRAS.values()]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % PORTS_EACH == 0 for offset in offsets)


async def test_the_catalogue_says_it_all(tmp_path: Path) -> None:
    """Every device of the line, extra ones too, and each of its faults has a sentence."""
    options = Options(seed=1, run_dir=tmp_path, extras=tuple(EXTRAS), extras_port=0)
    entries = describe(Line(options).devices.values())
    assert {entry["name"] for entry in entries} >= {"balance", "filler", *EXTRAS}
    assert "cut: The cable is out" in as_text(entries)
    silent = [
        f"{entry['name']}/{each['name']}" for entry in entries for each in entry["faults"] if not each["sentence"]
    ]
    assert silent == []
    assert [entry["name"] for entry in entries if not entry["sentence"]] == []


def test_all_of_them_are_had_by_one_word() -> None:
    """`--with all` is every extra device, so that nobody has to write the list."""
    assert _options(arguments().parse_args(["--with", "all"])).extras == tuple(EXTRAS)
    assert _options(arguments().parse_args(["--with", "pump,relay"])).extras == ("pump", "relay")
