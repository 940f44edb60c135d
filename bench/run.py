"""`make bench`: what the gateway costs and how fast it halts, each beside a bare loop in the same run.

    python bench/run.py [--halts 200] [--seconds 10]

It ends with exit code 1 where a measured reaction is longer than the worst case that `linegate check` computes.

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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from yardstick import configure  # noqa: E402  # after the path to it

from gateway.config.reading import check  # noqa: E402  # after the path to it
from gateway.demo.ports import free_port  # noqa: E402
from gateway.demo.stage import Stage  # noqa: E402  # after the path to it

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
def linegate(
    period_ms: float, regs: int, ports: Sequence[int], *, rule: bool, broker: int, folder: Path | None = None
) -> Iterator[int]:
    """The gateway through the yardstick's own configuration; with `rule` a robot releases what it halts.

    `folder`: where its work folder is to be, for whoever wants to look into it.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
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


class Reaction(NamedTuple):
    """One halt, in microseconds."""

    total: float
    """From the deviation to the halt write."""
    seen: float
    """From the first poll that carried it to the halt write."""
    proved: float | None
    """From the deviation until the write was read back; None where nobody does."""


def reactions(
    devices: Plant, halts: int, told: Callable[[], None], *, latched: bool, machines: int = DEVICES
) -> list[Reaction]:
    """So many halts, one machine after the other.

    Linegate's latch is taken off by the robot, as a person would; a floor has none: its machine is let go here.
    """
    found = []
    for round_ in range(halts):
        machine = round_ % machines
        if not latched:
            devices.ask(f"free {machine}")
        while devices.ask(f"held {machine}"):
            time.sleep(0.02)
        answer = devices.ask(f"deviate {machine}")
        if answer is None:
            sys.exit(f"deviation {round_} was not halted within 5 s")
        found.append(Reaction(answer[0], answer[1], devices.ask(f"proved {machine}") if latched else None))
        devices.ask(f"heal {machine}")
        told()
        time.sleep(0.02 + round_ * 37 % 100 / 1000)  # at every phase of the polls alike
    return found


def load(devices: Plant, pid: int, seconds: float) -> tuple[float, float]:
    """(polls a second, CPU percent of one core) over a time."""
    polls, cpu, began = devices.ask("count"), cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return (devices.ask("count") - polls) / took, 100 * (cpu_s(pid) - cpu) / took


def percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def measure(halts: int, seconds: float, broker: int) -> tuple[Table, dict[str, list[Reaction]]]:
    """Every figure, beside its floors; and the reactions themselves."""
    table = Table("figure", "Linegate", "bare loop, our codec", "bare loop, pymodbus", "ratio to our codec")
    runs = {
        "Linegate": lambda period, ports, rule: linegate(period, 100, ports, rule=rule, broker=broker),
        "ours": lambda period, ports, rule: floor("ours", period, 100, ports),  # noqa: ARG005
        "pymodbus": lambda period, ports, rule: floor("pymodbus", period, 100, ports),  # noqa: ARG005
    }
    with Progress(transient=True) as progress:
        bar = progress.add_task("measuring", total=3 * (halts + 2))
        react: dict[str, list[Reaction]] = {}
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
    _reaction_rows(table, react, f"({halts} halts)")
    _row(table, "CPU at 10,000 values/s, % of a core", {name: each[1] for name, each in usage.items()}, "{:.1f}")
    values = {name: each[0] * 100 for name, each in fastest.items()}
    _row(table, "values/s at 20 devices x 100 tags @ 5 ms (400,000 wanted)", values, "{:,.0f}")
    return table, react


def _reaction_rows(table: Table, react: dict[str, list[Reaction]], where: str) -> None:
    """S4: from the first poll that carried it; S5: from the deviation itself, the poll's own wait with it."""
    for what, figure in (("deviation seen -> halt write", "seen"), ("deviation -> halt write @ 100 ms", "total")):
        for text, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            figures = {
                name: percentile(sorted(getattr(each, figure) for each in found), share)
                for name, found in react.items()
            }
            _row(table, f"{what}, {text}, us {where}", figures, "{:.0f}")


# -- the broker away, and a backlog that drains --------------------------------------------------------------------


def outages(stage: Stage, table: Table, floors: dict[str, list[Reaction]], halts: int) -> dict[str, list[Reaction]]:
    """The same halts while there is no broker, and while one comes and goes and what was kept goes out each time."""
    found = {}
    for case, flap_s in (("broker away", 0.0), ("backlog draining", 3.0)):
        stage.kill("broker")
        with plant(DEVICES, 100) as devices, linegate(100, 100, devices.ports, rule=True, broker=stage.ports["mqtt"]):
            wait_for_polls(devices, 30)
            time.sleep(2 + flap_s)
            with flapping(stage, flap_s):
                found[case] = reactions(devices, halts, lambda: None, latched=True)
        if not flap_s:
            stage.start_broker()
        _reaction_rows(table, {**floors, "Linegate": found[case]}, f"({case})")
    return found


@contextmanager
def flapping(stage: Stage, every_s: float) -> Iterator[None]:
    """The broker comes, and goes again after so long; 0: it stays as it is.  It is there at the end."""
    if not every_s:
        yield
        return
    over = threading.Event()

    def flap() -> None:
        while True:
            stage.start_broker()
            if over.wait(every_s):
                return
            stage.kill("broker")
            over.wait(every_s)

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- what `linegate check` promises --------------------------------------------------------------------------------


def late(halts: int, broker: int) -> list[Reaction]:
    """Devices that use up a good part of their budgets: each answer comes 100 ms late."""
    with plant(DEVICES, 100) as devices, linegate(100, 100, devices.ports, rule=True, broker=broker):
        wait_for_polls(devices, 30)
        time.sleep(2)
        devices.ask("late 100")
        time.sleep(1)
        return reactions(devices, max(10, halts // 5), lambda: None, latched=True)


def computed_s() -> float:
    """The worst case of the rules measured here, as `linegate check` has it for this very configuration."""
    with tempfile.TemporaryDirectory() as work:
        spec = {"devices": 1, "regs": 100, "period_ms": 100, "rule": True, "work": work, "mqtt_port": 1}
        report = check(configure(spec | {"modbus_ports": [1]}))
        assert report.table, report.problems
        return max(row.total_s for row in report.table)


def compare(console: Console, cases: dict[str, list[Reaction]]) -> bool:
    """Computed beside measured, from the deviation until the machine's own word was read; False: it does not hold."""
    worst_us = computed_s() * 1e6
    table = Table("deviation -> read back", "measured, max", "worst case of linegate check", "share")
    kept = True
    for case, found in cases.items():
        longest = max(each.proved if each.proved is not None else float("inf") for each in found)
        kept &= longest <= worst_us
        table.add_row(case, f"{longest / 1000:.1f} ms", f"{worst_us / 1000:.0f} ms", f"{longest / worst_us:.2f}")
    console.print(table)
    return kept


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
            table, react = measure(asked.halts, asked.seconds, stage.ports["mqtt"])
            cases = {"in peace": react["Linegate"], **outages(stage, table, react, asked.halts)}
            cases["answers 100 ms late"] = late(asked.halts, stage.ports["mqtt"])
        finally:
            stage.stop()
    console = Console(width=140)
    console.print(table)
    kept = compare(console, cases)
    load_1, _, _ = os.getloadavg()
    console.print(
        f"{os.cpu_count()} cores, load {load_1:.1f}; one rule on every tag, stored durably, published at QoS 1"
    )
    if not kept:
        sys.exit("a measured reaction is longer than the worst case that linegate check computes")


if __name__ == "__main__":
    main()
