"""What the start of a line does not wait for: libraries and kinds that its file does not name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from gateway.cli import running
from gateway.config.derived import KINDS as DERIVED
from gateway.config.kinds import House, Kinds
from gateway.drivers.kinds import BUILT_IN as DRIVERS

ROOT = Path(__file__).parents[2]

LINE = """
gateway: {id: start, path: a/b/c/d, console: {port: 0}}
devices:
  press: {driver: modbus, url: "tcp://127.0.0.1:9", period: 1s, timeout: 1s, tags: {oil: {address: 0, type: u16}}}
rules:
  oil: {kind: limit, input: press/oil, limits: {unit: "1", low: 0, high: 9}}
sinks:
  mes: {kind: mqtt, url: "mqtt://127.0.0.1:9", ack: none}
"""

UNTIL_IT_STANDS = """
import gc, json, os, sys

def told():
    from gateway.window import Frozen
    left, built = [Frozen], []
    while left:
        model = left.pop()
        left += model.__subclasses__()
        built += [model.__name__] if model.__pydantic_complete__ else []
    print(json.dumps({"modules": sorted(sys.modules), "built": built}))
    sys.stdout.flush()
    os._exit(0)

gc.freeze = told  # the start's last word, before the first poll
sys.argv = ["linegate", "run", sys.argv[1]]
from gateway.cli.main import main
main()
"""

HEAVY = (
    "asyncua",
    "fastapi",
    "influxdb_client",
    "jinja2",
    "pint",
    "prometheus_client",
    "pymodbus",
    "rich",
    "serial",
    "simpleeval",
    "starlette",
    "typer",
    "uvicorn",
)
"""Each is for a command, a page, a report, or a kind that the file above does not name."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collection[str]]:
    """Modules and models of a gateway that is about to poll."""
    file = tmp_path_factory.mktemp("start") / "line.yaml"
    file.write_text(LINE)
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_IT_STANDS, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told: dict[str, Collection[str]] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_start_imports_no_library_that_it_does_not_need(started: dict[str, Collection[str]]) -> None:
    """A tenth of a second and megabytes each."""
    assert {"gateway.app", "gateway.drivers.modbus.device"} <= set(started["modules"])
    assert not [name for name in HEAVY if name in started["modules"]]


def test_a_start_imports_only_the_kinds_that_its_file_names(started: dict[str, Collection[str]]) -> None:
    """Nor the models of the others."""
    others = [place.partition(":")[0] for word, place in DRIVERS.items() if word != "modbus"]
    assert not set(others) & set(started["modules"])


def test_only_the_models_that_are_used_are_built(started: dict[str, Collection[str]]) -> None:
    """Of a hundred models most lines use twenty."""
    assert {"ModbusConfig", "LimitConfig", "GatewayConfig"} <= set(started["built"])
    assert not {"Recipe", "SamplingConfig", "HaltBy", "Heartbeat"} & set(started["built"])


@pytest.mark.parametrize(
    "kinds", [House().drivers, House().rules, House().sinks, DERIVED], ids=["drivers", "rules", "sinks", "derived"]
)
def test_the_words_of_the_tables_are_those_of_the_models(kinds: Kinds) -> None:  # type: ignore[type-arg]  # of any
    """A kind is found by the word that its own model takes."""
    for word in kinds.built_in:
        model = kinds.find(word)
        assert model is not None
        assert get_args(model.model_fields[kinds.key].annotation) == (word,)


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["run", "line.yaml"], "line.yaml"),
        (["run", "--log-json", "line.yaml"], "line.yaml"),
        (["run", "line.yaml", "--log-json"], "line.yaml"),
        (["run"], None),
        (["run", "--help"], None),
        (["run", "a.yaml", "b.yaml"], None),
        (["run", "line.yaml", "--log-xml"], None),
        (["run", "--", "line.yaml"], None),
        (["check", "line.yaml"], None),
        ([], None),
    ],
)
def test_what_is_a_plain_run(arguments: list[str], file: str | None) -> None:
    """Everything else is for the terminal's commands, which know what is wrong with it."""
    assert running.asked(arguments) == (None if file is None else Path(file))
