"""A disk that fills up under both stores: a small tmpfs.  Needs root."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_kit import draft, evidence_in

from gateway.model import Scan, TagSet, TagSpec
from gateway.store.spans import Spans
from gateway.store.telemetry import Telemetry
from gateway.store.telemetry_file import Shed
from gateway.world import World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """64 MiB of tmpfs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Take all room but `leave` bytes."""
    room = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, room.f_bavail * room.f_frsize - leave))


async def test_a_full_disk_costs_no_evidence_and_exact_telemetry(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full at 30 random points: acknowledged evidence stays, halts are still recorded, gaps are exact (BARS R4)."""
    monkeypatch.setattr("gateway.store.folder.BALLAST_BYTES", 2**18)  # small: that it runs out, too
    monkeypatch.setattr("gateway.store.commits.RETRY_S", 0.05)
    monkeypatch.setattr("gateway.store.commits.RESTOCK_S", 0.05)
    monkeypatch.setattr("gateway.store.telemetry_writer.RETRY_S", 0.05)
    monkeypatch.setattr("gateway.store.telemetry_writer.BACKLOG_VALUES", 20_000)
    dice, tags = random.Random(1), TagSet("d", [TagSpec(f"t{n}") for n in range(100)])
    world, sheds, acked, seq, while_full = World(), list[Shed](), 0, 0, 0
    async with evidence_in(small_disk, world) as evidence:
        telemetry = Telemetry.open(small_disk, writer=evidence.writer, world=world, max_bytes=16 * 2**20)
        telemetry.attend(["influx"])
        telemetry.on_shed(sheds.append)
        for _ in range(30):
            fill(small_disk, dice.randrange(0, 2**17))
            waiting = []
            for _ in range(300):
                for _ in range(5):
                    telemetry.put(Scan(tags, seq, seq, seq, tuple(dice.random() for _ in range(100))))
                    seq += 1
                telemetry._flush()
                waiting.append(evidence.submit([draft(seq)], urgent=True))
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            while_full += sum(sealed.committed.done() for sealed in waiting)
            (small_disk / "filler").unlink()
            async with asyncio.timeout(30):
                await asyncio.gather(*(sealed.committed for sealed in waiting))
                while evidence.degraded or telemetry.degraded:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            acked += len(waiting)
            assert not evidence.failure.done()
        got: list[int] = []
        while pending := telemetry.pending("influx"):
            page = await telemetry.read(*pending[0], 500)
            got += [position - telemetry.base for position in page.positions]
            telemetry.confirm("influx", [(pending[0][0], page.upto)])
        gone = Spans((shed.first - telemetry.base, shed.last - telemetry.base) for shed in sheds)
        assert sorted({*got, *(n for first, last in gone for n in range(first, last + 1))}) == list(range(seq))
        assert len(got) + sum(shed.scans for shed in sheds) == seq
        assert [record.index for record in await evidence.read(-1, 10**6)] == list(range(acked))
        assert 0 < while_full < acked
        await telemetry.close()
    print(f"{acked} records kept, {while_full} of them recorded while full; {seq} scans, {len(got)} kept")  # noqa: T201
