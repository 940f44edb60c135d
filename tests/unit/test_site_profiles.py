"""A site's own profiles in a configuration: found beside it, hashed with it, their errors said at their own place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.reading import check, load
from gateway.drivers.profiles.profile import read_profile

LINE = """\
gateway: {id: gw, path: a/b}
devices:
  mixer: {driver: modbus, profile: NAME, url: "tcp://127.0.0.1:502"}
"""
OWN = """\
driver: modbus
maker: ours
model: mixer
manual: our list
verified: false
settings:
  tags:
    speed: {address: 7, unit: /min}
    torque: {address: 8, type: i16, unit: N.m}
"""


def line(folder: Path, own: str = OWN, name: str = "mixer") -> Path:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "mixer.yaml").write_text(own)
    path = folder / "line.yaml"
    path.write_text(LINE.replace("NAME", name))
    return path


@pytest.mark.parametrize("name", ["mixer", "profiles/mixer.yaml"])
def test_the_configuration_finds_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name or by path, from the configuration's folder, wherever the gateway was started."""
    monkeypatch.chdir("/")
    settings = load(line(tmp_path, name=name))

    assert settings.tagsets["mixer"].tags == ("speed", "torque")


def test_the_hash_covers_it(tmp_path: Path) -> None:
    """Another address in the profile is another configuration."""
    before = load(line(tmp_path)).hash

    assert load(line(tmp_path)).hash == before
    assert load(line(tmp_path, OWN.replace("address: 8", "address: 9"))).hash != before


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (OWN.replace("i16", "i17"), "mixer.yaml:9:32: settings.tags.torque.type: 'i17' is not one of"),
        (OWN.replace("unit: N.m", "unti: N.m"), "mixer.yaml:9:37: settings.tags.torque.unti: unknown key"),
        (OWN.replace("address: 8, ", ""), "mixer.yaml:9:5: settings.tags.torque.address: is missing"),
        (OWN + "    speed: {address: 9}\n", "mixer.yaml:10:5: settings.tags.speed: "),
        (OWN.replace("driver: modbus", "driver: opcua"), "line.yaml:3:36: devices.mixer.profile: profile mixer is for"),
        (OWN.replace("maker: ours\n", ""), "line.yaml:3:36: devices.mixer.profile: mixer.yaml is not a profile"),
    ],
)
def test_its_errors_stand_at_their_place(tmp_path: Path, own: str, said: str) -> None:
    """What is wrong in the profile is said with the profile's line; what is wrong with naming it, with the line's."""
    report = check(line(tmp_path, own))

    assert any(said in str(problem) for problem in report.problems), [str(problem) for problem in report.problems]


def test_a_missing_one_is_said(tmp_path: Path) -> None:
    """A path that leads nowhere and a name that is nowhere are errors at the key, with what there is."""
    path = line(tmp_path, name="maps/mixer.yaml")
    nowhere = [str(problem) for problem in check(path).problems]
    typo = [str(problem) for problem in check(line(tmp_path, name="mixr")).problems]

    assert "cannot be read" in nowhere[0]
    assert "nearest: mixer" in typo[0]


def test_what_the_line_says_wins_and_is_blamed(tmp_path: Path) -> None:
    """An error in what the line lays over the profile is the line's."""
    path = line(tmp_path)
    path.write_text(LINE.replace("profile: NAME", "profile: mixer, tags: {speed: {type: i17}}"))

    assert "line.yaml:3:64: devices.mixer.tags.speed.type" in str(check(path).problems[0])


def test_a_pipe_is_no_profile(tmp_path: Path) -> None:
    """A pipe, or a device without an end, would hang the check: it is refused before it is opened."""
    os.mkfifo(tmp_path / "endless.yaml")
    with pytest.raises(ValueError, match=r"endless\.yaml is not a file; name one"):
        read_profile(tmp_path / "endless.yaml")


def test_a_profile_without_bottom(tmp_path: Path) -> None:
    """Nesting beyond all measure is a sentence, not a crash."""
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_profile(path)
