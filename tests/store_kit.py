"""What tests of the stores and the ledger share: a world of its own, drafts, bundles, a disk that loses power."""

from __future__ import annotations

import asyncio
import random
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw

from gateway.errors import StoreError
from gateway.model import Draft, Lane
from gateway.store.evidence import Evidence
from gateway.world import World


def draft(
    number: int, batch: str | None = "B1", *, lane: Lane = Lane.EVIDENCE, kind: str = "weighing.recorded"
) -> Draft:
    """A weighing, as large as a real one."""
    body = {"value": f"1.{number:06d}", "unit": "g", "raw": f"S S      1.{number:06d} g", "person": "anna"}
    return Draft(kind, body, batch=batch, lane=lane)


@asynccontextmanager
async def evidence_in(folder: Path, world: World | None = None, **options: str) -> AsyncIterator[Evidence]:
    """An open store, closed properly at the end."""
    loop = asyncio.get_running_loop()
    store = Evidence.open(folder, gateway_id="line3-gw1", world=world or World(), loop=loop, **options)
    try:
        yield store
    finally:
        await store.close()


async def make_bundle(folder: Path, before: int, count: int, every: int) -> tuple[Path, str]:
    """A bundle of `count` records after `before` foreign ones, a checkpoint each `every`; and the last checkpoint."""
    async with evidence_in(folder) as store:
        store.submit([draft(number, "B0") for number in range(before)])
        for number in range(count - 1):
            # Another batch's record in between belongs to the span all the same.
            store.submit([draft(number, None if number % 10 == 5 else "B1")])
            if number % every == every - 1:
                await store.sign_checkpoint("minute")
        store.submit([draft(count, kind="batch.closed")])
        path = await store.export_bundle("B1", folder / "bundle.zip", {"report.html": b"<h1>B1</h1>"})
        return path, store.checkpoint()


def unpack(path: Path) -> dict[str, bytes]:
    """A bundle's files."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """A bundle of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class _File:
    """A file on a disk with a volatile cache: what was written since the last sync may be lost, sector by sector."""

    def __init__(self) -> None:
        self.now = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []

    def write(self, at: int, data: bytes) -> None:
        _put(self.now, at, data)
        self.pending.append((at, data))

    def truncate(self, size: int) -> None:
        del self.now[size:]
        self.pending.append((size, None))

    def sync(self) -> None:
        for at, data in self.pending:
            if data is None:
                del self.durable[at:]
            else:
                _put(self.durable, at, data)
        self.pending.clear()

    def cut(self, dice: random.Random) -> None:
        """Power is gone: of what was not synced, a random half of the sectors is there."""
        for at, data in self.pending:
            if data is None:
                if dice.random() < 0.5:
                    del self.durable[at:]
                continue
            for start in range(0, len(data), 512):
                if dice.random() < 0.5:
                    _put(self.durable, at + start, data[start : start + 512])
        self.pending.clear()
        self.now = bytearray(self.durable)


def _put(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class PowerDisk(apsw.VFS):
    """An SQLite VFS in memory whose power goes at a chosen operation.  From then on every operation fails."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, "", maxpathname=512)
        self.name = name
        self.dice = random.Random(seed)
        self.files: dict[str, _File] = {}
        self.left: int | None = None
        """Operations until the power goes; None: never."""

    def spend(self) -> None:
        """One operation that changes the disk."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise apsw.IOError("the power is gone")

    def cut(self) -> None:
        """Lose the cache and switch on again."""
        for file in self.files.values():
            file.cut(self.dice)
        self.left = None

    # -- what SQLite calls

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _Open:  # type: ignore[override]  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _Open(self, self.files.setdefault(path, _File()))

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.spend()
        self.files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        return name in self.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xRandomness(self, count: int) -> bytes:  # noqa: N802
        return self.dice.randbytes(count)

    def xSleep(self, us: int) -> int:  # noqa: N802
        return us

    def xCurrentTime(self) -> float:  # noqa: N802
        return 2460000.5

    def xCurrentTimeInt64(self) -> int:  # noqa: N802
        return 212000000000000

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802
        return 0, ""


class _Open:
    """An open file of the disk, as apsw wants it."""

    def __init__(self, disk: PowerDisk, file: _File) -> None:
        self._disk, self._file = disk, file

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._file.now[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.spend()
        self._file.write(offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.spend()
        self._file.truncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.spend()
        self._file.sync()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._file.now)

    def xClose(self) -> None:  # noqa: N802
        pass

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 512

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0


async def power_cuts(folder: Path, cuts: int, seed: int, synchronous: str = "full") -> dict[str, int]:
    """Run the real store through power cuts.

    Counts cuts, acknowledged records, cuts after which an acknowledged record or state was gone, and cuts after
    which the file was refused.
    """
    count = {"cuts": 0, "acked": 0, "lost": 0, "refused": 0}
    dice = random.Random(seed)
    while count["cuts"] < cuts:
        disk = PowerDisk(f"power-{seed}-{count['cuts']}", seed + count["cuts"])
        (folder / "evidence.checkpoint").unlink(missing_ok=True)
        (folder / "evidence.suspect").unlink(missing_ok=True)
        await _one_ledger(folder, disk, dice, min(15, cuts - count["cuts"]), count, synchronous=synchronous)
        disk.unregister()
    return count


async def _one_ledger(
    folder: Path, disk: PowerDisk, dice: random.Random, cuts: int, count: dict[str, int], *, synchronous: str
) -> None:
    """Cut the power over one ledger again and again; begin anew once something was lost."""
    acked: dict[int, bytes] = {}
    latch = -1
    for _ in range(cuts + 1):
        if dice.random() < 0.15:
            disk.left = dice.randrange(10)  # the power goes while the file is being made or opened
        try:
            async with evidence_in(folder, vfs=disk.name, synchronous=synchronous) as store:
                if not store.failure.done():
                    if not await _all_there(store, acked, latch):
                        count["lost"] += 1
                        return
                    disk.left = dice.randrange(3, 150) if disk.left is None else disk.left
                latch = await _work(store, dice, acked, latch)
        except StoreError:
            count["refused"] += 1
            return
        disk.cut()
        count["cuts"] += 1
        count["acked"] += len(acked)


async def _all_there(store: Evidence, acked: dict[int, bytes], latch: int) -> bool:
    found = {record.index: record.hash for record in await store.read(-1, 1_000_000)}
    state = store.load_state("halt").get("filler", -1)
    return found.items() >= acked.items() and state >= latch


async def _work(store: Evidence, dice: random.Random, acked: dict[int, bytes], latch: int) -> int:
    while not store.failure.done():
        some = [draft(number) for number in range(dice.choice((1, 1, 2, 5)))]
        sealed = store.submit(some, {("halt", "filler"): store.size + len(some)}, urgent=True)
        try:
            await sealed.committed
            acked.update({record.index: record.hash for record in sealed.records})
            latch = sealed.records[-1].index + 1
            if dice.random() < 0.1:
                await store.sign_checkpoint("minute")
            if dice.random() < 0.1:
                await store.writer.run(lambda: store._file.db.tidy(0))
        except (StoreError, apsw.Error):
            break
    return latch
