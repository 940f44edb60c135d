"""The telemetry store on real files."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from store_kit import evidence_in

from gateway.ledger.merkle import root_of
from gateway.model import Fault, Quality, Scan, TagSet, TagSpec, Value
from gateway.store.evidence import Evidence
from gateway.store.spans import Spans
from gateway.store.telemetry import Telemetry
from gateway.store.telemetry_file import Shed
from gateway.world import World

SECOND = 10**9
START = 1_800_000_000 * SECOND


class Line:
    """Makes scans as a line would: one sequence for all devices."""

    def __init__(self, tags: int = 5, seed: int = 1) -> None:
        self.tags = TagSet("reservoir", [TagSpec(f"t{number}", "Cel") for number in range(tags)])
        self.dice = random.Random(seed)
        self.levels = [self.dice.uniform(1, 500) for _ in range(tags)]
        self.seq = 0

    def scan(self, *, digits: int = 2) -> Scan:
        self.levels = [level + self.dice.gauss(0, 0.05) for level in self.levels]
        values = tuple(round(level, digits) for level in self.levels)
        self.seq += 1
        return Scan(self.tags, self.seq - 1, START + self.seq * SECOND // 10, self.seq, values)


@asynccontextmanager
async def stores_in(
    folder: Path, world: World | None = None, max_bytes: int = 2**24
) -> AsyncIterator[tuple[Evidence, Telemetry]]:
    """Both stores, on one writer thread."""
    world = world or World()
    async with evidence_in(folder, world) as evidence:
        telemetry = Telemetry.open(folder, writer=evidence.writer, world=world, max_bytes=max_bytes)
        try:
            yield evidence, telemetry
        finally:
            await telemetry.close()


async def drain(telemetry: Telemetry, sink: str, limit: int = 50) -> list[tuple[int, Scan]]:
    """What a forwarder does after an outage."""
    got: list[tuple[int, Scan]] = []
    while pending := telemetry.pending(sink):
        page = await telemetry.read(*pending[0], limit)
        got += zip(page.positions, page.scans, strict=True)
        telemetry.confirm(sink, [(pending[0][0], page.upto)])
    return got


async def test_what_was_put_is_read_back_the_same(tmp_path: Path) -> None:
    """Values, faults, raw bytes and tag set come back; the tag set is the very object, for those who compare so."""
    tags = TagSet("balance", [TagSpec("net", "g", "decimal"), TagSpec("count"), TagSpec("id", "1", "text")])
    scans = [
        Scan(tags, 0, START, 1, (Decimal("1.0120"), 7, "T1"), raw=b"S S 1.0120 g", held=False),
        Scan(tags, 1, START + 1, 2, (None, 8, "T1"), {0: Fault(Quality.BAD, "overload")}, {1: START - 5}),
    ]
    async with stores_in(tmp_path) as (_, telemetry):
        for scan in scans:
            telemetry.put(scan)
        page = await telemetry.read(telemetry.base, telemetry.base + 10, 100)
        assert list(page.scans) == scans
        assert page.scans[0].tagset is tags
        assert page.positions == tuple(map(telemetry.position, scans))
        assert page.upto == telemetry.base + 10


async def test_positions_grow_across_boots_and_nothing_is_skipped(tmp_path: Path) -> None:
    """What a sink had not confirmed before a restart is pending after it, in order, then the new boot's scans."""
    line = Line()
    async with stores_in(tmp_path) as (_, telemetry):
        scans = [line.scan() for _ in range(100)]
        for scan in scans:
            telemetry.put(scan)
        telemetry.attend(["influx", "mqtt"])
        first = telemetry.position(scans[0])
        telemetry.confirm("influx", [(first, first + 29), (first + 50, first + 69)])
        telemetry.confirm("mqtt", telemetry.pending("mqtt"))
    again = Line()
    async with stores_in(tmp_path) as (_, telemetry):
        new = [again.scan() for _ in range(10)]
        for scan in new:
            telemetry.put(scan)
        got = await drain(telemetry, "influx")
        assert [scan for _, scan in got[:50]] != []
        assert [position - first for position, _ in got[:50]] == [*range(30, 50), *range(70, 100)]
        assert [scan.values for _, scan in got] == [s.values for s in (*scans[30:50], *scans[70:], *new)]
        assert sorted(position for position, _ in got) == [position for position, _ in got]
        assert telemetry.pending("influx") == []
        assert [scan.values for _, scan in await drain(telemetry, "mqtt")] == [scan.values for scan in new]


async def test_a_new_sink_is_owed_what_is_stored_and_a_removed_one_is_forgotten(tmp_path: Path) -> None:
    """attend() tells which sinks there are."""
    line = Line()
    async with stores_in(tmp_path) as (_, telemetry):
        telemetry.attend(["old"])
        telemetry.put(line.scan())
        assert len(await drain(telemetry, "old")) == 1
        await telemetry.read(0, 0, 1)
    async with stores_in(tmp_path) as (_, telemetry):
        assert telemetry.pending("old") == []
        telemetry.attend(["new"])
        assert len(await drain(telemetry, "new")) == 1
        await telemetry.read(0, 0, 1)
    async with stores_in(tmp_path) as (_, telemetry):
        assert len(telemetry.pending("old")) == 1


async def test_at_the_cap_the_oldest_batches_go_and_the_gap_is_exact(tmp_path: Path) -> None:
    """What was shed plus what is delivered is what was produced; what a sink already had is no loss of its."""
    line, sheds = Line(tags=100), list[Shed]()
    async with stores_in(tmp_path, max_bytes=2**20) as (_, telemetry):
        telemetry.attend(["influx", "mqtt"])
        telemetry.on_shed(sheds.append)
        for _ in range(150):
            for _ in range(40):
                telemetry.put(line.scan(digits=9))
            telemetry._flush()
            if line.seq == 400:
                telemetry.confirm("mqtt", telemetry.pending("mqtt"))
            await telemetry.read(0, 0, 1)
        got = await drain(telemetry, "influx", 500)
        shed = Spans((one.first, one.last) for one in sheds)
        gone = [scan_at - telemetry.base for first, last in shed for scan_at in range(first, last + 1)]
        assert gone == list(range(len(gone)))
        assert [position - telemetry.base for position, _ in got] == list(range(len(gone), line.seq))
        assert sum(one.scans for one in sheds) == len(gone) == telemetry.shed_scans
        assert sum(one.values for one in sheds) == 100 * len(gone)
        assert sum(one.owed.get("influx", 0) for one in sheds) == len(gone)
        assert sum(one.owed.get("mqtt", 0) for one in sheds) == len(gone) - 400
        assert (tmp_path / "telemetry.db").stat().st_size <= 2**20


async def test_a_shedding_is_told_again_until_it_is_in_the_ledger(tmp_path: Path) -> None:
    """A crash between shedding and its record loses no gap record."""
    line, told, recorded = Line(tags=100), list[Shed](), list[Shed]()
    async with stores_in(tmp_path, max_bytes=2**20) as (_, telemetry):
        telemetry.attend(["influx"])
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def not_recorded(shed: Shed) -> asyncio.Future[None]:
            told.append(shed)
            return never

        telemetry.on_shed(not_recorded)
        for _ in range(60):
            for _ in range(40):
                telemetry.put(line.scan(digits=9))
            await telemetry.read(0, 0, 1)
        assert told
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    async with stores_in(tmp_path, max_bytes=2**20) as (_, telemetry):
        telemetry.attend(["influx"])
        telemetry.on_shed(lambda shed: recorded.append(shed) or done)
        await asyncio.sleep(0)
    assert [(s.first, s.last, s.scans) for s in recorded] == [(s.first, s.last, s.scans) for s in told]
    recorded.clear()
    async with stores_in(tmp_path, max_bytes=2**20) as (_, telemetry):
        telemetry.on_shed(lambda shed: recorded.append(shed) or done)
    assert recorded == []


async def test_the_root_covers_each_batch_once_also_across_a_restart(tmp_path: Path) -> None:
    """Roots over the batches stored since the last one leave none out, and can be computed again from the file."""
    line = Line()
    async with stores_in(tmp_path) as (_, telemetry):
        assert telemetry.root_since_last() is None
        for _ in range(3):
            telemetry.put(line.scan())
            await telemetry.read(0, 0, 1)
        first = telemetry.root_since_last()
        assert first is not None
        assert (first.batches, first.first, first.last) == (3, telemetry.base, telemetry.base + 2)
        assert first.root == await telemetry.root_again(first.first, first.last)
        assert telemetry.root_since_last() is None
        telemetry.put(line.scan())
        last = telemetry.base + 3
    async with stores_in(tmp_path) as (_, telemetry):
        second = telemetry.root_since_last()
        assert second is not None
        assert (second.batches, second.first, second.last) == (1, last, last)
        assert root_of(telemetry._thread.file.hashes(0, last)) != bytes.fromhex(second.root)


async def test_a_series_is_drawn_from_what_is_stored(tmp_path: Path) -> None:
    """Extremes stay, bad values break the line, other tags and times are left out."""
    tags = TagSet("oil", [TagSpec("temperature", "Cel")])
    values: list[Value] = [*range(1000), None, *range(1000, 0, -1)]
    async with stores_in(tmp_path) as (_, telemetry):
        for seq, value in enumerate(values):
            telemetry.put(Scan(tags, seq, START + seq, seq, (value,)))
        points = await telemetry.series("oil/temperature", START, START + 2000, 100)
        assert 50 < len(points) < 120
        assert {0, 1000, None} <= {value for _, value in points}
        assert [at for at, _ in points] == sorted(at for at, _ in points)
        some = await telemetry.series("oil/temperature", START + 10, START + 12, 100)
        assert some == [(START + 10, 10), (START + 11, 11), (START + 12, 12)]
        assert await telemetry.series("oil/pressure", START, START + 2000, 100) == []


@pytest.mark.parametrize("how", ["flip", "cut", "noise"])
async def test_a_damaged_telemetry_file_never_keeps_the_gateway_from_starting(tmp_path: Path, how: str) -> None:
    """It is set aside and begun anew, or its damaged batches are dropped and named; what is read is what was put."""
    put: dict[int, tuple[Value, ...]] = {}
    line = Line()
    async with stores_in(tmp_path) as (_, telemetry):
        for _ in range(20):
            for _ in range(20):
                scan = line.scan()
                put[telemetry.position(scan)] = scan.values
                telemetry.put(scan)
            await telemetry.read(0, 0, 1)
    clean = (tmp_path / "telemetry.db").read_bytes()
    for seed in range(15):
        dice, damaged, sheds = random.Random(seed), bytearray(clean), list[Shed]()
        if how == "flip":
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        elif how == "cut":
            del damaged[dice.randrange(len(damaged)) :]
        else:
            at = dice.randrange(len(damaged) - 4096)
            damaged[at : at + 4096] = dice.randbytes(4096)
        for path in tmp_path.glob("telemetry.db*"):
            path.unlink()
        (tmp_path / "telemetry.db").write_bytes(damaged)
        async with stores_in(tmp_path) as (_, telemetry):
            telemetry.on_shed(lambda shed, seen=sheds: seen.append(shed))  # type: ignore[misc]
            telemetry.attend(["influx"])
            got = dict(await drain(telemetry, "influx"))
            await asyncio.sleep(0)
            assert all(put[position] == scan.values for position, scan in got.items()), seed
            if len(got) < len(put):
                lost = Spans((shed.first, shed.last) for shed in sheds)
                named = all(position in lost for position in put.keys() - got.keys())
                assert telemetry.quarantined or telemetry._thread.quarantined or named, (seed, len(got))
            fresh = Line()
            telemetry.put(fresh.scan())
            assert len(await drain(telemetry, "influx")) == 1


async def test_damage_found_while_running_is_survived_in_the_same_boot(tmp_path: Path) -> None:
    """The file is set aside, a new one begun, positions go on, the loss is told with its count."""
    line, sheds = Line(), list[Shed]()
    async with stores_in(tmp_path) as (_, telemetry):
        telemetry.attend(["influx"])
        telemetry.on_shed(sheds.append)
        for _ in range(30):
            telemetry.put(line.scan())
        await telemetry.read(0, 0, 1)
        execute = telemetry._thread.file.db.connection.execute
        await telemetry._writer.run(lambda: execute("DROP TABLE batch"))
        base = telemetry.base
        for _ in range(10):
            telemetry.put(line.scan())
        got = await drain(telemetry, "influx")
        assert [position for position, _ in got] == [base + 30 + n for n in range(10)]
        assert [(shed.last, shed.scans, shed.reason) for shed in sheds] == [(base + 29, 30, "damaged")]
        assert sheds[0].owed == {"influx": 30}


async def test_a_value_takes_at_most_fourteen_bytes(tmp_path: Path) -> None:
    """At 100 tags a scan, ten scans a second, two decimals: file size by values, all in (BARS R5)."""
    line = Line(tags=100)
    async with stores_in(tmp_path, max_bytes=2**26) as (_, telemetry):
        for _ in range(300):
            for _ in range(3):
                telemetry.put(line.scan())
            await telemetry.read(0, 0, 1)
    size = (tmp_path / "telemetry.db").stat().st_size
    assert size / (900 * 100) <= 14, size / (900 * 100)


async def test_a_file_that_is_gone_is_told_from_one_that_went_on(tmp_path: Path) -> None:
    """Fresh at the first start and after the file was deleted, not at an ordinary restart."""
    fresh = []
    for boot in range(3):
        if boot == 2:
            for path in tmp_path.glob("telemetry.db*"):
                path.unlink()
        async with stores_in(tmp_path) as (_, telemetry):
            fresh.append(telemetry.fresh)

    assert fresh == [True, False, True]
