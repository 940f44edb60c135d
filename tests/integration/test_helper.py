"""The process beside the gateway ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GATEWAY = """
import os, time
from gateway.app import Workers
if __name__ == "__main__":
    print(Workers().submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""
WITHIN_S = 10.0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_helper_outlives_a_kill(tmp_path: Path) -> None:
    """After kill -9 of the gateway its helper is gone, too."""
    script = tmp_path / "gateway_like.py"
    script.write_text(GATEWAY)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        assert alive(helper)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + WITHIN_S
    while alive(helper) and time.monotonic() < until:
        time.sleep(0.05)
    left = alive(helper)
    if left:
        os.kill(helper, signal.SIGKILL)
    assert not left
