"""The example package of docs/: built, installed beside the gateway, known to it, and true to the contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "linegate-driver-climate"
LINE = 'gateway: {id: g, path: a/b}\ndevices:\n  room: {driver: climate, url: "tcp://127.0.0.1:4001"}\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into, by pip, as a third party would."""
    folder = tmp_path_factory.mktemp("third")
    shutil.copytree(EXAMPLE, folder / "source")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", *command, "--target", str(folder / "site"), str(folder / "source")],
        check=True,
        timeout=100,
    )
    return folder / "site"


def run(installed: Path, *words: str, known: bool = True) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*([str(installed)] if known else []), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=installed.parent,
    )


def test_the_contract_suite_runs_over_it(installed: Path) -> None:
    """Its own tests, Linegate's suite for drivers among them, pass in the environment it was installed into."""
    tests = EXAMPLE / "tests"
    options = ["-q", "-p", "no:cacheprovider", "-c", str(EXAMPLE / "pyproject.toml"), "--rootdir", str(EXAMPLE)]
    done = run(installed, "-m", "pytest", *options, str(tests))

    assert done.returncode == 0, done.stdout
    assert " failed" not in done.stdout
    assert "30 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("known", [True, False])
def test_the_check_knows_it(installed: Path, tmp_path: Path, *, known: bool) -> None:
    """`linegate check` takes its kind where it is installed, and names the known ones where it is not."""
    line = tmp_path / "line.yaml"
    line.write_text(LINE)
    done = run(installed, "-m", "gateway.cli", "check", str(line), known=known)

    assert (done.returncode == 0) == known, done.stderr
    assert known or "there is no driver 'climate'" in done.stderr


def test_its_errors_are_said_like_ours(installed: Path, tmp_path: Path) -> None:
    """A typo in a third party's key is found with file, line, column and the right word."""
    line = tmp_path / "line.yaml"
    line.write_text(LINE.replace("url:", "ulr:"))
    done = run(installed, "-m", "gateway.cli", "check", str(line))

    assert "line.yaml:3:27: devices.room.ulr: unknown key; did you mean 'url'?" in done.stderr
