"""The evidence bundle: one zip that `verify.py` checks without us.

manifest.json     what is in it, canonical JSON, with the SHA-256 of every other file
manifest.sig      signed note over the manifest's hash
records.jsonl     the records' exact bytes, one a line, the batch's whole span of the ledger without a hole
hashes.txt        the leaf hash of each, in hex: names the record that was changed
frontier.json     the tree before the span
checkpoints/<size>.txt   signed checkpoints within the span, the last one at its end
key.txt           the verifier key; compare it with one you had from elsewhere
...               what else belongs to the batch: the report, its plots
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from gateway.ledger.canonical import canonical
from gateway.ledger.merkle import Tree
from gateway.ledger.note import Signer

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
OWN: Final = frozenset({MANIFEST, SIGNATURE, "records.jsonl", "hashes.txt", "frontier.json", "key.txt"})


class Bundle(msgspec.Struct, frozen=True):
    """What goes into one."""

    gateway_id: str
    ledger_id: str
    batch: str
    before: Tree
    """The tree of all records before the span."""
    payloads: Sequence[bytes]
    hashes: Sequence[bytes]
    checkpoints: Sequence[tuple[int, str]]
    """Size and signed note of each within the span; the last covers it to the end."""
    made_ns: int
    extra: Mapping[str, bytes]


def write_bundle(path: Path, bundle: Bundle, signer: Signer) -> None:
    """Write the zip.  Raises OSError, and ValueError where an extra file takes a name of ours."""
    files = _files(bundle, signer)
    manifest = canonical(_manifest(bundle, files))
    signature = signer.sign(f"linegate bundle manifest\nsha256 {sha256(manifest).hexdigest()}\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in ((MANIFEST, manifest), (SIGNATURE, signature.encode()), *files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _files(bundle: Bundle, signer: Signer) -> dict[str, bytes]:
    for name in bundle.extra:
        if name in OWN or name.startswith("checkpoints/"):
            raise ValueError(f"{name} is a name of the bundle itself")
    frontier = {"size": str(bundle.before.size), "nodes": [node.hex() for node in bundle.before.nodes]}
    return {
        **bundle.extra,
        "key.txt": f"{signer.verifier}\n".encode(),
        "frontier.json": canonical(frontier),
        **{f"checkpoints/{size}.txt": note.encode() for size, note in bundle.checkpoints},
        "hashes.txt": b"".join(digest.hex().encode() + b"\n" for digest in bundle.hashes),
        "records.jsonl": b"".join(payload + b"\n" for payload in bundle.payloads),
    }


def _manifest(bundle: Bundle, files: Mapping[str, bytes]) -> dict[str, object]:
    first = bundle.before.size
    return {
        "format": "linegate evidence bundle",
        "v": 1,
        "gateway": bundle.gateway_id,
        "ledger": bundle.ledger_id,
        "batch": bundle.batch,
        "first": str(first),
        "last": str(first + len(bundle.payloads) - 1),
        "made": str(bundle.made_ns),
        "files": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
