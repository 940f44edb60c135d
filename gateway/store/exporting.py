"""A batch's evidence bundle: the checkpoints that belong in it, and the file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import VerifyError
from gateway.ledger.bundle import Bundle, write_bundle
from gateway.ledger.note import Signer, Verifier
from gateway.store.evidence_file import EvidenceFile
from gateway.store.folder import sync_folder


def checkpoints(file: EvidenceFile, verifier: Verifier, first: int, end: int) -> list[tuple[int, str]]:
    """Size and note of those within a span; the last must hold (VerifyError), a damaged one before it is left out."""
    notes = file.checkpoints(first, end)
    verifier.verify(notes[-1][1])
    return [(size, note) for size, note in notes if _holds(verifier, note)]


def _holds(verifier: Verifier, note: str) -> bool:
    try:
        verifier.verify(note)
    except VerifyError:
        return False
    return True


def write(path: Path, bundle: Bundle, signer: Signer) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    write_bundle(fresh, bundle, signer)
    fresh.replace(path)
    sync_folder(path.parent)
