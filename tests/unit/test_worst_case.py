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


def written(folder: Path, rule: dict[str, Any], *, beaten: bool) -> Path:
    beat = {"beat": "700ms"} if beaten else {}
    times = {"period": "500ms", "timeout": "300ms", "halt_budget": "400ms"}
    filler = {"driver": "kit", "can_halt": True, "tags": {"state": {}}, **times, **beat}
    # a beat goes only to what can be held, here as in the kit: so the oven is a machine, too
    oven = {**OVEN, **times, "can_halt": beaten, **beat}
    document = {
        "gateway": {"id": "gw1", "path": "a/b/c/d/e"},
        "devices": {"oven": oven, "filler": filler},
        "rules": {"watched": rule},
    }
    (folder / "recipes").mkdir(parents=True)
    file = folder / "line.yaml"
    file.write_text(json.dumps(document))
    return file


async def reaction(file: Path, phase: float, *, silent: bool) -> float:
    """Seconds from the change until the machine's own word was there."""
    machines = {"oven": Machine({"temperature": 20.0}, []), "filler": Machine({"state": 6}, [])}
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
