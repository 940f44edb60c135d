"""What `linegate check` computes as the worst case is no less than what happens, on devices as slow as they may be.

Every answer takes nearly all of its budget, and the value changes at every phase of the poll.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import line_kit
import pytest
from line_kit import HOUSE, Kit, KitDevice, Machine

from gateway.config.reading import check, load
from gateway.halts import HaltState
from gateway.model import Reading

pytestmark = pytest.mark.looptime(start=1000)

PERIOD_S, TIMEOUT_S, HALT_S, BEAT_S = 0.5, 0.3, 0.4, 0.7
NEARLY: Final = 0.97
PHASES: Final = 8
OVEN: Final = {"driver": "kit", "period": "500ms", "timeout": "300ms", "tags": {"temperature": {"unit": "Cel"}}}
HOT: Final = {"input": "oven/temperature", "limits": {"unit": "Cel", "high": 90}, "halt": "filler"}
RULES: Final[dict[str, dict[str, Any]]] = {
    "at once": {"kind": "limit", **HOT},
    "delayed": {"kind": "limit", **HOT, "on_delay": "650ms"},
    "silent": {"kind": "stale", "input": "oven/temperature", "after": "2s", "halt": "filler"},
}


class Slow(KitDevice):
    """Looks at once, answers at the end of its budget."""

    async def poll(self) -> Reading:
        reading = await super().poll()
        await asyncio.sleep(NEARLY * TIMEOUT_S)
        return reading

    async def beat(self, count: int) -> None:
        await super().beat(count)
        await asyncio.sleep(NEARLY * TIMEOUT_S)

    async def halt(self, order: Any) -> Any:
        proof = await super().halt(order)
        await asyncio.sleep(NEARLY * HALT_S)
        return proof


def written(folder: Path, rule: dict[str, Any], *, beaten: bool, **more: Any) -> Path:
    beat = {"beat": "700ms"} if beaten else {}
    times = {"period": "500ms", "timeout": "300ms", "halt_budget": "400ms"}
    filler = {"driver": "kit", "can_halt": True, "tags": {"state": {}}, **times, **beat}
    # a beat goes only to what can be held, here as in the kit: so the oven is a machine, too
    oven = {**OVEN, **times, "can_halt": beaten, **beat}
    document: dict[str, dict[str, Any]] = {
        "gateway": {"id": "gw1", "path": "a/b/c/d/e"},
        "devices": {"oven": oven, "filler": filler},
        "rules": {"watched": rule},
    }
    for section, entries in more.items():
        document[section] = {**document.get(section, {}), **entries}
    (folder / "recipes").mkdir(parents=True)
    file = folder / "line.yaml"
    file.write_text(json.dumps(document))
    return file


async def reaction(file: Path, phase: float, *, silent: bool) -> float:
    """Seconds from the change until the machine's own word was there."""
    machines = {
        "oven": Machine({"temperature": 20.0}, []),
        "filler": Machine({"state": 6}, []),
        "pacer": Machine({"number": 1.0}, []),
    }
    loop = asyncio.get_running_loop()
    async with Kit(file.parent, machines=machines, settings=load(file, house=HOUSE)) as kit:
        await asyncio.sleep(3 + phase)
        changed = loop.time()
        kit.oven["temperature"] = None if silent else 99.0
        while not any(halt.state is HaltState.CONFIRMED for halt in kit.holds.standing.values()):
            assert loop.time() < changed + 20
            await asyncio.sleep(0.005)
        return loop.time() - changed


@pytest.mark.parametrize("beaten", [False, True], ids=["not beaten", "beaten"])
@pytest.mark.parametrize("kind", RULES)
async def test_no_reaction_is_longer_than_computed(
    tmp_path: Path, kind: str, beaten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no phase; and the sum is no idle one: the slowest comes to most of it."""
    monkeypatch.setattr(line_kit, "KitDevice", Slow)
    file = written(tmp_path, RULES[kind], beaten=beaten)
    (row,) = check(file, house=HOUSE).table
    took = [
        await reaction(file, number * (PERIOD_S + BEAT_S) / PHASES, silent=kind == "silent") for number in range(PHASES)
    ]
    assert max(took) <= row.total_s, row.sum
    assert max(took) > 0.7 * row.total_s, row.sum


PACED: Final[dict[str, Any]] = {
    "devices": {"pacer": {**OVEN, "period": "2s", "tags": {"number": {}}}},
    "derived": {
        "both": {
            "on": "pacer",
            "tags": {
                "heat": {"kind": "expr", "expr": "t", "inputs": {"t": "oven/temperature"}, "unit": "Cel"},
                "paces": {"kind": "expr", "expr": "n", "inputs": {"n": "pacer/number"}},
            },
        },
        "after": {"tags": {"heat": {"kind": "expr", "expr": "t", "inputs": {"t": "both/heat"}, "unit": "Cel"}}},
    },
}


@pytest.mark.parametrize("tag", ["both/heat", "after/heat"])
async def test_what_is_computed_with_another_devices_scans_waits_for_them(
    tmp_path: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oven is looked at each half second, and judged with the two seconds of the device in `on`."""
    monkeypatch.setattr(line_kit, "KitDevice", Slow)
    file = written(tmp_path, {**RULES["at once"], "input": tag}, beaten=False, **PACED)
    (row,) = check(file, house=HOUSE).table
    took = [await reaction(file, number * 0.31, silent=False) for number in range(PHASES)]
    assert max(took) <= row.total_s, row.sum
    assert max(took) > 0.6 * row.total_s, row.sum


async def test_a_silent_input_of_what_others_drive_is_found_within_the_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed with the pacer's scans goes on from the oven's last value for a while."""
    monkeypatch.setattr(line_kit, "KitDevice", Slow)
    rule = {"kind": "stale", "input": "both/heat", "after": "2s", "halt": "filler"}
    fast = {"pacer": {**PACED["devices"]["pacer"], "period": "310ms"}}
    file = written(tmp_path, rule, beaten=False, devices=fast, derived=PACED["derived"])
    (row,) = check(file, house=HOUSE).table
    took = [await reaction(file, number * PERIOD_S / PHASES, silent=True) for number in range(PHASES)]
    assert max(took) <= row.total_s, row.sum


async def test_what_only_a_dead_input_halts_takes_its_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that are all warnings stop no machine: the sum is that of the silence, and no other."""
    monkeypatch.setattr(line_kit, "KitDevice", Slow)
    warned = {"unit": "Cel", "warn_high": 90}
    rule = {**HOT, "kind": "limit", "limits": warned, "bad_input": "halt", "bad_for": "2s"}
    file = written(tmp_path, rule, beaten=False)
    (row,) = check(file, house=HOUSE).table
    took = [await reaction(file, number * PERIOD_S / PHASES, silent=True) for number in range(PHASES)]
    assert max(took) <= row.total_s, row.sum
    assert max(took) > 0.7 * row.total_s, row.sum


def test_a_chart_of_checks_can_promise_no_time(tmp_path: Path) -> None:
    """Nobody knows when the next check is judged: a deadline is refused, not passed over."""
    chart = "  chart: {kind: spc, of: weight, chart: i-mr, phase: {name: trial}, halt: filler, deadline: 2s}\n"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cart.yaml").write_text(line_kit.RECIPE)
    (tmp_path / "line.yaml").write_text(line_kit.LINE + chart)
    said = [problem.message for problem in check(tmp_path / "line.yaml", house=HOUSE).problems]
    assert [each for each in said if "it judges checks, and a check takes its own time: leave it out" in each]


def test_a_chart_promises_no_more_than_its_points(tmp_path: Path) -> None:
    """Its longest pattern takes eight points of ten seconds, and a change may come in the middle of one."""
    rule = {"kind": "spc", "input": "oven/temperature", "every": "10s", "n": 1, "chart": "i-mr", "halt": "filler"}
    file = written(tmp_path, {**rule, "process": {"center": 20, "sigma": 1}}, beaten=False)
    (row,) = check(file, house=HOUSE).table
    assert row.sum == "500ms period + 300ms poll + 90s points + 100ms tick + 400ms halt = 91300ms"
