"""A line with every gate: its recipe, its register, and people who sign and check."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_kit import HOUSE, LINE, MES, OPERATOR, QA, RECIPE, TECHNICIAN, Kit, _machines, order

from gateway.config.reading import load
from gateway.errors import Refused

GATES = """\
gates:
  setpoints: {override: [supervisor]}
  instruments:
  people:
  label:
setpoints: {filler/dose: {value: 1.000, unit: g, tolerance: 0.001}}
before_start:
  - {id: clearance, text: The line is clear, role: operator}
  - {id: proof, text: The label is right, role: technician, second_role: qa, covers: [label-proof]}
"""
REGISTER = """\
instruments:
  balance:
    kind: scale
    serial: B1
    due: 2099-12-31
    device: balance
    reading: balance/net
    check: {standard: W-20, value: 20.000, unit: g, tolerance: 0.002}
"""


def written(folder: Path, register: str = REGISTER) -> Path:
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    lines = [line for line in RECIPE.splitlines() if not line.startswith("before_start")]
    (folder / "recipes" / "cart.yaml").write_text("\n".join(lines) + "\n" + GATES)
    (folder / "instruments.yaml").write_text(register)
    line = LINE.replace("  counters:", "  instruments: instruments.yaml\n  counters:", 1)
    line = line.replace("rejects: filler/rejects,", "rejects: filler/rejects, labels: filler/units,")
    line = line.replace("      tray: {kind: text}", "      tray: {kind: text}\n      dose: {unit: g}")
    (folder / "line.yaml").write_text(line)
    return folder / "line.yaml"


def kit_of(folder: Path, settings: Any = None) -> Kit:
    log: list[str] = []
    machines = _machines(log)
    values = machines["filler"].values
    label = values.pop("label")
    values.update(dose=1.0, label=label)
    return Kit(folder, machines=machines, settings=settings or load(written(folder), house=HOUSE))


async def refused(code: str, awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


async def signed(kit: Kit, roll: int = 0) -> None:
    """Batch B1, ordered and signed; `roll`: with so many labels on roll R1."""
    for name, role in (("olga", "operator"), ("tom", "technician"), ("quinn", "qa"), ("sue", "supervisor")):
        await kit.people.add(name, name, [role], "correct horse")
    await kit.ask("batch.order", MES, order=order())
    kit.filler["label"] = "B1"
    await asyncio.sleep(0.5)
    if roll:
        await kit.ask("label.roll", OPERATOR, batch="B1", roll="R1", labels=str(roll))
    await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
    await kit.ask("batch.sign", TECHNICIAN, batch="B1", step="proof")
    await kit.ask("batch.sign", QA, batch="B1", step="proof")


async def checked(kit: Kit, grams: str = "20.001") -> Any:
    kit.balance["net"] = Decimal(grams)
    await asyncio.sleep(0.5)
    said = await kit.ask("instrument.check", TECHNICIAN, instrument="balance")
    kit.balance["net"] = Decimal("0.000")
    await asyncio.sleep(0.5)
    return said


async def returned(kit: Kit, labels: int, roll: str) -> Any:
    arguments = {"name": "labels_returned", "value": str(labels), "unit": "{count}", "roll": roll}
    return await kit.ask("batch.enter", TECHNICIAN, batch="B1", **arguments)
