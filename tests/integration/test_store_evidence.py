"""The evidence store on real files."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from store_kit import PowerDisk, draft, evidence_in

from gateway.errors import StoreError, VerifyError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Verifier, parse_checkpoint
from gateway.model import Draft, Lane
from gateway.store.commits import Commits
from gateway.store.evidence import Cursors, Evidence
from gateway.world import World


async def test_records_are_sealed_at_once_and_readable_when_committed(tmp_path: Path) -> None:
    """Submit gives index, hash and bytes synchronously; read brings the same bytes after the commit."""
    async with evidence_in(tmp_path) as store:
        first = store.submit([draft(1), draft(2)])
        second = store.submit([draft(3)])
        assert [record.index for record in (*first.records, *second.records)] == [0, 1, 2]
        assert store.size == 3
        assert store.committed == -1
        await second.committed
        assert store.committed == 2
        assert await store.read(-1, 10) == [*first.records, *second.records]
        body = json.loads(second.records[0].payload)
        assert body["prev"] == first.records[1].hash.hex()
        assert leaf_hash(second.records[0].payload) == second.records[0].hash


async def test_a_record_says_what_held_when_it_was_made(tmp_path: Path) -> None:
    """The envelope carries ledger, boot, batch, person, context and clock state."""
    world = World()
    async with evidence_in(tmp_path, world) as store:
        store.context["recipe"] = "vape-1g@3#abc"
        sealed = store.submit([Draft("batch.signed", {"step": "clearance"}, batch="B7", by="anna")])
        said = json.loads(sealed.records[0].payload)
        assert set(said) == {
            "v", "ledger", "index", "prev", "time", "boot", "kind", "batch", "by", "context", "body"
        }  # fmt: skip
        assert (said["ledger"], said["boot"], said["by"]) == (store.ledger_id, world.boot_id, "anna")
        assert set(said["context"]) == {"config", "rules", "recipe", "clock"}
        assert said["context"]["clock"] in {"synchronised", "unsynchronised", "unknown"}
        assert said["context"]["recipe"] == "vape-1g@3#abc"


async def test_lanes_and_batches_are_read_apart(tmp_path: Path) -> None:
    """A reader of one lane, or one batch, gets those records in order and no others."""
    async with evidence_in(tmp_path) as store:
        some = [draft(n, "B1" if n % 3 else None, lane=Lane.ALARMS if n % 4 == 0 else Lane.EVIDENCE) for n in range(40)]
        await store.submit(some).committed
        alarms = await store.read(3, 100, lanes=[Lane.ALARMS])
        assert [record.index for record in alarms] == [n for n in range(4, 40) if n % 4 == 0]
        both = await store.read(-1, 100, lanes=[Lane.ALARMS, Lane.EVIDENCE], batch="B1")
        assert [record.index for record in both] == [n for n in range(40) if n % 3]


async def test_a_body_without_canonical_form_seals_nothing(tmp_path: Path) -> None:
    """ValueError, and the next record follows the one before as if nothing had been."""
    async with evidence_in(tmp_path) as store:
        store.submit([draft(1)])
        with pytest.raises(ValueError, match="canonical"):
            store.submit([draft(2), Draft("weighing.recorded", {"value": float("nan")})])
        assert store.size == 1
        await store.submit([draft(3)]).committed
        assert len(await store.read(-1, 10)) == 2


async def test_state_and_records_come_back_together(tmp_path: Path) -> None:
    """After closing and opening: same ledger and records, the newest state, deleted rows gone, cursors as they were."""
    async with evidence_in(tmp_path) as store:
        ledger = store.ledger_id
        store.submit([draft(1)], {("halt", "filler"): {"version": 1}, ("alarm", "a"): [1]})
        store.submit([draft(2)], {("halt", "filler"): {"version": 2}, ("alarm", "a"): None})
        store.advance("mes", handed={Lane.ALARMS: 1, Lane.EVIDENCE: 0}, acknowledged=0)
        store.advance("mes", handed={Lane.EVIDENCE: 1})
    async with evidence_in(tmp_path) as store:
        assert (store.ledger_id, store.size, store.quarantined) == (ledger, 2, None)
        assert store.load_state("halt") == {"filler": {"version": 2}}
        assert store.load_state("alarm") == {}
        assert await store.cursor("mes") == Cursors({Lane.ALARMS: 1, Lane.EVIDENCE: 1}, 0)
        assert await store.cursor("other") == Cursors({}, -1)
        third = store.submit([draft(3)])
        assert json.loads(third.records[0].payload)["prev"] == (await store.read(0, 1))[0].hash.hex()


async def test_listeners_hear_of_commits_and_stop_hearing(tmp_path: Path) -> None:
    """A listener is called with the newest committed index until it says stop."""
    async with evidence_in(tmp_path) as store:
        heard: list[int] = []
        stop = store.listen(heard.append)
        await store.submit([draft(1), draft(2)], urgent=True).committed
        stop()
        await store.submit([draft(3)]).committed
        assert heard == [1]


async def test_a_checkpoint_covers_what_was_submitted_and_verifies(tmp_path: Path) -> None:
    """It is signed over everything submitted before, and is still the newest after a restart."""
    async with evidence_in(tmp_path) as store:
        assert store.checkpoint() == ""
        assert await store.sign_checkpoint("empty") == ""
        store.submit([draft(1), draft(2)])
        note = await store.sign_checkpoint("batch start")
        seen = parse_checkpoint(Verifier.parse(store.key).verify(note))
        assert (seen.size, seen.origin) == (2, f"linegate/line3-gw1/{store.ledger_id}")
        assert "reason batch start" in seen.extra
        with pytest.raises(VerifyError):
            Verifier.parse(store.key).verify(note.replace("\n2\n", "\n3\n"))
    async with evidence_in(tmp_path) as store:
        assert parse_checkpoint(Verifier.parse(store.key).verify(store.checkpoint())).size == 2


async def test_a_second_gateway_is_refused_and_told_who_holds_the_store(tmp_path: Path) -> None:
    """StoreError names the process; the first goes on; once it has closed, the store can be opened again."""
    async with evidence_in(tmp_path) as store:
        with pytest.raises(StoreError, match=rf"another gateway \(pid {os.getpid()}\)"):
            Evidence.open(tmp_path, gateway_id="x", world=World(), loop=asyncio.get_running_loop())
        await store.submit([draft(1)]).committed
    async with evidence_in(tmp_path) as store:
        assert store.size == 1


async def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    """StoreError says what to do, and the store is not left locked."""
    async with evidence_in(tmp_path) as store:
        key = store.key
    assert (tmp_path / "ledger.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "ledger.key").chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        async with evidence_in(tmp_path):
            pass
    (tmp_path / "ledger.key").chmod(0o600)
    async with evidence_in(tmp_path) as store:
        assert store.key == key


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    at = dice.randrange(len(content))
    content[at] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def cut_short(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(dice.randrange(path.stat().st_size))


DAMAGE: list[Callable[[Path, random.Random], None]] = [
    flip,
    flip,
    flip,
    cut_short,
    lambda path, _: path.unlink(),
    lambda path, _: path.write_bytes(b""),
    lambda path, dice: path.write_bytes(dice.randbytes(path.stat().st_size)),
]


async def damaged_starts(folder: Path, seeds: range) -> int:
    """Damage a store's file, start, and see that nothing changed is taken for true; returns the quarantines."""
    quarantined = 0
    async with evidence_in(folder) as store:
        await store.submit([draft(n) for n in range(60)], {("halt", "filler"): {"version": 4}}).committed
        ledger, original = store.ledger_id, await store.read(-1, 100)
    clean = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "ballast"}
    for seed in seeds:
        for path in folder.iterdir():
            if path.name != "ballast":
                path.unlink()
        for name, content in clean.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        dice = random.Random(seed)
        dice.choice(DAMAGE)(folder / "evidence.db", dice)
        async with evidence_in(folder) as store:
            assert not store.failure.done(), (seed, store.failure)
            if store.quarantined is None:
                assert (store.ledger_id, await store.read(-1, 100)) == (ledger, original), seed
                assert store.load_state("halt") == {"filler": {"version": 4}}, seed
            else:
                quarantined += 1
                lost = store.quarantined
                assert store.ledger_id != ledger, seed
                assert (lost.ledger_id, lost.records) == (ledger, 60), seed
                assert 0 <= lost.first_missing <= 60, seed
                assert not lost.file or (folder / lost.file).exists(), seed
                assert store.load_state("halt") in ({}, {"filler": {"version": 4}}), seed
            await store.submit([draft(1)]).committed
    return quarantined


async def test_a_damaged_file_is_set_aside_and_named(tmp_path: Path) -> None:
    """The store starts with everything as it was, or with a new ledger and a name for what is missing; never else."""
    assert await damaged_starts(tmp_path, range(60)) > 20


@pytest.mark.chaos
@pytest.mark.timeout(900)
async def test_a_thousand_damaged_files(tmp_path: Path) -> None:
    """The same, a thousand times (BARS R8)."""
    print("quarantined of 1000:", await damaged_starts(tmp_path, range(1000, 2000)))  # noqa: T201


async def test_a_store_rolled_back_to_an_old_copy_is_noticed(tmp_path: Path) -> None:
    """The checkpoint kept beside the file shows that records are missing; the old ledger is not continued."""
    async with evidence_in(tmp_path) as store:
        await store.submit([draft(n) for n in range(5)]).committed
    old = (tmp_path / "evidence.db").read_bytes()
    async with evidence_in(tmp_path) as store:
        ledger = store.ledger_id
        await store.submit([draft(n) for n in range(5)]).committed
    (tmp_path / "evidence.db").write_bytes(old)
    async with evidence_in(tmp_path) as store:
        assert store.quarantined is not None
        assert (store.quarantined.first_missing, store.quarantined.records) == (5, 10)
        assert store.ledger_id != ledger


async def _signed(folder: Path, times: int) -> None:
    async with evidence_in(folder) as store:
        for number in range(times):
            await store.submit([draft(number)]).committed
            await store.sign_checkpoint("minute")


async def _beside(folder: Path) -> str:
    async with evidence_in(folder) as store:
        assert store.quarantined is None
        return store.beside


async def test_a_checkpoint_file_that_is_gone_old_or_damaged_is_told(tmp_path: Path) -> None:
    """The ledger is sound and goes on; that its witness was taken away or put back is said, once."""
    tip = tmp_path / "evidence.checkpoint"
    await _signed(tmp_path, 2)
    old = tip.read_bytes()
    await _signed(tmp_path, 3)
    assert await _beside(tmp_path) == ""
    tip.unlink()
    assert "is gone" in await _beside(tmp_path)
    assert await _beside(tmp_path) == "", "the close signed again"
    tip.write_bytes(old)
    assert "is of record 2, the ledger was signed up to 5" in await _beside(tmp_path)
    tip.write_bytes(old[:-9] + b"xxxxxxxx\n")
    assert "put aside as evidence.checkpoint.damaged-1" in await _beside(tmp_path)


async def test_a_kill_between_signing_and_keeping_is_no_theft(tmp_path: Path) -> None:
    """The last but one stands beside the file, or none after the very first: that is how a kill leaves it."""
    tip = tmp_path / "evidence.checkpoint"
    await _signed(tmp_path, 1)
    tip.unlink()
    assert await _beside(tmp_path) == ""
    before = tip.read_bytes()
    await _signed(tmp_path, 1)
    tip.write_bytes(before)
    assert await _beside(tmp_path) == ""


async def test_a_ledger_that_was_begun_says_so(tmp_path: Path) -> None:
    """The first start of all, and the one after somebody took ledger and checkpoint."""
    for _ in range(2):
        async with evidence_in(tmp_path) as store:
            assert store.began
            await store.submit([draft(0)]).committed
        async with evidence_in(tmp_path) as store:
            assert not store.began
        for name in ("evidence.db", "evidence.checkpoint"):
            (tmp_path / name).unlink()


async def test_a_full_disk_degrades_and_recovers_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost and nothing answered while there is no room; with room again all is committed, in order."""
    monkeypatch.setattr("gateway.store.commits.RETRY_S", 0.02)
    monkeypatch.setattr("gateway.store.commits.RESTOCK_S", 0.02)
    async with evidence_in(tmp_path) as store:
        said: list[str] = []
        store.watch(said.append)
        await store.submit([draft(0)]).committed
        limit = store._file.db.connection.pragma
        await store.writer.run(lambda: limit("max_page_count", int(limit("page_count")) + 4))
        sealed = [store.submit([draft(n)], urgent=True) for n in range(1, 200)]
        async with asyncio.timeout(10):
            while "nothing is being recorded" not in store.degraded:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert not (tmp_path / "ballast").exists()
        assert not sealed[-1].committed.done()
        await store.writer.run(lambda: limit("max_page_count", 10**6))
        async with asyncio.timeout(10):
            await asyncio.gather(*(one.committed for one in sealed))
            while store.degraded:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert [record.index for record in await store.read(-1, 1000)] == list(range(200))
        assert said[-1] == ""
        assert (tmp_path / "ballast").exists()


async def test_after_an_io_error_nothing_is_acknowledged(tmp_path: Path) -> None:
    """Failure is set, waiting and later submits fail, and the next start examines the file and goes on."""
    disk = PowerDisk("io-error", 1)
    async with evidence_in(tmp_path, vfs=disk.name) as store:
        await store.submit([draft(0)]).committed
        disk.left = 2
        sealed = store.submit([draft(1)], urgent=True)
        with pytest.raises(StoreError, match="cannot be stored"):
            await sealed.committed
        assert store.failure.done()
        with pytest.raises(StoreError):
            await store.submit([draft(2)]).committed
        with pytest.raises(StoreError):
            await store.sign_checkpoint("minute")
    assert (tmp_path / "evidence.suspect").exists()
    disk.cut()
    async with evidence_in(tmp_path, vfs=disk.name) as store:
        assert store.size >= 1
        assert not store.failure.done()
    disk.unregister()


async def test_without_a_writable_folder_the_gateway_still_starts(tmp_path: Path) -> None:
    """Failure is set from the start; nothing is recorded, nothing is acknowledged."""
    (tmp_path / "evidence.db").mkdir()
    async with evidence_in(tmp_path) as store:
        assert "cannot be stored" in str(store.failure.result())
        with pytest.raises(StoreError):
            await store.submit([draft(1)]).committed


async def test_many_submits_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand submits in one turn of the loop take a handful of transactions."""
    commits: list[int] = []
    original = Commits._done
    monkeypatch.setattr(Commits, "_done", lambda self, groups: (commits.append(len(groups)), original(self, groups)))
    async with evidence_in(tmp_path) as store:
        sealed = [store.submit([draft(n)]) for n in range(1000)]
        await sealed[-1].committed
        assert sum(commits) == 1000
        assert len(commits) <= 6


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_kit import PowerDisk, draft, evidence_in
async def main():
    async with evidence_in(Path(sys.argv[1])) as store:
        while True:
            sealed = store.submit([draft(store.size)], {("halt", "filler"): store.size + 1})
            if store.size % 7 == 0:
                await sealed.committed
                print(store.size, flush=True)
            if store.size % 50 == 0:
                await store.sign_checkpoint("minute")
asyncio.run(main())
"""


async def kills(folder: Path, rounds: int) -> int:
    """Kill -9 a process that appends, at random moments; returns how many records were acknowledged in all."""
    dice = random.Random(rounds)
    acked = 0
    for _ in range(rounds):
        command = [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parents[1])]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        assert child.stdout is not None
        for _ in range(dice.randrange(1, 40)):
            acked = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")[:-1]
        acked = max([acked, *map(int, filter(str.isdigit, rest))])
        child.wait()
        child.stdout.close()
        async with evidence_in(folder) as store:
            assert store.quarantined is None
            assert store.size >= acked
            assert store.load_state("halt")["filler"] == store.size
    return acked


@pytest.mark.timeout(300)
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After each SIGKILL the file opens whole, with every acknowledged record and the state of the newest one."""
    assert await kills(tmp_path, 4) > 20


@pytest.mark.chaos
@pytest.mark.timeout(900)
async def test_two_hundred_kills(tmp_path: Path) -> None:
    """The same, two hundred times (BARS R1, the store's part)."""
    print("acknowledged through 200 kills:", await kills(tmp_path, 200))  # noqa: T201
