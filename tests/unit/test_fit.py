"""`linegate fit viscosity`: a site's points in, a model and a picture out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.derive.models import ZERO_CEL
from gateway.derive.points import read_points
from gateway.derive.viscosity import ViscosityConfig
from gateway.errors import LinegateError

ROOT = Path(__file__).parents[2]
POINTS = "temperature [Cel],viscosity [mPa.s]\n40,5200\n50,1710\n60,690\n70,322\n80,170\n90,98\n"


def run(tmp_path: Path, text: str, *options: str) -> str:
    path = tmp_path / "points.csv"
    path.write_text(text)
    result = CliRunner().invoke(app, ["fit", "viscosity", str(path), *options])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_snippet_it_prints_is_a_configuration_that_works(tmp_path: Path) -> None:
    """VFT, the better one, with its fitted range; at 60 Cel it gives back about the point that was measured there."""
    out = run(tmp_path, POINTS)
    snippet = yaml.safe_load(out[out.index("derived:") : out.index("picture:")])
    config = ViscosityConfig.model_validate(snippet["derived"]["oil"]["tags"]["viscosity_60"])
    assert (config.model.kind, config.model.low, config.model.high) == ("vft", 40, 90)
    model = config.model.made()
    assert model.compensate(5200, 40 + ZERO_CEL, 60 + ZERO_CEL) == pytest.approx(690, rel=0.01)
    picture = (tmp_path / "points.svg").read_text()
    assert picture.count("<circle") == 6
    assert picture.count("<polyline") == 2


def test_it_refuses_to_extrapolate(tmp_path: Path) -> None:
    """A reference beyond the points: no model is printed, and what to do is said."""
    with pytest.raises(LinegateError, match="95 Cel is outside your points"):
        run(tmp_path, POINTS, "--at", "95")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("t,x\n1,2\n", r"points\.csv:1:1: no column 'viscosity'"),
        ("t,eta\n40,x\n", r"points\.csv:2:2: 'x' is not a number"),
        ("t [g],eta\n40,1\n", r"points\.csv:1:1: g is no unit of temperature"),
        ("t [Pa.s],eta\n40,1\n", r"points\.csv:1:1: Pa\.s is no unit of temperature"),
        ("t,eta [Cel]\n40,1\n", r"points\.csv:1:2: Cel is no unit of viscosity"),
        ("t,eta [cSt]\n40,1\n", r"points\.csv:1:2: cSt is kinematic; multiply by the density"),
        ("# ours\n# 2026\nt,eta\n40,x\n", r"points\.csv:4:2: 'x' is not a number"),
        ("t,eta\n4_0,1\n", r"points\.csv:2:1: '4_0' is not a number"),
        ("t,eta\n40,inf\n50,2\n60,1\n", r"points\.csv:2:2: .* finite and above zero"),
        ("t,eta\n40,5\n# ours\n50,0\n60,1\n", r"points\.csv:4:2: a viscosity of 0 at 50 Cel cannot be"),
        ("eta,t\n5,nan\n", r"points\.csv:2:2: .* finite and above zero"),
        ("t,eta\n40,5,5200\n50,5,1710\n60,5,690\n", r"points\.csv:2:3: more cells than the head names; a comma"),
        ("t,eta\n40,5\n40,4\n50,3\n50,2\n", "different temperatures; there are 2"),
        ("t,eta\n40,1\n50,2\n60,3\n", "rise with the temperature"),
        ("t,eta\n40,5\n50,4\n", "needs 3 points"),
        ("", r"points\.csv:1:1: no column 'temperature'"),
        ("t,eta\n40,5\n40,4\n50,3\n50,2\n", "needs 3 points at different temperatures"),
        ("t [K],eta\n-40,5\n50,4\n60,3\n", "-313.15 Cel cannot be"),
        ("t,eta,eta [cP]\n40,5,5\n", r"points\.csv:1:3: a second column of the viscosity"),
        ("t [grad],eta\n40,5\n", r"points\.csv:1:1: grad is no unit of temperature; write Cel"),
        ("t,eta [SSU]\n40,5\n", r"points\.csv:1:2: SSU is no unit of viscosity; write mPa\.s"),
        ("t,eta\n40,500\n41,480\n42,450\n43,430\n", "all points lie within 3 K"),
        ("t,eta\n40,1e308\n50,1e300\n60,nan\n", "finite and above zero"),
    ],
)
def test_what_is_wrong_with_the_points_is_told_at_its_place(tmp_path: Path, text: str, wrong: str) -> None:
    """File, line and column."""
    with pytest.raises(LinegateError, match=wrong):
        run(tmp_path, text)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("60,690", "60,6.9"), ("60,690", "60,6900"), ("70,322", "70,32.2"), ("40,5200", "40,520")],
)
def test_a_slip_of_the_decimal_point_gives_no_model(tmp_path: Path, wrong: str, right: str) -> None:
    """Points that lie on no curve: the one to look at is named, and the picture is there to see it."""
    cel, eta = right.split(",")
    with pytest.raises(LinegateError, match=rf"lie on no curve: .* Look at {eta} mPa\.s at {cel} Cel first") as said:
        run(tmp_path, POINTS.replace(wrong, right))
    assert str(tmp_path / "points.svg") in str(said.value)
    assert (tmp_path / "points.svg").exists()


def test_other_columns_of_an_instruments_export_are_passed_over() -> None:
    """Time, torque and tray are no temperature, though they begin with a t; tC is one."""
    text = "time,tC,torque,viscosity,tray\n0,60,12,690,T1\n"
    assert read_points(text, "x") == [(pytest.approx(333.15), pytest.approx(690))]


def test_the_ends_of_what_was_measured_in_fahrenheit_are_in_the_model_it_prints(tmp_path: Path) -> None:
    """37.7778 Cel was above the coldest point, 100 degF, which had no viscosity."""
    out = run(tmp_path, "t [degF],eta\n100,5200\n122,1710\n140,690\n175,210\n", "--at", "60")
    tags = yaml.safe_load(out[out.index("derived:") : out.index("picture:")])["derived"]["oil"]["tags"]
    model = ViscosityConfig.model_validate(tags["viscosity_60"]).model.made()
    for fahrenheit in (100, 175):
        assert model.log_eta((fahrenheit + 459.67) * 5 / 9) > 0


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It was a traceback; and no picture is written over the points."""
    with pytest.raises(LinegateError, match=r"x\.svg cannot be written: .* with --plot"):
        run(tmp_path, POINTS, "--plot", str(tmp_path / "nowhere" / "x.svg"))
    with pytest.raises(LinegateError, match="written over the points"):
        run(tmp_path, POINTS, "--plot", str(tmp_path / "points.csv"))
    assert (tmp_path / "points.csv").read_text() == POINTS


def test_units_as_laboratories_write_them_are_read() -> None:
    """Degrees with their sign, a dot in the middle."""
    assert read_points("Temperature (°C),Viscosity (mPa·s)\n60,690\n", "x") == [
        (pytest.approx(333.15), pytest.approx(690))
    ]
    assert read_points("temp [°F],eta [Pas]\n140,0.69\n", "x") == [(pytest.approx(333.15), pytest.approx(690))]


def test_units_in_the_head_and_other_separators_are_read() -> None:
    """Fahrenheit and Pa.s, tabs or semicolons, a byte order mark."""
    assert read_points("\ufefftemp (K);eta [Pa.s]\n333.15;0.69\n", "x") == [(pytest.approx(333.15), pytest.approx(690))]
    ((kelvin, eta),) = read_points("temperature_[degF]\tviscosity_cP\n140\t690\n", "x")
    assert (kelvin, eta) == (pytest.approx(333.15), pytest.approx(690))


def test_the_demonstration_lines_model_is_the_fit_of_the_points_it_ships(tmp_path: Path) -> None:
    """Nobody typed it: the points beside the line give what the line is configured with."""
    points = (ROOT / "config" / "points" / "distillate-vape-1g.csv").read_text()
    out = run(tmp_path, points, "--at", "62")
    fitted = yaml.safe_load(out[out.index("derived:") : out.index("picture:")])["derived"]["oil"]["tags"][
        "viscosity_62"
    ]
    line = yaml.safe_load((ROOT / "config" / "line.yaml").read_text())["derived"]["oil"]["tags"]["viscosity_62"]
    for shown in (fitted, line):
        del shown["model"]["fitted"]
    assert line == fitted
