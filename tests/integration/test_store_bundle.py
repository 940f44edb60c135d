"""Evidence bundles: what holds is shown to hold, and whatever is changed is found and named."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from store_kit import draft, evidence_in, make_bundle, pack, unpack

from gateway.errors import StoreError
from gateway.ledger import verify
from gateway.ledger.bundle import Bundle, write_bundle
from gateway.ledger.merkle import Tree, leaf_hash
from gateway.ledger.note import Signer, checkpoint
from gateway.ledger.verify import BadEvidence, verify_bundle

Files = dict[str, bytes]


async def test_a_bundle_holds_and_says_what_it_covers(tmp_path: Path) -> None:
    """The report names span, batch, counts, root and checkpoints; other records in the span are in it."""
    path, witness = await make_bundle(tmp_path, before=37, count=200, every=50)
    report = verify_bundle(path, witness=witness)
    assert (report.batch, report.first, report.last, report.size) == ("B1", 37, 236, 237)
    assert (report.records, report.checkpoints, report.problems) == (200, 4, [])
    assert report.batch_records == 180
    assert report.ledger.startswith("linegate/line3-gw1/")


async def test_without_anything_from_outside_the_report_says_so(tmp_path: Path) -> None:
    """A bundle alone proves only that its own key signed it; and an open batch is named as open."""
    async with evidence_in(tmp_path) as store:
        store.submit([draft(1)])
        path = await store.export_bundle("B1", tmp_path / "b.zip", {})
        report = verify_bundle(path)
        assert len(report.problems) == 2
        assert verify_bundle(path, key=store.key).problems == report.problems[:1]
        with pytest.raises(BadEvidence, match="not by"):
            verify_bundle(path, key=store.key.replace("line3", "line4"))
        with pytest.raises(StoreError, match="no record of batch B9"):
            await store.export_bundle("B9", tmp_path / "c.zip", {})


async def test_the_verifier_runs_alone(tmp_path: Path) -> None:
    """The file by itself, in an isolated interpreter, says 0 and holds, or 1 and the record's number."""
    path, witness = await make_bundle(tmp_path, before=3, count=20, every=10)
    (tmp_path / "witness.txt").write_text(witness)
    alone = tmp_path / "alone"
    alone.mkdir()
    script = alone / "verify.py"
    script.write_bytes(Path(verify.__file__).read_bytes())
    command = [sys.executable, "-I", str(script), str(path), "--witness", str(tmp_path / "witness.txt")]
    good = subprocess.run(command, capture_output=True, text=True, cwd=alone, check=False)  # noqa: ASYNC221
    assert (good.returncode, good.stdout.split(":")[0], good.stderr) == (0, "holds", "")
    files = unpack(path)
    files["records.jsonl"] = files["records.jsonl"].replace(b"1.000007", b"1.000008")
    pack(path, files)
    bad = subprocess.run(command, capture_output=True, text=True, cwd=alone, check=False)  # noqa: ASYNC221
    assert bad.returncode == 1
    assert "DOES NOT HOLD: record 10 " in bad.stdout


def test_the_verifier_is_short_and_leans_on_nothing_of_ours() -> None:
    """At most 300 lines; standard library and cryptography only (BARS R9)."""
    source = Path(verify.__file__).read_text()
    assert len(source.splitlines()) <= 300
    imports = [line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert set(imports) - set(sys.stdlib_module_names) == {"cryptography"}


def lines_of(files: Files) -> list[bytes]:
    return files["records.jsonl"].splitlines()


def put_lines(files: Files, lines: list[bytes]) -> None:
    files["records.jsonl"] = b"".join(line + b"\n" for line in lines)


def edit_bit(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    at = dice.randrange(len(lines))
    line = bytearray(lines[at])
    while (where := dice.randrange(len(line))) >= 0:
        changed = line[where] ^ (1 << dice.randrange(8))
        if changed not in b"\r\n\x0b\x0c\x1c\x1d\x1e\x85":
            break
    line[where] = changed
    lines[at] = bytes(line)
    put_lines(files, lines)
    return at


def edit_value(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    at = dice.randrange(len(lines))
    record = json.loads(lines[at])
    record["body"]["value"] = "1.000"
    lines[at] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    put_lines(files, lines)
    return at


def edit_time_and_hash(files: Files, dice: random.Random) -> int:
    """Changes the record and its entry in hashes.txt: only the next record's link still tells."""
    lines, hashes = lines_of(files), files["hashes.txt"].splitlines()
    at = dice.randrange(len(lines) - 1)
    record = json.loads(lines[at])
    record["time"] = str(int(record["time"]) - 60 * 10**9)
    lines[at] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    hashes[at] = leaf_hash(lines[at]).hex().encode()
    put_lines(files, lines)
    files["hashes.txt"] = b"\n".join(hashes) + b"\n"
    return at


def swap(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    one, two = sorted(dice.sample(range(len(lines)), 2))
    lines[one], lines[two] = lines[two], lines[one]
    put_lines(files, lines)
    return one


def drop(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    at = dice.randrange(len(lines))
    del lines[at]
    put_lines(files, lines)
    return at


def insert(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    at = dice.randrange(1, len(lines))
    lines.insert(at, lines[dice.randrange(at)])
    put_lines(files, lines)
    return at


def truncate(files: Files, dice: random.Random) -> int:
    lines = lines_of(files)
    at = dice.randrange(1, len(lines))
    put_lines(files, lines[:at])
    return at


EDITS: list[Callable[[Files, random.Random], int]] = [
    edit_bit, edit_value, edit_time_and_hash, swap, drop, insert, truncate
]  # fmt: skip


def tamper(path: Path, witness: str, seeds: range) -> int:
    """Edit the bundle in every way; returns how many edits were found, the first bad record rightly named."""
    original, found = unpack(path), 0
    first = verify_bundle(path, witness=witness).first
    for seed in seeds:
        dice, files = random.Random(seed), dict(original)
        edit = EDITS[seed % len(EDITS)]
        at = edit(files, dice)
        changed = pack(path.with_name("changed.zip"), files)
        with pytest.raises(BadEvidence) as caught:
            verify_bundle(changed, witness=witness)
        assert caught.value.index == first + at, (seed, edit.__name__, at, str(caught.value))
        found += 1
    return found


async def test_every_edit_is_found_and_the_first_bad_record_named(tmp_path: Path) -> None:
    """Bit, value, time, swap, drop, insert, truncate: each raises with the index of the first record changed."""
    path, witness = await make_bundle(tmp_path, before=13, count=300, every=100)
    assert tamper(path, witness, range(140)) == 140


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_a_large_export_verifies_in_time_and_tampering_is_found(tmp_path: Path) -> None:
    """30,000 records verify in at most five seconds; 210 random edits of it are all found (BARS R9)."""
    path, witness = await make_bundle(tmp_path, before=100, count=30_000, every=1000)
    start = time.perf_counter()
    verify_bundle(path, witness=witness)
    took = time.perf_counter() - start
    print(f"30,000 records verified in {took:.2f} s; edits found:", tamper(path, witness, range(210)))  # noqa: T201
    assert took <= 5


async def test_damage_inside_the_zip_names_the_record(tmp_path: Path) -> None:
    """A bit flipped in the compressed bytes is an error; inside the records, one that names a record."""
    path, witness = await make_bundle(tmp_path, before=0, count=200, every=50)
    content, named = path.read_bytes(), 0
    for seed in range(60):
        dice, changed = random.Random(seed), bytearray(content)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        try:
            report = verify_bundle(path, witness=witness)
        except BadEvidence as error:
            named += error.index is not None
        else:
            assert report.records == 200, "only what means nothing (a zip's time stamp, say) may differ"
    assert named > 20


def re_signed(files: Files, tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    """The whole bundle made anew by somebody with another key and one value changed."""
    manifest = json.loads(files["manifest.json"])
    lines, frontier = lines_of(files), json.loads(files["frontier.json"])
    lines[5] = lines[5].replace(b'"unit":"g"', b'"unit":"kg"')
    tree = Tree.load(int(frontier["size"]).to_bytes(8, "big") + bytes.fromhex("".join(frontier["nodes"])))
    before = Tree.load(tree.dump())
    hashes: list[bytes] = []
    payloads: list[bytes] = []
    for line in lines:
        record = json.loads(line)
        record["prev"] = hashes[-1].hex() if hashes else record["prev"]
        payloads.append(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
        hashes.append(leaf_hash(payloads[-1]))
        tree.append(hashes[-1])
    signer = Signer(files["key.txt"].decode().split("+")[0], key)
    note = signer.sign(checkpoint(signer.name, tree.size, tree.root()))
    bundle = Bundle(
        gateway_id=manifest["gateway"],
        ledger_id=manifest["ledger"],
        batch=manifest["batch"],
        before=before,
        payloads=payloads,
        hashes=hashes,
        checkpoints=[(tree.size, note)],
        made_ns=0,
        extra={},
    )
    write_bundle(tmp_path / "forged.zip", bundle, signer)
    return tmp_path / "forged.zip"


async def test_another_history_signed_anew_is_found_by_what_was_seen_outside(tmp_path: Path) -> None:
    """With another key the witness does not verify; with the stolen one it shows two histories."""
    path, witness = await make_bundle(tmp_path, before=7, count=50, every=20)
    files = unpack(path)
    forged = re_signed(files, tmp_path, Ed25519PrivateKey.generate())
    assert verify_bundle(forged).problems, "alone it holds, and says that nobody outside vouches for it"
    with pytest.raises(BadEvidence, match="witness: not signed"):
        verify_bundle(forged, witness=witness)
    with pytest.raises(BadEvidence, match="not by"):
        verify_bundle(forged, key=files["key.txt"].decode())
    stolen = load_pem_private_key((tmp_path / "ledger.key").read_bytes(), None)
    assert isinstance(stolen, Ed25519PrivateKey)
    with pytest.raises(BadEvidence, match="two histories") as caught:
        verify_bundle(re_signed(files, tmp_path, stolen), witness=witness)
    assert caught.value.index == 7


async def test_an_old_copy_is_found_by_a_newer_witness(tmp_path: Path) -> None:
    """A bundle exported earlier, shown as if it were all there is, ends before what the witness saw."""
    async with evidence_in(tmp_path) as store:
        store.submit([draft(n) for n in range(10)])
        old = await store.export_bundle("B1", tmp_path / "old.zip", {})
        store.submit([draft(n) for n in range(10)])
        witness = await store.sign_checkpoint("minute")
    with pytest.raises(BadEvidence, match="saw 20 records") as caught:
        verify_bundle(old, witness=witness)
    assert caught.value.index == 10


async def test_every_other_file_is_guarded_too(tmp_path: Path) -> None:
    """Any file changed, dropped or added is named."""
    path, witness = await make_bundle(tmp_path, before=7, count=50, every=20)
    original = unpack(path)
    for name in original:
        if name == "records.jsonl":
            continue
        for content in (original[name] + b"\n", original[name].replace(b"e", b"f", 1), b""):
            if content != original[name] and not (name == "key.txt" and content.strip() == original[name].strip()):
                pack(path, {**original, name: content})
                with pytest.raises(BadEvidence):
                    verify_bundle(path, witness=witness)
        pack(path, {other: content for other, content in original.items() if other != name})
        with pytest.raises(BadEvidence):
            verify_bundle(path, witness=witness)
    pack(path, {**original, "report2.html": b"<h1>"})
    with pytest.raises(BadEvidence, match=r"report2\.html is not what was signed"):
        verify_bundle(path, witness=witness)


async def test_a_file_of_the_bundle_s_own_name_is_refused(tmp_path: Path) -> None:
    """An extra file cannot take the place of the records."""
    async with evidence_in(tmp_path) as store:
        store.submit([draft(1)])
        with pytest.raises(ValueError, match="a name of the bundle"):
            await store.export_bundle("B1", tmp_path / "b.zip", {"records.jsonl": b""})


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"not a zip", sha256(b"").digest() * 100])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    """No traceback, one sentence."""
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(BadEvidence):
        verify_bundle(tmp_path / "x.zip")
