"""`make bench`: what the gateway costs and how fast it halts, each beside a bare loop in the same run.

    python bench/run.py [--halts 200] [--seconds 10]

Everything runs on this machine's loopback: simulated Modbus devices (bench/plant.py), mosquitto, the gateway with one
limit rule on every tag, storing durably and publishing at QoS 1; and the floors, which only poll, compare and write.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gateway.demo.stage import Stage, free_port  # noqa: E402  # after the path to it

DEVICES = 10
TICK = os.sysconf("SC_CLK_TCK")


class Plant:
    """The simulated devices."""

    def __init__(self, devices: int, regs: int) -> None:
        command = [sys.executable, str(HERE / "plant.py"), str(devices), str(regs)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: list[int] = self._answer()["ports"]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def plant(devices: int, regs: int) -> Iterator[Plant]:
    made = Plant(devices, regs)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def floor(kind: str, period_ms: float, regs: int, ports: Sequence[int]) -> Iterator[int]:
    command = [sys.executable, str(HERE / "floor.py"), kind, str(period_ms), str(regs), *map(str, ports)]
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def linegate(period_ms: float, regs: int, ports: Sequence[int], *, rule: bool, broker: int) -> Iterator[int]:
    """The gateway through the yardstick's own configuration; with `rule` a robot releases what it halts."""
    with tempfile.TemporaryDirectory() as work:
        spec = {"devices": len(ports), "regs": regs, "period_ms": period_ms, "rule": rule, "work": work}
        spec |= {"modbus_ports": list(ports), "mqtt_port": broker}
        (Path(work) / "spec.json").write_text(json.dumps(spec))
        environment = {**os.environ, "BENCH_SPEC": str(Path(work) / "spec.json")}
        quiet = subprocess.DEVNULL
        command = [sys.executable, str(HERE / "yardstick.py")]
        process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(cpu_s(int(child)) for child in children)


def wait_for_polls(devices: Plant, least: int, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    start = devices.ask("count")
    while devices.ask("count") - start < least:
        if time.monotonic() > deadline:
            sys.exit("the gateway or floor does not poll; nothing was measured")
        time.sleep(0.05)


def reactions(devices: Plant, halts: int, told: Callable[[], None], *, latched: bool) -> list[float]:
    """Microseconds from the first poll that carried a deviation to the halt write, one for each halt.

    Linegate's latch is taken off by the robot, as a person would; a floor has none: its machine is let go here.
    """
    found = []
    for round_ in range(halts):
        machine = round_ % DEVICES
        if not latched:
            devices.ask(f"free {machine}")
        while devices.ask(f"held {machine}"):
            time.sleep(0.02)
        answer = devices.ask(f"deviate {machine}")
        if answer is None:
            sys.exit(f"deviation {round_} was not halted within 5 s")
        found.append(answer[1])
        devices.ask(f"heal {machine}")
        told()
        time.sleep(0.02)
    return sorted(found)


def load(devices: Plant, pid: int, seconds: float) -> tuple[float, float]:
    """(polls a second, CPU percent of one core) over a time."""
    polls, cpu, began = devices.ask("count"), cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return (devices.ask("count") - polls) / took, 100 * (cpu_s(pid) - cpu) / took


def percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def measure(halts: int, seconds: float, broker: int) -> Table:
    """Every figure, beside its floors."""
    table = Table("figure", "Linegate", "bare loop, our codec", "bare loop, pymodbus", "ratio to our codec")
    runs = {
        "Linegate": lambda period, ports, rule: linegate(period, 100, ports, rule=rule, broker=broker),
        "ours": lambda period, ports, rule: floor("ours", period, 100, ports),  # noqa: ARG005
        "pymodbus": lambda period, ports, rule: floor("pymodbus", period, 100, ports),  # noqa: ARG005
    }
    with Progress(transient=True) as progress:
        bar = progress.add_task("measuring", total=3 * (halts + 2))
        react: dict[str, list[float]] = {}
        for name, run in runs.items():
            with plant(DEVICES, 100) as devices, run(100, devices.ports, True):
                wait_for_polls(devices, 30)
                time.sleep(2 if name == "Linegate" else 0.2)  # the robot logs in
                react[name] = reactions(devices, halts, lambda: progress.advance(bar), latched=name == "Linegate")
        usage: dict[str, tuple[float, float]] = {}
        fastest: dict[str, tuple[float, float]] = {}
        for name, run in runs.items():
            with plant(DEVICES, 100) as devices, run(100, devices.ports, False) as pid:
                wait_for_polls(devices, 30)
                time.sleep(1)
                usage[name] = load(devices, pid, seconds)
            progress.advance(bar)
            with plant(20, 100) as devices, run(5, devices.ports, False) as pid:
                wait_for_polls(devices, 100)
                time.sleep(1)
                fastest[name] = load(devices, pid, seconds)
            progress.advance(bar)
    for text, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        figures = {name: percentile(values, share) for name, values in react.items()}
        _row(table, f"deviation seen -> halt write, {text}, us ({halts} halts)", figures, "{:.0f}")
    _row(table, "CPU at 10,000 values/s, % of a core", {name: each[1] for name, each in usage.items()}, "{:.1f}")
    values = {name: each[0] * 100 for name, each in fastest.items()}
    _row(table, "values/s at 20 devices x 100 tags @ 5 ms (400,000 wanted)", values, "{:,.0f}")
    return table


def _row(table: Table, text: str, figures: dict[str, float], form: str) -> None:
    ratio = figures["Linegate"] / figures["ours"] if figures["ours"] else float("nan")
    shown = [form.format(figures[name]) for name in ("Linegate", "ours", "pymodbus")]
    table.add_row(text, *shown, f"{ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder) / "stage", seed=1, speed=1, rate=1)
        stage.folder.mkdir()
        stage.ports["mqtt"] = free_port()
        stage.start_broker()
        try:
            table = measure(asked.halts, asked.seconds, stage.ports["mqtt"])
        finally:
            stage.stop()
    console = Console(width=140)
    console.print(table)
    load_1, _, _ = os.getloadavg()
    console.print(
        f"{os.cpu_count()} cores, load {load_1:.1f}; one rule on every tag, stored durably, published at QoS 1"
    )


if __name__ == "__main__":
    main()
