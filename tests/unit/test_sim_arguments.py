"""What the simulated line is started with, and told while it runs: values that no line could have are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.arguments import arguments
from simulators.control import Control
from simulators.line import Line, Options


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--speed", "nan", "nan is not a positive number"),
        ("--speed", "0", "0 is not a positive number"),
        ("--speed", "inf", "inf is not a positive number"),
        ("--speed", "fast", "'fast' is not a number"),
        ("--rate", "-1", "-1 is not a positive number"),
        ("--oil-cel", "nan", "nan is not a temperature of oil"),
        ("--oil-cel", "-273", "-273 is not a temperature of oil"),
        ("--control", "70000", "'70000' is not a TCP port"),
        ("--balance", "-1", "'-1' is not a TCP port"),
        ("--reservoir", "\u0665\u0660", "is not a TCP port"),
    ],
)
def test_a_value_no_line_could_have_is_refused(
    option: str, value: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and a sentence that names the option and the value; nothing is started."""
    with pytest.raises(SystemExit) as end:
        arguments().parse_args([f"{option}={value}"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert option in said
    assert told in said


def test_what_a_line_can_have_is_taken() -> None:
    """The refusals leave the usual alone."""
    given = arguments().parse_args(["--speed", "0.5", "--rate", "20", "--oil-cel", "62", "--control", "0"])
    assert (given.speed, given.rate, given.oil_cel, given.control) == (0.5, 20.0, 62.0, 0)


@pytest.mark.parametrize(
    "request_",
    [
        b'{"do": "speed", "value": NaN}',
        b'{"do": "rate", "value": 0}',
        b'{"do": "heater", "setpoint_cel": NaN}',
        b'{"do": "oil", "cel": -1e9}',
        b'{"do": "oil", "terpene": NaN}',
    ],
)
async def test_the_control_refuses_them_too(request_: bytes, tmp_path: Path) -> None:
    """While it runs the plant cannot be told what would break its physics."""
    line = Line(Options(seed=5, run_dir=tmp_path, devices=("balance",), ports={}))
    before = line.truth()["plant"]
    answer = await Control(line, lambda: None).answer(request_)
    assert not answer["ok"]
    assert " is not a " in answer["error"]
    assert line.truth()["plant"] == before
