# ruff: noqa: T201  # it is a program of its own
"""Verify an evidence bundle without the gateway: `python verify.py BUNDLE [--witness NOTE] [--key VKEY]`.

Needs Python and `cryptography` only, and shares no code with the gateway that wrote the bundle.  Checked is that the
bundle's key signed every checkpoint and the manifest (C2SP notes, Ed25519), that the records lead to the Merkle root
(RFC 6962) of every checkpoint to the end, each with its index and its predecessor's hash, and that every other file is
the one the manifest names.  Whoever holds the key can sign another history: a checkpoint seen outside is the witness.
"""

from __future__ import annotations

import argparse
import base64
import json
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LIMIT = 2**31  # bytes of one file in a bundle; what claims to be larger is refused
ENDS = frozenset({"batch.completed", "batch.closed"})


class BadEvidence(Exception):  # noqa: N818  # the word an auditor reads
    """The bundle does not hold.  `index` is the first bad record, None where it is not one record."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class Report(NamedTuple):
    """What a bundle that holds says.  Records `first` to `last`; `size` and `root` by its last checkpoint."""

    ledger: str
    batch: str
    records: int
    batch_records: int
    first: int
    last: int
    size: int
    root: str
    key: str
    checkpoints: int
    problems: list[str]  # what the proof does not cover


class _Key:
    """A C2SP verifier key: name+id+base64(0x01 || public key)."""

    def __init__(self, vkey: str) -> None:
        self.text = vkey.strip()
        name, _, rest = self.text.partition("+")
        said, _, encoded = rest.partition("+")
        raw = self._decode(encoded, "key.txt")
        self.name, self.id = name, sha256(name.encode() + b"\n" + raw).digest()[:4]
        if len(raw) != 33 or raw[0] != 1 or self.id.hex() != said:
            raise BadEvidence("key.txt: not an Ed25519 verifier key")
        self._public = Ed25519PublicKey.from_public_bytes(raw[1:])

    def open(self, note: bytes, what: str) -> str:
        """The text of a note this key signed."""
        text, _, tail = note.decode(errors="replace").rpartition("\n\n")
        for line in tail.splitlines():
            dash, name, encoded = [*line.split(" "), "", ""][:3]
            signed = self._decode(encoded, what) if (dash, name) == ("\N{EM DASH}", self.name) else b""
            if signed[:4] == self.id:
                try:
                    self._public.verify(signed[4:], (text + "\n").encode())
                except InvalidSignature:
                    raise BadEvidence(f"{what}: the signature is wrong") from None
                return text + "\n"
        raise BadEvidence(f"{what}: not signed by {self.name}+{self.id.hex()}")

    def checkpoint(self, note: bytes, what: str) -> tuple[int, bytes]:
        """Size and root of a signed checkpoint of this ledger."""
        lines = self.open(note, what).split("\n")
        if len(lines) < 4 or lines[0] != self.name or not (lines[1].isascii() and lines[1].isdigit()):
            raise BadEvidence(f"{what}: not a checkpoint of {self.name}")
        return int(lines[1]), self._decode(lines[2], what)

    @staticmethod
    def _decode(text: str, what: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise BadEvidence(f"{what}: not base64") from None


class _Tree:
    """RFC 6962 frontier: roots of the perfect subtrees, largest first."""

    def __init__(self, said: dict[str, Any]) -> None:
        try:
            self.size, self.nodes = int(said["size"]), [bytes.fromhex(node) for node in said["nodes"]]
        except (KeyError, TypeError, ValueError):
            self.size, self.nodes = -1, []
        if self.size < 0 or [len(node) for node in self.nodes] != [32] * self.size.bit_count():
            raise BadEvidence("frontier.json: not a tree")

    def append(self, leaf: bytes) -> None:
        at = self.size
        while at & 1:
            leaf = sha256(b"\x01" + self.nodes.pop() + leaf).digest()
            at >>= 1
        self.nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        root = self.nodes[-1] if self.nodes else sha256(b"").digest()
        for node in self.nodes[-2::-1]:
            root = sha256(b"\x01" + node + root).digest()
        return root


class _Files:
    """The zip's content.  A file that cannot be unpacked to its end is known as far as it goes."""

    def __init__(self, path: Path) -> None:
        self.content: dict[str, bytes] = {}
        self.broken: set[str] = set()
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if entry.filename in self.content or entry.file_size > LIMIT:
                        raise BadEvidence(f"{entry.filename}: stands twice in the bundle, or is too large")
                    self._read(archive, entry)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
            raise BadEvidence(f"{path}: not a readable bundle: {error}") from error

    def _read(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        content = bytearray()
        try:
            with archive.open(entry) as file:
                while part := file.read(4096):
                    content += part
        except (zipfile.BadZipFile, zlib.error, EOFError):
            self.broken.add(entry.filename)
        self.content[entry.filename] = bytes(content)

    def raw(self, name: str) -> bytes:
        if name in self.broken or name not in self.content:
            raise BadEvidence(f"{name} is {'damaged' if name in self.content else 'missing'}")
        return self.content[name]

    def json(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self.raw(name)))
        except (ValueError, TypeError):
            raise BadEvidence(f"{name}: not a JSON object") from None


def verify_bundle(path: str | Path, *, witness: str | None = None, key: str | None = None) -> Report:
    """Check a bundle.  `witness`: text of a checkpoint note seen outside; `key`: the vkey you expect.

    Raises BadEvidence, naming the first bad record where it is one.
    """
    files = _Files(Path(path))
    signer = _Key(files.raw("key.txt").decode(errors="replace"))
    if key is not None and key.strip() != signer.text:
        raise BadEvidence(f"key.txt: signed by {signer.text}, not by {key.strip()}")
    roots = _checkpoints(files, signer)
    checkpoints, end, tree = len(roots), max(roots), _Tree(files.json("frontier.json"))
    first, root = tree.size, roots[end].hex()
    problems = _hold_witness(signer, witness, roots, first, end)
    span = _Span(files, first)
    _replay(tree, span, roots, end)
    heads = span.chain(signer.name.rpartition("/")[2])
    manifest = _manifest(files, signer, first, end)
    batch = str(manifest.get("batch"))
    own = [kind for kind, of in heads if of == batch]
    if heads[0][1] != batch:
        raise BadEvidence(f"the span does not begin with a record of batch {batch}", first)
    if not ENDS & set(own):
        problems.append(f"batch {batch} has no end in this bundle (no record of {' or '.join(sorted(ENDS))})")
    if witness is None and key is None:
        problems.append("no checkpoint seen outside and no key to compare with: the key is the bundle's own word")
    counts = len(heads), len(own), first, end - 1, end
    return Report(signer.name, batch, *counts, root, signer.text, checkpoints, problems)


def _checkpoints(files: _Files, signer: _Key) -> dict[int, bytes]:
    roots: dict[int, bytes] = {}
    for name in files.content:
        if name.startswith("checkpoints/"):
            size, root = signer.checkpoint(files.raw(name), name)
            roots[size] = root
    if not roots:
        raise BadEvidence("checkpoints/ is missing: nothing here is signed")
    return roots


def _hold_witness(signer: _Key, note: str | None, roots: dict[int, bytes], first: int, end: int) -> list[str]:
    """What the witness saw becomes one more root to be met."""
    if note is None:
        return []
    size, root = signer.checkpoint(note.encode(), "witness")
    if size > end:
        raise BadEvidence(f"the witness saw {size} records, the bundle ends after record {end - 1}", end)
    if size < first:
        return [f"the witness saw {size} records, the bundle begins at record {first}: an older one proves nothing"]
    if roots.setdefault(size, root) != root:
        raise BadEvidence(f"two histories were signed at {size} records: this one is not what the witness saw", first)
    return []


class _Span:
    """The records' lines and leaf hashes; beside them the hashes as written, unsigned: to find what was changed."""

    def __init__(self, files: _Files, first: int) -> None:
        self.first = first
        self.lines = files.content.get("records.jsonl", b"").removesuffix(b"\n").split(b"\n")
        self.leaves = [sha256(b"\x00" + line).digest() for line in self.lines]
        self._hashes = files.content.get("hashes.txt", b"").decode(errors="replace").split()

    def chain(self, ledger: str | None = None) -> list[tuple[str, object]]:
        """Kind and batch of each; each has its index and its predecessor's hash."""
        heads: list[tuple[str, object]] = []
        for index, line in enumerate(self.lines, self.first):
            try:
                head = json.loads(line)
                at, prev, said = head["index"], head["prev"], head["ledger"]
                heads.append((str(head["kind"]), head["batch"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise BadEvidence(f"record {index} is not a record", index) from None
            if at != index or (ledger is not None and said != ledger):
                raise BadEvidence(f"record {index} is missing, or another stands in its place", index)
            if index > self.first and prev != self.leaves[index - self.first - 1].hex():
                raise BadEvidence(f"record {index - 1} is not the one that record {index} follows", index - 1)
        return heads

    def locate(self, good: int, end: int) -> BadEvidence:
        """The first bad record: by its own hash, else by the chain, else as near as the checkpoints tell."""
        for index, (leaf, said) in enumerate(zip(self.leaves, self._hashes, strict=False), self.first):
            if index >= good and leaf.hex() != said:
                return BadEvidence(f"record {index} is not what was signed", index)
        try:
            self.chain()
        except BadEvidence as error:
            return error
        have = self.first + len(self.lines)
        if have < end:
            return BadEvidence(f"record {have} is missing", have)
        if have > end == good:
            return BadEvidence(f"record {end} was added after the last checkpoint", end)
        return BadEvidence(f"records {good} to {end - 1}, or the tree before them, are not what was signed", good)


def _replay(tree: _Tree, span: _Span, roots: dict[int, bytes], end: int) -> None:
    good = tree.size
    if good in roots and tree.root() != roots[good]:
        raise BadEvidence("frontier.json: the tree before the span is not the one that was signed")
    for leaf in span.leaves:
        tree.append(leaf)
        if tree.size in roots:
            if tree.root() != roots[tree.size]:
                raise span.locate(good, tree.size)
            good = tree.size
    if tree.size != end:
        raise span.locate(good, end)


def _manifest(files: _Files, signer: _Key, first: int, end: int) -> dict[str, Any]:
    signed = signer.open(files.raw("manifest.sig"), "manifest.sig")
    if signed != f"linegate bundle manifest\nsha256 {sha256(files.raw('manifest.json')).hexdigest()}\n":
        raise BadEvidence("manifest.json is not what was signed")
    manifest = files.json("manifest.json")
    if (manifest.get("first"), manifest.get("last")) != (str(first), str(end - 1)):
        raise BadEvidence("manifest.json is of another bundle")
    named = dict(manifest.get("files", {}))
    for name in sorted({*named, *files.content} - {"manifest.json", "manifest.sig"}):
        if name not in named or sha256(files.raw(name)).hexdigest() != named[name]:
            raise BadEvidence(f"{name} is not what was signed")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    """0: it holds; 1: it does not."""
    parser = argparse.ArgumentParser(description="Verify an evidence bundle.")
    parser.add_argument("bundle")
    parser.add_argument("--witness", type=Path, help="file with a checkpoint note seen outside (MES, printed report)")
    parser.add_argument("--key", help="the verifier key you expect")
    asked = parser.parse_args(arguments)
    try:
        note = asked.witness.read_text(encoding="utf-8") if asked.witness else None
        report = verify_bundle(asked.bundle, witness=note, key=asked.key)
    except (BadEvidence, OSError, UnicodeDecodeError) as error:
        print(f"DOES NOT HOLD: {error}")
        return 1
    print(f"holds: batch {report.batch}, records {report.first} to {report.last}, {report.checkpoints} checkpoints")
    print(f"root {report.root} at {report.size} records", f"key {report.key}", *report.problems, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
