"""Real servers for tests and demonstrations: each on free ports in a folder of its own, and gone afterwards.

    with mosquitto(tmp_path) as broker: ...       # broker.url, broker.kill(), broker.start()

A server that is not installed is an error that says what to install, never a skip.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.demo.ports import free_port

START_S = 60.0


def binary(name: str) -> str:
    """Debian keeps some in /usr/sbin."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make servers`")
    return found


def _listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


class Server:
    """One process that can be started, stopped, killed and started again on the same port."""

    def __init__(self, command: Sequence[str], folder: Path, port: int, ready: Callable[[], bool]) -> None:
        self.command = list(command)
        self.folder = folder
        self.port = port
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is saved."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it keeps its port and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def mosquitto(folder: Path, *lines: str, persistence: bool = False) -> Iterator[Server]:
    """An MQTT broker; `lines` are added to its configuration.  Without `persistence` a restart forgets all."""
    home = _home(folder, "mosquitto")
    port = free_port()
    kept = [f"persistence_location {home}/", "persistence true"] if persistence else ["persistence false"]
    given = " ".join(lines)
    anonymous = [] if "allow_anonymous" in given else ["allow_anonymous true"]
    rooted = ["user root"] if os.geteuid() == 0 else []
    config = [f"listener {port} 127.0.0.1", *anonymous, *kept, *rooted, "log_type error", "log_type warning", *lines]
    (home / "mosquitto.conf").write_text("\n".join(config) + "\n")
    command = [binary("mosquitto"), "-c", str(home / "mosquitto.conf")]
    with _running(Server(command, home, port, lambda: _listening(port))) as server:
        yield server


@contextmanager
def influxd(folder: Path, *databases: str) -> Iterator[Server]:
    """InfluxDB 1.6 with these databases."""
    home = _home(folder, "influxdb")
    port, rpc = free_port(), free_port()
    (home / "influxdb.conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n'
        f'[meta]\ndir = "{home}/meta"\n[data]\ndir = "{home}/data"\nwal-dir = "{home}/wal"\nquery-log-enabled = false\n'
        f'[monitor]\nstore-enabled = false\n[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        "[logging]\nlevel = 'warn'\n"
    )
    command = [binary("influxd"), "-config", str(home / "influxdb.conf")]
    with _running(Server(command, home, port, lambda: _answers(port, "/ping"))) as server:
        for database in databases:
            _post(port, "/query?q=" + f"CREATE DATABASE {database}".replace(" ", "%20"))
        yield server


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[Server]:
    """VictoriaMetrics: takes v1 and v2 writes."""
    home = _home(folder, "victoria-metrics")
    port = free_port()
    command = [
        binary("victoria-metrics"),
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={home}/data",
        "-retentionPeriod=100y",
        "-loggerLevel=WARN",
        "-memory.allowedBytes=64MB",
    ]
    with _running(Server(command, home, port, lambda: _answers(port, "/health"))) as server:
        yield server


def _home(folder: Path, name: str) -> Path:
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    return home.resolve()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _post(port: int, target: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", target)
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    connection.close()
