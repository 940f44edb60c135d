"""Sampling plans in a replay: a state folder has the weights and who took which, so that plans are judged again."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import line_kit
import pytest
from line_kit import LINE, Kit

from gateway.backtest.run import Result, play
from gateway.backtest.stored import Stored
from gateway.backtest.terms import Notes, Wish
from gateway.config.model import Settings
from gateway.config.reading import load
from gateway.model import Scan
from gateway.store.telemetry_file import TelemetryFile
from gateway.verdicts import CheckChange, Finding, Sample, Verdict, Weighing

RULES = """\
  chart: {kind: spc, of: weight, characteristic: weight, chart: i-mr, process: {center: 1, sigma: 0.01}, runs: we1}
"""
S = 1_000_000_000
EXECUTE = 6
BEFORE = 137
"""What the machine's counter stands at: it was never reset."""


async def lived(folder: Path) -> tuple[Settings, list[dict[str, Any]]]:
    """A batch: a check that passes, one that fails, its recalibration and verification; left as a state folder."""
    async with Kit(folder, line=LINE + RULES) as kit:
        kit.filler["units"] = BEFORE
        await asyncio.sleep(2)
        kit.make(7)  # of no batch: a trial run
        await asyncio.sleep(1)
        await kit.begin()
        for grams in ("1.002", "0.900"):
            kit.make(10)
            await asyncio.sleep(0.5)
            await kit.ask("check.take", rule="weight")
            await kit.weigh(grams)
            await asyncio.sleep(0.5)
        alarm = kit.line.alarms.standing["weight"]
        await kit.ask("alarm.acknowledge", alarm="weight", occurrence=alarm.occurrence)
        halt = kit.holds.standing["filler:weight"]
        await kit.ask("halt.release", halt=halt.id, version=halt.version, reason="mended", recalibration="pump set")
        kit.filler.held = False
        kit.filler["state"] = EXECUTE
        kit.make(3)
        await asyncio.sleep(0.5)
        for grams in ("1.001", "0.999"):
            await kit.ask("check.take", rule="weight")
            await kit.weigh(grams)
        await asyncio.sleep(8)
        kept, records, payloads = kit.telemetry.kept, kit.records(), list(kit.disk.payloads)
        settings = kit.settings
    keep(folder, kept, records, payloads)
    return settings, records


def keep(folder: Path, kept: list[Scan], records: list[dict[str, Any]], payloads: list[bytes]) -> None:
    """A state folder as a gateway leaves it."""
    file = TelemetryFile(folder / "telemetry.db", "boot", max_bytes=2**26)
    file.store(kept)
    file.db.close()
    evidence(folder, records, payloads)


def evidence(folder: Path, records: list[dict[str, Any]], payloads: list[bytes]) -> None:
    """The table of records as a gateway leaves it."""
    database = sqlite3.connect(folder / "evidence.db")
    database.execute("CREATE TABLE record(idx INTEGER PRIMARY KEY, lane, kind, batch, time_ns, hash, payload)")
    rows = [
        (at, 0, record["kind"], record["batch"], int(record["time"]), b"", payload)
        for at, (record, payload) in enumerate(zip(records, payloads, strict=True))
    ]
    database.executemany("INSERT INTO record VALUES(?, ?, ?, ?, ?, ?, ?)", rows)
    database.commit()
    database.close()


def replayed(settings: Settings, folder: Path, **wish: Any) -> tuple[Result, list[Finding]]:
    heard: list[Finding] = []
    return play(settings, Wish([folder], **wish), tell=lambda _, each: heard.append(each)), heard


def judged(heard: list[Finding]) -> list[tuple[str, str, str]]:
    return [
        (each.check.id, each.check.why, str(each.check.state.value))
        for each in heard
        if isinstance(each, CheckChange) and each.what == "judged"
    ]


@pytest.mark.looptime(start=1000)
async def test_a_replay_judges_the_checks_that_were_taken(tmp_path: Path) -> None:
    """Without being asked: the same checks, the same units, the same outcome, verification and chart included."""
    settings, records = await lived(tmp_path)
    then = [
        (each["body"]["id"], each["body"]["why"], each["body"]["state"])
        for each in records
        if each["kind"] == "check.judged"
    ]

    result, heard = replayed(settings, tmp_path)

    assert [each[1:] for each in then] == [("schedule", "passed"), ("schedule", "failed"), ("verification", "passed")]
    assert judged(heard) == then
    assert any(isinstance(each, Verdict) and each.rule == "chart" and each.text for each in heard)
    assert "batch B1: takes and entries as the evidence has them" in result.notes.texts
    assert "recipe cart, which the batch was made by" in result.notes.texts
    assert "leaks" in result.rules.left_out  # a plan that nobody brought anything for


@pytest.mark.looptime(start=1000)
async def test_a_replay_from_the_middle_of_a_batch_counts_from_its_start(tmp_path: Path) -> None:
    """`--from` after the first check: the same checks all the same, and it is said why."""
    settings, records = await lived(tmp_path)
    first = next(int(each["time"]) for each in records if each["kind"] == "check.judged")

    result, heard = replayed(settings, tmp_path, since_ns=first + 1)

    assert [each[2] for each in judged(heard)] == ["passed", "failed", "passed"]
    assert any("replayed from the start of the batch on" in text for text in result.notes.texts)


@pytest.mark.looptime(start=1000)
async def test_tighter_limits_are_judged_by_the_same_weights(tmp_path: Path) -> None:
    """What passed within 0.05 g would have failed within 0.001 g; takes that then fit nothing are counted and told."""
    await lived(tmp_path)
    recipe = tmp_path / "recipes" / "cart.yaml"
    recipe.write_text(recipe.read_text().replace("low: 0.95, high: 1.05", "low: 0.999, high: 1.001"))

    _, heard = replayed(load(tmp_path / "line.yaml", house=line_kit.HOUSE), tmp_path)

    assert judged(heard)[0] == ("weight#1", "schedule", "failed")


@pytest.mark.parametrize("lost", ["the first weight", "all up to it", "all from the second on"])
@pytest.mark.looptime(start=1000)
async def test_a_take_whose_weight_the_data_lacks_binds_no_other(tmp_path: Path, lost: str) -> None:
    """Telemetry that was shed, damaged, or ends early: no weight is put to another unit; it is counted and told."""
    settings, _ = await lived(tmp_path)
    _, heard = replayed(settings, tmp_path)
    then = {(each.unit_no, str(each.value)) for each in samples(heard)}
    first, second, *_ = [each.time_ns for each in samples(heard)]
    gone = {
        "the first weight": range(first - S // 10, second - S // 10),
        "all up to it": range(second - S // 10),
        "all from the second on": range(second - S // 10, 2**63),
    }[lost]
    without(tmp_path, settings, gone)

    result, heard = replayed(settings, tmp_path)

    assert {(each.unit_no, str(each.value)) for each in samples(heard)} < then
    count = 3 if lost == "all from the second on" else 1
    said = f"{count} takes or entries are not judged: the data has no scan of their moment; the first: weight, 2027-"
    assert any(text.startswith(said) for text in result.notes.texts)


def without(folder: Path, settings: Settings, gone: range) -> None:
    """The telemetry store again, less the scans of a time."""
    measured = {name: settings.tagsets[name] for name in settings.devices}
    stored = Stored(folder, measured, Wish([folder]), Notes(), frozenset(settings.derived))
    kept = [each for each in stored.scans() if each.time_ns not in gone]
    (folder / "telemetry.db").unlink()
    file = TelemetryFile(folder / "telemetry.db", "boot", max_bytes=2**26)
    file.store(kept)
    file.db.close()


@pytest.mark.looptime(start=1000)
async def test_after_the_batch_nothing_is_missed(tmp_path: Path) -> None:
    """A check that was open when the batch was completed is nobody's failure: its plan has ended with the batch."""
    settings, records = await lived(tmp_path)
    _, second, *_ = [at for at, each in enumerate(records) if each["kind"] == "check.due"]
    early = records[: second + 1]  # the second check was never taken
    end = {**early[-1], "kind": "batch.completed", "body": {}}
    missed: dict[bool, bool] = {}
    for ended in (False, True):
        (tmp_path / "evidence.db").unlink()
        known = [*early, end] if ended else early
        evidence(tmp_path, known, [line_kit.canonical(each) for each in known])
        _, heard = replayed(settings, tmp_path)
        assert judged(heard) == [("weight#1", "schedule", "passed")]
        missed[ended] = any(isinstance(each, Verdict) and each.rule == "weight" and each.severity for each in heard)

    assert missed == {False: True, True: False}


@pytest.mark.looptime(start=1000)
async def test_several_batches_ask_for_one(tmp_path: Path) -> None:
    """Which one is meant nobody guesses; a damaged record is told with its file."""
    settings, records = await lived(tmp_path)
    (tmp_path / "evidence.db").unlink()
    twice = [*records, *({**each, "batch": "B2"} for each in records)]
    evidence(tmp_path, twice, [line_kit.canonical(each) for each in twice])

    result, heard = replayed(settings, tmp_path)
    assert any("choose one by --batch number=... (B1, B2)" in text for text in result.notes.texts)
    assert not judged(heard)
    _, heard = replayed(settings, tmp_path, batch={"number": "B1"}, recipe="cart")
    assert len(judged(heard)) == 3


@pytest.mark.parametrize("damage", ["record", "file"])
@pytest.mark.looptime(start=1000)
async def test_damaged_evidence_is_told_and_the_rest_is_judged(tmp_path: Path, damage: str) -> None:
    """What the telemetry alone can say is said; the plans are left out, with the reason."""
    settings, records = await lived(tmp_path)
    (tmp_path / "evidence.db").unlink()
    if damage == "record":
        evidence(tmp_path, records, [b"{" for _ in records])
    else:
        (tmp_path / "evidence.db").write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)

    result, _ = replayed(settings, tmp_path, recipe="cart")

    assert any("evidence.db" in text and "plans are judged without it" in text for text in result.notes.texts)
    assert "weight" in result.rules.left_out
    assert "hot" in result.rules.configs


TARES = {
    "paired": "tare: {mode: paired}",
    "group": "tare: {mode: group, n: 4}, mean: {low: 0.95, high: 1.05}",
    "fixed": "tare: {mode: fixed, weight: 12.000, spread: 0.001}",
}
FULLS = {"paired": ("13.002", "12.900"), "group": ("16.008", "15.600"), "fixed": ("13.002", "12.900")}
SCALE = "halt: filler, scale: {unit: g, d: 0.0001, uncertainty: 0.0002}}"
LIGHT = [f"12.000{digit}" for digit in "0101010101"]


async def tared(folder: Path, mode: str) -> tuple[Settings, list[dict[str, Any]]]:
    """A batch whose plan takes the tare off itself: one check that passes, one that fails."""
    recipe = line_kit.RECIPE.replace("source: weighing,", f"source: weighing, {TARES[mode]},")
    line = LINE.replace("tray: filler/tray, halt: filler}", f"tray: filler/tray, {SCALE}")
    async with Kit(folder, line=line, recipe=recipe) as kit:
        await kit.ask("scale.repeatability", device="balance", weighings=LIGHT)
        await kit.begin()
        for place, full in enumerate(FULLS[mode]):
            kit.make(10)
            await asyncio.sleep(0.5)
            item = "" if mode == "fixed" else f"K-{place}"
            await kit.ask("check.take", rule="weight", item=item, stage="tare")
            await kit.weigh("12.000")
            await kit.ask("check.take", rule="weight", item=item)
            await kit.weigh(full)
            await asyncio.sleep(0.5)
        kept, records, payloads = kit.telemetry.kept, kit.records(), list(kit.disk.payloads)
        settings = kit.settings
    keep(folder, kept, records, payloads)
    return settings, records


def samples(heard: list[Finding]) -> list[Sample]:
    return [one.sample for one in heard if isinstance(one, CheckChange) and one.what == "taken" and one.sample]


@pytest.mark.parametrize("mode", TARES)
@pytest.mark.looptime(start=1000)
async def test_samples_with_a_tare_of_their_own_are_judged_again(tmp_path: Path, mode: str) -> None:
    """The empty weighing comes first, then the full one: gross, tare, net and uncertainty as the record has them."""
    settings, records = await tared(tmp_path, mode)
    then = [each["body"]["sample"] for each in records if each["kind"] == "check.taken"]
    states = [each["body"]["state"] for each in records if each["kind"] == "check.judged"]

    result, heard = replayed(settings, tmp_path)

    assert [each[2] for each in judged(heard)] == states == ["passed", "failed"]
    now = [(str(one.value), str(one.gross), str(one.tare), one.item, str(one.uncertainty)) for one in samples(heard)]
    assert now == [(one["value"], *(one[key] for key in ("gross", "tare", "item", "uncertainty"))) for one in then]
    empties = [each.sample.reason for each in heard if isinstance(each, Weighing)]
    assert empties == [each["body"]["reason"] for each in records if each["kind"] == "weighing.recorded"]
    assert not any("left out" in text or "fit no check" in text for text in result.notes.texts)


@pytest.mark.looptime(start=1000)
async def test_the_scale_is_judged_by_as_it_was_found_to_be(tmp_path: Path) -> None:
    """Ten weighings before the batch say that it cannot weigh a gram: the takes are refused in the replay, too."""
    settings, records = await tared(tmp_path, "paired")
    found = next(each for each in records if each["kind"] == "scale.repeatability")
    found["body"]["repeatability"] = "0.001"
    (tmp_path / "evidence.db").unlink()
    evidence(tmp_path, records, [line_kit.canonical(each) for each in records])

    result, heard = replayed(settings, tmp_path)

    assert not judged(heard)
    assert any("minimum weight is 2 g" in text for text in result.notes.texts)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.looptime(start=1000)
async def test_a_tare_is_no_gap(tmp_path: Path, told: bool) -> None:
    """Eight seconds without a poll, for a tare: no rule misses its input, if the record tells of it."""
    rules = """\
  away: {kind: stale, input: balance, after: 2s}
  high: {kind: limit, input: balance/net, limits: {unit: g, high: 500}, bad_input: alarm, bad_for: 2s}
"""
    slow = LINE.replace("can_tare: true, period: 250ms, timeout: 200ms", "can_tare: true, period: 250ms, timeout: 9s")
    async with Kit(tmp_path, line=slow + rules) as kit:
        kit.balance["net"], kit.balance.settles_in_s = Decimal("0.1"), 8.0
        await asyncio.sleep(1)
        await kit.ask("balance.tare", device="balance")
        await asyncio.sleep(3)
        assert not kit.line.alarms.standing
        records, settings = kit.records(), kit.settings
        if not told:
            records = [each for each in records if each["kind"] != "balance.tared"]
        keep(tmp_path, kit.telemetry.kept, records, [line_kit.canonical(each) for each in records])

    result, heard = replayed(settings, tmp_path, gap_s=1.0)

    missed = {each.rule for each in heard if isinstance(each, Verdict) and each.severity}
    assert missed == (set() if told else {"away", "high"})
    assert bool(result.flow.gaps.get("balance")) is not told


@pytest.mark.looptime(start=1000)
async def test_a_weight_that_never_settled_is_indeterminate_again(tmp_path: Path) -> None:
    """Tried and in doubt, not missed: as it was said then."""
    async with Kit(tmp_path, recipe=line_kit.RECIPE.replace("grace: 5s", "grace: 9s")) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        kit.balance.settled = False
        await kit.weigh("1.002")
        await asyncio.sleep(12)
        kit.balance.settled = True  # and one on request: without any sample there is nothing to replay
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.000")
        await kit.weigh("1.001")
        await asyncio.sleep(1)
        records, settings = kit.records(), kit.settings
        keep(tmp_path, kit.telemetry.kept, records, list(kit.disk.payloads))
    then = [(each["body"]["id"], each["body"]["state"]) for each in records if each["kind"] == "check.judged"]

    result, heard = replayed(settings, tmp_path)

    assert then[0] == ("weight#1", "indeterminate")
    assert [(each[0], each[2]) for each in judged(heard)] == then
    assert not any("fit no check" in text for text in result.notes.texts)
