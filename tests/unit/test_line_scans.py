"""Materials scanned at the line, by a reader and by people: compared, recorded, told; on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from line_kit import HOUSE, LINE, MES, OPERATOR, RECIPE, Disk, Kit, Machine, _machines, order

from gateway.config.reading import check, load
from gateway.errors import Refused

pytestmark = pytest.mark.looptime(start=1000)

SCANS = """\
  scans:
    materials: {count: scanner/count, code: scanner/code, read: scanner/read, lot: scanner/lot, alarm: critical}
devices:
  scanner:
    driver: kit
    period: 100ms
    timeout: 50ms
    tags: {count: {unit: "{count}"}, code: {kind: text}, read: {kind: bool}, lot: {kind: text}}
"""
MATERIALS = [
    {"kind": "oil", "lot": "OIL-7", "uid": "1A4FF0100000022000000111", "quantity": "500", "unit": "g",
     "coa": {"id": "C1", "lab": "L", "thc_percent": "80", "passed": True, "issued": "2026-01-01"}},
    {"kind": "label", "lot": "L-1", "uid": "1A4FF0100000022000000222", "quantity": "500", "unit": "{count}"},
]  # fmt: skip


def written(folder: Path) -> Path:
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    (folder / "line.yaml").write_text(LINE.replace("devices:\n", SCANS, 1))
    return folder / "line.yaml"


class Scanner:
    """A reader before the kit's line."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.machine: Machine = kit.machines["scanner"]

    async def read(self, code: str | None, lot: str | None = None) -> None:
        values = self.machine.values
        values.update(count=int(values["count"] or 0) + 1, code=code, read=code is not None, lot=lot)
        await asyncio.sleep(0.3)

    def records(self) -> list[tuple[str, str | None, bool]]:
        found = self.kit.records("material.scanned")
        return [(each["body"]["code"], each["batch"], each["body"]["ok"]) for each in found]


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[Scanner]:
    log: list[str] = []
    machines = _machines(log)
    machines["scanner"] = Machine({"count": 0, "code": None, "read": None, "lot": None}, log)
    kit = Kit(folder, disk=Disk(), machines=machines, settings=load(written(folder), house=HOUSE))
    kit.line.live.append(kit.desk.scans.watch)
    async with kit:
        yield Scanner(kit)


async def test_a_scanned_lot_is_recorded_with_its_line_of_the_order(tmp_path: Path) -> None:
    """Before the start, with the batch that waits; each read is one record, and no alarm where it belongs."""
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await scanner.read("OIL-7")
        await scanner.read("1A4FF0100000022000000222")
        standing = dict(scanner.kit.line.alarms.standing)
        bodies = [record["body"] for record in scanner.kit.records("material.scanned")]

    assert scanner.records() == [("OIL-7", "B1", True), ("1A4FF0100000022000000222", "B1", True)]
    assert bodies[0]["matched"] == [{"kind": "oil", "lot": "OIL-7", "uid": "1A4FF0100000022000000111"}]
    assert bodies[0]["reader"] == "scanner"
    assert not standing


async def test_a_lot_that_is_not_of_the_batch_raises_an_alarm(tmp_path: Path) -> None:
    """The mismatch is in the record, and an alarm of the configured priority stands until it is acknowledged."""
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await scanner.read("OIL-8", lot="OIL-9")
        alarm = scanner.kit.line.alarms.standing["scan:scanner"]

    assert scanner.records() == [("OIL-8", "B1", False)]
    assert "'OIL-8' (lot OIL-9) is not of batch B1" in alarm.text
    assert alarm.priority == "critical"


async def test_without_a_batch_a_scan_is_told(tmp_path: Path) -> None:
    """There is nothing it could be for: recorded without a batch, and an alarm."""
    async with line(tmp_path) as scanner:
        await scanner.read("OIL-7")
        assert "scan:scanner" in scanner.kit.line.alarms.standing

    assert scanner.records() == [("OIL-7", None, False)]


async def test_held_before_the_reader_is_one_scan(tmp_path: Path) -> None:
    """The same code again and again is one record; how often it was read stands in the next."""
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        for _ in range(5):
            await scanner.read("OIL-7")
        await asyncio.sleep(3)
        await scanner.read("OIL-7")
        repeats = [record["body"]["repeats"] for record in scanner.kit.records("material.scanned")]

    assert repeats == ["0", "4"]


async def test_a_read_of_nothing_is_no_scan_and_a_garbled_one_is_told(tmp_path: Path) -> None:
    """A trigger with nothing before the window leaves no record; a code that could not be read does."""
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await scanner.read(None)
        assert not scanner.records()
        scanner.machine.values.update(count=2, read=None)
        await asyncio.sleep(0.3)

    assert scanner.records() == [("", "B1", False)]


async def test_a_reader_that_was_away_begins_anew(tmp_path: Path) -> None:
    """Its count begins at 0 after a reconnect; the first read behind that is a scan."""
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await scanner.read("OIL-7")
        scanner.machine.link = False
        await asyncio.sleep(2)
        scanner.machine.values["count"] = 0
        scanner.machine.link = True
        await asyncio.sleep(20)
        await scanner.read("L-1")

    assert scanner.records() == [("OIL-7", "B1", True), ("L-1", "B1", True)]


async def test_the_open_batch_goes_before_those_that_wait(tmp_path: Path) -> None:
    """While a batch runs, the next one's lot is not of the batch."""
    other = [{**MATERIALS[0], "lot": "OIL-8", "uid": "1A4FF0100000022000000555"}, MATERIALS[1]]
    async with line(tmp_path) as scanner:
        await scanner.kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await scanner.kit.ask("batch.order", MES, order=order("B2", materials=other))
        await scanner.read("OIL-7")
        await scanner.read("OIL-8")
        await scanner.kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        await scanner.kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
        await scanner.kit.ask("batch.start", OPERATOR, batch="B1")
        await asyncio.sleep(3)
        await scanner.read("OIL-8")

    assert scanner.records() == [("OIL-7", "B1", True), ("OIL-8", "B2", True), ("OIL-8", "B1", False)]


async def test_materials_of_the_next_batch_are_its_own_while_the_last_one_is_reviewed(tmp_path: Path) -> None:
    """What QA still has to close takes back its own lots, and what is of no batch at all."""
    other = [{**MATERIALS[0], "lot": "OIL-8", "uid": "1A4FF0100000022000000555"}, MATERIALS[1]]
    async with line(tmp_path) as scanner:
        kit = scanner.kit
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        await kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
        await asyncio.sleep(0.5)
        await kit.ask("batch.start", OPERATOR, batch="B1")
        await kit.ask("batch.order", MES, order=order("B2", materials=other))
        await kit.ask("batch.complete", OPERATOR, batch="B1")
        for code in ("OIL-8", "OIL-7", "L-1", "OIL-9"):
            await scanner.read(code)

    assert scanner.records() == [
        ("OIL-8", "B2", True), ("OIL-7", "B1", True), ("L-1", "B1", True), ("OIL-9", "B1", False),
    ]  # fmt: skip


async def test_a_person_scans(tmp_path: Path) -> None:
    """By command: recorded with the person's name, answered with what it is; a wrong one raises an alarm too."""
    async with line(tmp_path) as scanner:
        kit = scanner.kit
        await kit.ask("batch.order", MES, order=order(materials=MATERIALS))
        good = await kit.ask("batch.scan", OPERATOR, batch="B1", code=" OIL-7 ")
        wrong = await kit.ask("batch.scan", OPERATOR, batch="B1", code="OIL-8")
        alarms = set(kit.line.alarms.standing)
        by = [record["by"] for record in kit.records("material.scanned")]
        refusals: list[str] = []
        for arguments in (
            {"batch": "B9", "code": "OIL-7"},
            {"batch": "B1", "code": " "},
            {"batch": "B1", "code": "\a"},
        ):
            with pytest.raises(Refused) as caught:
                await kit.ask("batch.scan", OPERATOR, **arguments)
            refusals.append(caught.value.code)

    assert (good["ok"], good["code"], wrong["ok"]) == (True, "OIL-7", False)
    assert by == ["olga", "olga"]
    assert "scan:person" in alarms
    assert refusals == ["no_such_batch", "bad_code", "bad_code"]


@pytest.mark.parametrize(
    ("was", "is_", "words"),
    [
        ("scanner/count", "scaner/count", "there is no device 'scaner'"),
        ("code: scanner/code", "code: scanner/cod", "no tag 'cod'"),
        ("lot: scanner/lot", "lot: oven/temperature", "a scan is one device's"),
        ("read: scanner/read", "red: scanner/read", "red"),
    ],
)
def test_a_scan_point_that_cannot_work_is_refused(tmp_path: Path, was: str, is_: str, words: str) -> None:
    """Each tag is looked for, with the place in the file and the nearest word."""
    path = written(tmp_path)
    text = path.read_text().replace(was, is_, 1)
    if is_.startswith("scaner"):
        text = text.replace("scanner/", "scaner/")
    path.write_text(text)
    problems: list[Any] = list(check(path, house=HOUSE).problems)

    assert any(words in str(problem) and "scans" in problem.where for problem in problems), problems
