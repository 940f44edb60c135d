"""A million recorded values through a limit rule on each tag, on one core: the figure is printed last."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from gateway.backtest.run import Result, play
from gateway.backtest.terms import Wish
from gateway.config.reading import load
from gateway.model import Scan, TagSet, TagSpec
from gateway.store.telemetry_file import TelemetryFile

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

DEVICES, TAGS, ROWS = 10, 10, 10_000
START = 1_764_576_000 * 10**9
PROMISED_S = 20.0


def line(folder: Path) -> Path:
    """A hundred tags, each with a limit rule that halts, and ten rules for silence."""
    text = ["gateway: {id: line3-gw1, path: acme/denver/filling/line3/cell1}", "devices:"]
    for device in range(DEVICES):
        tags = ", ".join(f"t{tag}: {{address: {2 * tag}, type: f32, unit: Cel}}" for tag in range(TAGS))
        text.append(f"  d{device}: {{driver: modbus, url: 'tcp://192.0.2.{device}:502', period: 1s, tags: {{{tags}}}}}")
    text.append("rules:")
    limits = "limits: {unit: Cel, warn_high: 75, high: 79.5}"
    for device in range(DEVICES):
        text.append(f"  silent{device}: {{kind: stale, input: d{device}, after: 5s}}")
        text += [f"  r{device}-{tag}: {{kind: limit, input: d{device}/t{tag}, {limits}}}" for tag in range(TAGS)]
    path = folder / "line.yaml"
    path.write_text("\n".join(text) + "\n")
    return path


def rows() -> list[list[float]]:
    """Slow waves, each tag with its own phase; beyond its limits now and then."""
    width = DEVICES * TAGS
    return [
        [round(60 + 20 * math.sin(row / 500 + column), 3) for column in range(width)] for row in range(ROWS)
    ]  # fmt: skip


NAMES = [f"d{device}/t{tag}" for device in range(DEVICES) for tag in range(TAGS)]


def wide_csv(path: Path, values: Sequence[Sequence[float]]) -> None:
    with path.open("w") as file:
        file.write(",".join(("time", *NAMES)) + "\n")
        for second, row in enumerate(values):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START // 10**9 + second))
            file.write(stamp + "," + ",".join(map(str, row)) + "\n")


def long_csv(path: Path, values: Sequence[Sequence[float]]) -> None:
    with path.open("w") as file:
        file.write("time,device,tag,value\n")
        for column, name in enumerate(NAMES):
            device, tag = name.split("/")
            for second, row in enumerate(values):
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START // 10**9 + second))
                file.write(f"{stamp},{device},{tag},{row[column]}\n")


def parquet(path: Path, values: Sequence[Sequence[float]]) -> None:
    times = pa.array([START + second * 10**9 for second in range(len(values))], pa.timestamp("ns", tz="UTC"))
    columns = {name: [row[at] for row in values] for at, name in enumerate(NAMES)}
    pq.write_table(pa.table({"time": times, **columns}), path)


def store(path: Path, values: Sequence[Sequence[float]]) -> None:
    file = TelemetryFile(path, "boot", max_bytes=2**30)
    tagsets = [TagSet(f"d{each}", [TagSpec(f"t{tag}", "Cel") for tag in range(TAGS)]) for each in range(DEVICES)]
    group, seq = list[Scan](), 0
    for second, row in enumerate(values):
        for at, tagset in enumerate(tagsets):
            seq += 1
            now_ns = START + second * 10**9
            group.append(Scan(tagset, seq, now_ns, now_ns - START, tuple(row[at * TAGS : (at + 1) * TAGS])))
        if second % 5 == 4:
            file.store(group)
            group = []
    file.db.close()


FORMS: dict[str, tuple[str, Callable[[Path, Sequence[Sequence[float]]], None]]] = {
    "store": ("telemetry.db", store),
    "parquet": ("data.parquet", parquet),
    "csv, wide": ("data.csv", wide_csv),
    "csv, long, tag after tag": ("long.csv", long_csv),
}


@pytest.mark.timeout(300)
def test_a_million_values_in_less_than_twenty_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening, reading, judging and summing up, in each form the data comes in; all say the same."""
    settings, values = load(line(tmp_path)), rows()
    took: dict[str, float] = {}
    verdicts: dict[str, int] = {}
    for form, (name, write) in FORMS.items():
        write(tmp_path / name, values)
        result, took[form] = timed(lambda name=name: play(settings, Wish([tmp_path / name])))  # type: ignore[misc]
        assert result.flow.values == ROWS * DEVICES * TAGS
        verdicts[form] = result.story.verdicts

    assert len(set(verdicts.values())) == 1
    assert min(verdicts.values()) > 1000
    assert max(took.values()) < PROMISED_S
    with capsys.disabled():
        sys.stdout.write("\nbacktest of 1,000,000 values, processor time of one core:")
        sys.stdout.writelines(f"\n  {form}: {seconds:.2f} s" for form, seconds in took.items())


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Its result and the processor time it took: of one core, whoever else is at work."""
    began = time.process_time()
    return work(), time.process_time() - began
