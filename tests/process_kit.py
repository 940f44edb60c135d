"""The gateway as its own process, and `linegate` beside it: for tests from outside."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gateway.cli import main as cli
from gateway.client import Client
from gateway.demo.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "battery staple 7"
START_S = 60.0


def linegate(*arguments: str | Path) -> tuple[int, str, str]:
    """Run one command in a process of its own; exit code, stdout, stderr."""
    command = [sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def within(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """As `linegate`, in this process: half a second of imports less each time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    given = {"COLUMNS": "200", "LINEGATE_PASSWORD": PASSWORD, "LINEGATE_NEW_PASSWORD": PASSWORD, **environment}
    argv = ["linegate", *map(str, arguments)]
    with patch.dict(os.environ, given), patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


class Process:
    """One gateway process on one configuration file."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.config = config
        self.state = config.parent / "state"
        self._log = config.parent / "gateway.log"
        self._environment = environment
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        (self.state / "console.token").unlink(missing_ok=True)  # a killed one leaves its own behind
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", str(self.config), "--log-json"],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def until(self, what: str, seen: Callable[[], Any], within_s: float = 40.0) -> Any:
        """Look until it is true; its value."""
        deadline = time.monotonic() + within_s
        while not (value := seen()):
            assert self.process.poll() is None, f"the gateway ended ({self.process.returncode}):\n{self.log[-3000:]}"
            assert time.monotonic() < deadline, f"did not happen: {what}\n{self.log[-3000:]}"
            time.sleep(0.05)
        return value

    def up(self) -> Process:
        self.until("the console answers", (self.state / "console.token").exists, START_S)
        return self

    def cli(self, *arguments: str | Path, who: str = "") -> tuple[int, str, str]:
        person = {"LINEGATE_PERSON": who} if who else {}
        return within(*arguments, LINEGATE_STATE=str(self.state), **person)

    def status(self) -> dict[str, Any]:
        return Client(self.state / "console.token").status()

    def alarms(self) -> dict[str, Any]:
        return dict(self.status().get("alarms") or {})

    def first_token(self) -> str:
        return self.log.rsplit("--first-run ", 1)[1].split()[0]

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(60)

    def again(self) -> Process:
        """Started anew on the same state."""
        self.process = self._spawn()
        return self.up()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(config: Path, **environment: str) -> Iterator[Process]:
    """Up when the block begins, gone when it ends."""
    process = Process(config, **environment)
    try:
        yield process.up()
    finally:
        if process.process.poll() is None:
            process.kill()


def written(folder: Path, **changed: Any) -> Path:
    """A line of one balance that is not there, on free ports; `changed` replaces or adds sections."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "gateway": {
            "id": "gw1",
            "path": "acme/denver/filling/line3/cell1",
            "state_dir": str(folder / "state"),
            "console": {"port": free_port()},
        },
        "devices": {"balance": {"driver": "balance", "dialect": "mt-sics", "url": f"tcp://127.0.0.1:{free_port()}"}},
    }
    for section, content in changed.items():
        document[section] = {**document.get(section, {}), **content}
    path = folder / "line.yaml"
    path.write_text(json.dumps(document, indent=2))  # JSON is YAML
    return path
