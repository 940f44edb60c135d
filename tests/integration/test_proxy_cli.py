"""`linegate fault` and `linegate heal` against a running simulated line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process_kit import within

from simulators.client import Client

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sim")
    command = [sys.executable, "-m", "simulators", "--proxy", "--control", "0", "--run-dir", str(folder)]
    command += ["--devices", "reservoir,balance", "--reservoir", "0", "--balance", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        yield json.loads(started.stdout.readline())["addresses"]["control"]
        started.terminate()


@pytest.fixture
def linegate(address: str) -> Iterator[Run]:
    def run(*words: str | Path) -> tuple[int, str, str]:
        return within(*words, LINEGATE_SIMULATOR=address)

    yield run
    run("heal", "all")


def _faults(address: str, device: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    with Client.connect(host, int(port)) as line:
        return dict(line.do("truth")["devices"][device]["faults"])


def test_a_fault_comes_and_goes(linegate: Run, address: str) -> None:
    """A fault with arguments is brought on and healed; durations are written as everywhere."""
    code, said, _ = linegate("fault", "reservoir", "net_latency", "seconds=200ms", "way=from_device")
    assert (code, said.strip()) == (0, "reservoir: net_latency; ends with: linegate heal reservoir")
    assert _faults(address, "reservoir")["net_latency"] == {"seconds": 0.2, "jitter": 0.0, "way": "from_device"}
    assert linegate("heal", "reservoir")[1].strip() == "healed: net_latency"
    assert _faults(address, "reservoir") == {}
    assert linegate("heal", "all")[1].strip() == "healed: nothing was wrong"


def test_for_a_while(linegate: Run, address: str) -> None:
    """--for heals by itself; the line is told for how long."""
    assert linegate("fault", "balance", "unstable", "--for", "10min")[0] == 0
    assert "unstable" in _faults(address, "balance")


def test_list_names_them_all(linegate: Run) -> None:
    """--list prints devices, tags and faults with their sentences; of one device where it is named."""
    code, said, _ = linegate("fault", "--list")
    assert code == 0
    assert "net_half_open: The far ends" in said
    assert "balance" in said
    assert "balance" not in linegate("fault", "reservoir", "--list")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fault", "resevoir", "cut"), "no device is called 'resevoir'; nearest: reservoir"),
        (("fault", "reservoir", "net_latncy"), "nearest: net_latency"),
        (("fault", "reservoir"), "which fault? reservoir has"),
        (("fault", "reservoir", "net_loss", "rate=1"), "net_loss does not take 'rate'; it takes seed, share, way"),
        (("fault", "reservoir", "net_loss", "share=2"), "share cannot be 2"),
        (("fault", "reservoir", "net_loss", "share"), "'share' is not KEY=VALUE"),
        (("fault", "reservoir", "cut", "--for", "5"), "--for: '5' is not a duration"),
        (("heal", "reservoir", "net_los"), "nearest: net_loss"),
        (("fault", "--list", "--control", "127.0.0.1:1"), "no simulated line at 127.0.0.1:1"),
        (("fault", "--list", "--control", "here"), "--control 'here' is not HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said(linegate: Run, words: tuple[str, ...], says: str) -> None:
    """Each mistake is one sentence with the nearest right word, and exit code 4."""
    code, _, said = linegate(*words)
    assert (code, says in said) == (4, True), said
