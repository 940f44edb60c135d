"""Bad input, from outside: a clear sentence and an exit code, nothing started that cannot work, nothing lost.

Each entry of the issue's list, and where it is held:

- YAML with a typo: here (`check` and `run`), each kind of typo in tests/unit/test_config_golden.py, the parser itself
  in tests/unit/test_config_yaml.py
- an unknown tag: here; tests/unit/test_config.py `test_rules_fit_their_devices`, golden unknown-tag.yaml
- a limit the wrong way round: here (in the line and in a recipe); golden limits-wrong-way-round.yaml,
  tests/unit/test_config.py `test_recipes_are_said_like_the_line`
- a port in use: here; tests/integration/test_console.py `test_a_port_in_use_is_named`
- a serial path that does not exist: here (`check` warns, at run the device is lost and the others are not);
  tests/unit/test_config.py `test_what_this_machine_lacks_is_a_warning`
- a recipe changed during a batch: tests/unit/test_line_batch.py `test_a_recipe_changed_during_the_batch_is_refused`
  (goes on with the old one, refuses the next start), tests/unit/test_batch_lifecycle.py for the pure part
- a second gateway on the same store: here; tests/integration/test_store_evidence.py for the lock itself
- a weighing without a unit, or not stable: here, over a real link; tests/unit/test_line_batch.py
  `test_a_weight_that_is_not_stable_is_recorded_and_never_judged`, tests/unit/test_rules_sampling.py for the rule
- a corrupted bundle: here; every kind of tampering in tests/integration/test_store_bundle.py,
  tests/unit/test_cli.py `test_a_changed_record_is_named`
- bad commands: tests/unit/test_commands.py and tests/integration/test_console.py
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from process_kit import ROOT, linegate, running, within, written
from store_kit import make_bundle, pack, unpack

LINE = (ROOT / "config" / "line.yaml").read_text()


def spoilt(folder: Path, old: str, new: str) -> tuple[Path, int]:
    """The demonstration line with one thing wrong, and the line it is on."""
    assert old in LINE
    (folder / "recipes").mkdir()
    for recipe in (ROOT / "config" / "recipes").glob("*.yaml"):
        (folder / "recipes" / recipe.name).write_text(recipe.read_text())
    (folder / "instruments.yaml").write_text((ROOT / "config" / "instruments.yaml").read_text())
    path = folder / "line.yaml"
    path.write_text(LINE.replace(old, new, 1).replace("../run/line3", str(folder / "state")))
    return path, LINE[: LINE.index(old)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("deadband: 0.5", "dedband: 0.5", "unknown key; did you mean 'deadband'?"),
        ("kind: limit", "kind: limmit", "there is no kind of rule 'limmit'; did you mean 'limit'?"),
        ("input: reservoir/temperature", "input: reservoir/temprature", "did you mean 'temperature'?"),
        ("input: reservoir/temperature", "input: resevoir/temperature", "did you mean 'reservoir'?"),
        ("limits: recipe.windows.oil_temperature", "limits: {unit: Cel, low: 66, high: 58}", "the wrong way round"),
    ],
)
def test_a_mistake_in_the_line_stops_the_start(tmp_path: Path, old: str, new: str, told: str) -> None:
    """`check` and `run` say the same: file, line, column, what is meant; 2, and nothing was started or written."""
    path, line = spoilt(tmp_path, old, new)
    for code, out, err in (within("check", path), linegate("run", path)):
        assert (code, out) == (2, "")
        place = next(each for each in err.splitlines() if told in each)
        assert place.startswith(f"line.yaml:{line}:")
        assert int(place.split(":")[2]) > 1
    assert "nothing was started" in err
    assert not (tmp_path / "state").exists()


def test_a_limit_the_wrong_way_round_in_a_recipe_stops_the_start(tmp_path: Path) -> None:
    """The recipe's own file, line and column."""
    path, _ = spoilt(tmp_path, "oil-temperature", "oil-temperature")
    recipe = tmp_path / "recipes" / "vape-1g.yaml"
    text = recipe.read_text()
    window = next(each for each in text.splitlines() if "oil_temperature" in each)
    recipe.write_text(text.replace(window, "  oil_temperature: {unit: Cel, low: 66, high: 58}"))
    code, _, err = linegate("run", path)

    assert code == 2
    line = text.splitlines().index(window) + 1
    assert f"vape-1g.yaml:{line}:" in err
    assert "the wrong way round" in err


@pytest.mark.parametrize("old", ["gateway:", "devices:", "rules:"])
def test_yaml_that_is_none_is_a_place_and_a_sentence(tmp_path: Path, old: str) -> None:
    """A tab, an open bracket, a key twice: line and column, never a traceback."""
    for number, new in enumerate(("\t" + old, f"[{old}", f"{old} {{a: 1}}\n{old}")):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, _ = spoilt(folder, f"\n{old}", f"\n{new}")
        code, _, err = within("check", path)
        assert code == 2
        assert err.startswith("line.yaml:")


def test_a_port_in_use_is_named_and_leaves_no_trace(tmp_path: Path) -> None:
    """The console's port belongs to somebody: 4, which port and what to do; no store was made or touched."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = written(tmp_path, gateway={"console": {"port": port}})
        code, _, err = linegate("run", config)

    assert code == 4
    assert f"port {port} on 127.0.0.1 cannot be opened" in err
    assert "gateway.console.port" in err
    assert not (tmp_path / "state").exists()


def test_a_second_gateway_on_the_same_store_is_refused(tmp_path: Path) -> None:
    """4, naming the one that has it; that one goes on, token file included."""
    config = written(tmp_path)
    with running(config) as first:
        other = written(tmp_path / "other", gateway={"state_dir": str(tmp_path / "state")})
        code, _, err = linegate("run", other)

        assert code == 4
        assert f"another gateway (pid {first.process.pid}) uses the store" in err
        assert first.status()["gateway"]["id"] == "gw1"


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "state").write_text("")
    code, _, err = linegate("run", written(tmp_path))

    assert code == 4
    assert f"{tmp_path / 'state'} cannot be made" in err


def test_a_serial_path_that_is_not_there(tmp_path: Path) -> None:
    """`check` warns at its line; at run that device is lost with the reason, and the others work."""
    lost = {"driver": "balance", "dialect": "mt-sics", "url": "serial:///dev/no-such-port?baudrate=9600"}
    with scale("S S      1.012 g") as port:
        there = {"driver": "balance", "dialect": "mt-sics", "url": f"tcp://127.0.0.1:{port}", "period": "200ms"}
        config = written(tmp_path, devices={"lost": lost, "balance": there})
        code, out, err = within("check", config)
        assert (code, "good" in out) == (0, True)
        warning = next(each for each in err.splitlines() if "/dev/no-such-port" in each)
        assert warning.startswith("line.yaml:")
        assert "(warning)" in warning

        with running(config) as gateway:
            alarm = gateway.until("the device is lost", lambda: gateway.alarms().get("link:lost"))
            assert "/dev/no-such-port" in alarm["text"]
            gateway.until("the other one weighs", lambda: value_of(gateway, "balance/net") == "1.012")
            gateway.until("its value is bad", lambda: "fault" in gateway.status()["latest"].get("lost/net", {}))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("S S      1.012  ", "unit"),
        ("S S      1.012 zz", "zz"),
        ("S D      1.012 g", "settled"),
        ("S S   x.012 g", ""),
    ],
)
def test_a_weight_that_is_none_is_recorded_and_never_judged(tmp_path: Path, answer: str, reason: str) -> None:
    """No unit, one that is no mass, not stable, garbled: never a good value, whatever number stands in it."""
    with scale(answer) as port:
        device = {
            "driver": "balance",
            "dialect": "mt-sics",
            "url": f"tcp://127.0.0.1:{port}",
            "period": "200ms",
            "timeout": "5s",
        }
        with running(written(tmp_path, devices={"balance": device})) as gateway:
            shown = gateway.until("a scan with its fault", lambda: at_fault(gateway, "balance/net"))
            assert reason in shown["fault"]
            assert shown["value"] is None or shown["fault"].startswith("uncertain")


def at_fault(gateway: Any, tag: str) -> Any:
    """What it shows with a fault of its own: one that is not connected yet has that fault for a while."""
    seen = gateway.status()["latest"].get(tag, {})
    return seen if "fault" in seen and "not connected" not in seen["fault"] else None


def value_of(gateway: Any, tag: str) -> Any:
    return gateway.status()["latest"].get(tag, {}).get("value")


@contextmanager
def scale(answer: str) -> Iterator[int]:
    """A balance that gives one answer to every question; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            word = line.strip().decode("ascii", "replace")
            reply = answer if word in ("S", "SI", "SIU", "SU") else f'{word} A "1"'
            writer.write(reply.encode() + b"\r\n")

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        server.close()
        loop.close()


async def test_a_corrupted_bundle_names_the_record(tmp_path: Path) -> None:
    """One digit, one record left out, two swapped: 1, and the first bad record's index."""
    bundle, _ = await make_bundle(tmp_path, 5, 30, 10)
    files = unpack(bundle)
    name = next(each for each in files if b"1.000012" in files[each])
    lines = files[name].splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b"1.000012" in line)
    index = json.loads(lines[at])["index"]
    for change in (
        files[name].replace(b"1.000012", b"9.000012"),
        b"".join(lines[:at] + lines[at + 1 :]),
        b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]),
    ):
        code, out, err = within("verify", pack(tmp_path / "spoilt.zip", {**files, name: change}))
        assert code == 1
        assert f"record {index}" in out + err
