"""Promise R20 for every parser of bytes: whatever comes, no exception, no delay, no invented number."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = os.environ.get("LINEGATE_FUZZ_S", "60")
ROOT = Path(__file__).parents[2]
PARSERS = (
    *("mt_sics", "sbi", "aandd", "ohaus", "watson_marlow", "zebra", "reader_lines", "gs1"),
    *("modbus_tcp", "modbus_rtu", "opcua_publish"),
)


@pytest.mark.chaos
@pytest.mark.timeout(int(SECONDS) + 120)
@pytest.mark.parametrize("name", PARSERS)
def test_fuzzed(name: str, tmp_path: Path) -> None:
    """Each parser for LINEGATE_FUZZ_S seconds (60) under atheris, beginning with its golden lines."""
    pytest.importorskip("atheris", reason="atheris is there for Linux on x86-64 only")
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), name, SECONDS, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)

    assert done.returncode == 0, done.stderr[-3000:]
    assert found is not None
    assert int(found[1]) > 1000
    figure = f"R20 {name}: {found[1]} inputs in {SECONDS} s, 0 uncaught, 0 over 50 ms"
    print(figure)  # noqa: T201  # a promise prints its figure
