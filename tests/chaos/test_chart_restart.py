"""A control chart through kill -9 of the real process, on the real store."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from process_kit import Process, running, written

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

POINTS = 60
CHART = {
    "kind": "spc", "input": "oven/temperature", "every": "50ms", "n": 1, "chart": "i-mr",
    "phase": {"name": "trial", "points": POINTS}, "runs": ["we1"],
}  # fmt: skip


def recorded(folder: Path, center: float) -> None:
    """Ten values a second, for ten minutes, of a process that stands at `center`."""
    dice = random.Random(5)
    rows = [f"{number / 10:.1f},{dice.gauss(center, 0.1):.4f}" for number in range(6000)]
    (folder / "oven.csv").write_text("\n".join(["time,temperature", *rows]) + "\n")


def line(folder: Path) -> Path:
    recorded(folder, 10.0)
    oven = {"driver": "replay", "file": str(folder / "oven.csv"), "time_format": "s", "period": "50ms"}
    tags = {"temperature": {"unit": "Cel"}}
    return written(folder, devices={"oven": {**oven, "tags": tags}}, rules={"oil-chart": CHART})


def asked(gateway: Process, question: str) -> list[bytes]:
    """The store's answer; only of a dead gateway, a running one has it to itself."""
    store = sqlite3.connect(f"file:{gateway.state / 'evidence.db'}?mode=ro", uri=True)
    try:
        return [bytes(value) for (value,) in store.execute(question)]
    finally:
        store.close()


def state(gateway: Process) -> dict[str, Any]:
    """The chart as the store has it."""
    rows = asked(gateway, "SELECT value FROM state WHERE kind = 'rule' AND key = 'oil-chart'")
    return dict(json.loads(rows[0])) if rows else {"collected": []}


def frozen(gateway: Process) -> list[dict[str, Any]]:
    return [json.loads(row)["body"] for row in asked(gateway, "SELECT payload FROM record WHERE kind = 'chart.frozen'")]


def watched(gateway: Process, seconds: float) -> None:
    """It has read the oven for so long."""

    def at() -> int:
        shown = gateway.status()["latest"].get("oven/temperature", {})
        return int(shown["time"]) if shown.get("value") is not None else 0

    first = gateway.until("a temperature", at)
    gateway.until(f"{seconds:g} s of them", lambda: at() - first > seconds * 1e9, within_s=60)


def test_phase_one_frozen_limits_and_patterns_outlive_the_process(tmp_path: Path) -> None:
    """Killed in phase I, the next process takes up its points; its limits are frozen once and judge the one after."""
    with running(line(tmp_path)) as gateway:
        watched(gateway, 2.0)
        gateway.kill()
        before = [value for (value,) in state(gateway)["collected"]]
        recorded(tmp_path, 20.0)

        for _ in range(4):  # the more kills the better: each takes up the points of the one before
            gateway.again()
            watched(gateway, 4.0)
            gateway.kill()
            if frozen(gateway):
                break
        (limits,), kept = frozen(gateway), state(gateway)
        recorded(tmp_path, 90.0)

        gateway.again()
        gateway.until("the chart's alarm", lambda: "oil-chart" in gateway.alarms(), within_s=60)
        gateway.kill()
        assert len(frozen(gateway)) == 1

    share = len(before) / POINTS
    assert 0.1 < share < 0.9
    assert float(limits["center"]) == pytest.approx(10 * share + 20 * (1 - share), abs=0.1)
    assert (limits["phase"], limits["points"]) == ("trial", str(POINTS))
    assert kept["process"]["center"] == pytest.approx(float(limits["center"]))
    assert kept["number"] >= POINTS
