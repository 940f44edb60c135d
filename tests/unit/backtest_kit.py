"""A small line, its recorded data in every form, and what a replay says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.backtest.run import Result, play
from gateway.backtest.terms import Wish
from gateway.config.reading import load
from gateway.model import Fault, Quality, Scan, TagSet, Value
from gateway.store.telemetry_file import TelemetryFile
from gateway.verdicts import Finding, Verdict

S = 1_000_000_000
START = 1_764_576_000 * S
"""2025-12-01T08:00:00Z."""

DEVICES = """\
gateway: {id: line3-gw1, path: acme/denver/filling/line3/cell1}
devices:
  oven:
    driver: modbus
    url: tcp://192.0.2.10:502
    period: 1s
    timeout: 500ms
    tags:
      temperature: {address: 0, type: f32, unit: Cel}
      power: {address: 2, type: f32, unit: "%"}
      open: {address: 4, table: discrete}
  press:
    driver: modbus
    url: tcp://192.0.2.11:502
    period: 1s
    timeout: 500ms
    tags:
      force: {address: 0, type: f32, unit: V}
      running: {address: 4, table: discrete}
    halt:
      write: {coil: 5, value: true}
      confirm: {tag: running, equals: false}
      release: {coil: 5, value: false}
"""

RULES = """\
rules:
  hot: {kind: limit, input: oven/temperature, limits: {unit: Cel, warn_high: 60, high: 70}, halt: press}
  silent: {kind: stale, input: oven, after: 5s}
"""


def line(folder: Path, rules: str = RULES, name: str = "line.yaml", devices: str = DEVICES) -> Path:
    path = folder / name
    path.write_text(devices + rules)
    return path


def at(seconds: float) -> int:
    return START + round(seconds * S)


def iso(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1000), 1000)
    hours, rest = divmod(whole, 3600)
    return f"2025-12-01T{8 + hours:02d}:{rest // 60:02d}:{rest % 60:02d}.{part:03d}Z"


def wide(folder: Path, head: Sequence[str], rows: Iterable[Sequence[Any]], name: str = "data.csv") -> Path:
    """Rows begin with seconds since START."""
    path = folder / name
    lines = [",".join(("time", *head)), *(",".join((iso(row[0]), *map(str, row[1:]))) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def ramp(folder: Path, name: str = "data.csv") -> Path:
    """Two minutes of an oven that goes to 75 and back, a degree each second, and a press that stands."""
    up = [50 + second for second in range(26)]
    rows = [(second, value, 1.5) for second, value in enumerate([*up, *reversed(up)])]
    return wide(folder, ("oven/temperature", "press/force"), rows, name)


def replay(rules: Path, *data: Path, **options: Any) -> tuple[Result, list[tuple[float, Finding]]]:
    """The result, and every finding with its time in seconds since START."""
    heard: list[tuple[float, Finding]] = []
    wish = {key: options.pop(key) for key in list(options) if key in Wish.__struct_fields__}
    result = play(
        load(rules), Wish(data, **wish), tell=lambda ns, found: heard.append(((ns - START) / S, found)), **options
    )
    return result, heard


def said(heard: Iterable[tuple[float, Finding]]) -> list[tuple[float, str, str]]:
    """(seconds, rule, severity) of each verdict."""
    return [(when, each.rule, each.severity.name) for when, each in heard if isinstance(each, Verdict)]


def store(folder: Path, tagset: TagSet, scans: Iterable[tuple[float, Sequence[Value]]], boot: str = "one") -> Path:
    """A telemetry store of one start, as a gateway leaves it; `None` for a value is bad."""
    path = folder / "telemetry.db"
    file = TelemetryFile(path, boot, max_bytes=2**26)
    made = [
        Scan(tagset, seq, at(seconds), round(seconds * S) + 5 * S, tuple(values), faults(values))
        for seq, (seconds, values) in enumerate(scans, 1)
    ]
    for start in range(0, len(made), 10):
        file.store(made[start : start + 10])
    file.db.close()
    return path


def faults(values: Sequence[Value]) -> Mapping[int, Fault]:
    return {at: Fault(Quality.BAD, "sensor break") for at, value in enumerate(values) if value is None}
