"""Opening the evidence file: examine it, or set it aside and begin a new ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import StoreError, VerifyError
from gateway.ledger.note import Checkpoint, Signer, Verifier, parse_checkpoint, split
from gateway.store.commits import SUSPECT
from gateway.store.evidence_file import Damaged, EvidenceFile, StateRow
from gateway.store.folder import drop_ballast, fill_ballast, set_aside, signing_key
from gateway.world import World

log = structlog.get_logger()

FILE: Final = "evidence.db"
TIP: Final = "evidence.checkpoint"
"""The newest checkpoint, kept beside the file: shows a file that was lost, cut or rolled back."""

_NOT_DAMAGE: Final = (
    apsw.FullError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.PermissionsError,
    apsw.IOError,
)


class Quarantine(msgspec.Struct, frozen=True):
    """A damaged ledger that was set aside, and what can no longer be vouched for."""

    file: str
    """Its new name in the folder; empty where the file was gone altogether."""
    reason: str
    ledger_id: str
    """Empty where not even that could be read."""
    first_missing: int
    """First record of it that cannot be vouched for."""
    records: int
    """How many it had, as far as is known: at least the last signed checkpoint's size."""
    state_kept: int
    """Rows of the line's state that were intact and stand in the new ledger."""


class Opened(msgspec.Struct):
    """An open ledger."""

    file: EvidenceFile
    ledger_id: str
    signer: Signer
    quarantined: Quarantine | None = None
    failure: StoreError | None = None
    began: bool = False
    """There was no ledger here: a new one was begun, as at the first start of all."""
    beside: str = ""
    """What is wrong with the checkpoint that is kept beside the file: gone, damaged, an older one; empty: nothing."""


def origin(gateway_id: str, ledger_id: str) -> str:
    """The log's name in its checkpoints, and of its key."""
    clean = "".join("-" if mark.isspace() or mark == "+" else mark for mark in gateway_id)
    return f"linegate/{clean}/{ledger_id}"


def open_ledger(folder: Path, gateway_id: str, world: World, *, vfs: str | None, synchronous: str) -> Opened:
    """Open, or quarantine and begin anew, or (where nothing can be written) a ledger in memory with its `failure`."""
    try:
        key = signing_key(folder)
    except OSError as error:
        unwritable = StoreError(f"nothing can be written in {folder}: {error.strerror}")
        return _Opener(folder, gateway_id, world, Ed25519PrivateKey.generate()).in_memory(unwritable)
    opener = _Opener(folder, gateway_id, world, key, vfs=vfs, synchronous=synchronous)
    try:
        fill_ballast(folder)
        return opener.open()
    except (apsw.Error, OSError) as error:
        if isinstance(error, apsw.BusyError):
            raise StoreError(f"{folder / FILE} is open in another program: close it first") from error
        log.exception("evidence cannot be stored", folder=str(folder))
        return opener.in_memory(StoreError(f"evidence cannot be stored in {folder}: {error}"))


class _Opener:
    def __init__(
        self,
        folder: Path,
        gateway_id: str,
        world: World,
        key: Ed25519PrivateKey,
        *,
        vfs: str | None = None,
        synchronous: str = "full",
    ) -> None:
        self._folder, self._gateway_id, self._world = folder, gateway_id, world
        self._vfs, self._synchronous = vfs, synchronous
        self._path = folder / FILE
        self._key = key
        self._beside = ""

    def open(self) -> Opened:
        tip = self._tip()
        try:
            return self._existing(tip)
        except apsw.FullError:
            if not drop_ballast(self._folder):
                raise
            return self.open()
        except Damaged as damage:
            return self._quarantine(str(damage), damage.first, tip)
        except _NOT_DAMAGE:
            raise
        except (apsw.Error, VerifyError, msgspec.MsgspecError, ValueError) as error:
            return self._quarantine(f"{type(error).__name__}: {error}", 0, tip)

    def _existing(self, tip: Checkpoint | None) -> Opened:
        file = EvidenceFile(self._path, self._vfs, synchronous=self._synchronous)
        try:
            if file.fresh:
                if tip is not None:
                    raise Damaged("the file is gone", 0)
                opened = self._begin(file)
                opened.began, opened.beside = True, self._beside
                return opened
            signer = self._signer(file.meta())
            if tip is not None and tip.origin != signer.name:
                raise Damaged("another ledger's file is in its place", 0)
            suspect = self._folder / SUSPECT
            file.examine(signer.verifier, tip, whole=suspect.exists())
            suspect.unlink(missing_ok=True)
            beside = self._beside or _behind(file, tip)
            return Opened(file, file.meta()["ledger_id"], signer, beside=beside)
        except BaseException:  # boundary: whatever it was goes on, but no connection stays behind
            file.db.abandon()
            raise

    def _signer(self, meta: dict[str, str]) -> Signer:
        if not {"ledger_id", "gateway_id", "vkey"} <= meta.keys():
            raise Damaged("the ledger's name is gone", 0)
        signer = Signer(origin(meta["gateway_id"], meta["ledger_id"]), self._key)
        if str(signer.verifier) != meta["vkey"]:
            raise Damaged("the signing key is not the one this ledger was begun with", 0)
        return signer

    def _begin(self, file: EvidenceFile, state: Sequence[StateRow] = ()) -> Opened:
        ledger_id = self._world.random_id()
        signer = Signer(origin(self._gateway_id, ledger_id), self._key)
        meta = {"ledger_id": ledger_id, "gateway_id": self._gateway_id, "vkey": str(signer.verifier)}
        file.begin(meta, state)
        return Opened(file, ledger_id, signer)

    def in_memory(self, failure: StoreError) -> Opened:
        opened = self._begin(EvidenceFile(Path(":memory:")))
        opened.failure = failure
        return opened

    def _quarantine(self, reason: str, first: int, tip: Checkpoint | None) -> Opened:
        if self._vfs is not None:
            raise StoreError(f"damaged: {reason}")
        ledger_id, records, state = self._salvage()
        was_there = self._path.exists() and self._path.stat().st_size > 0
        aside = set_aside(self._path)
        if tip is not None:
            ledger_id, records = tip.origin.rpartition("/")[2], max(records, tip.size)
            set_aside(self._folder / TIP)
        (self._folder / SUSPECT).unlink(missing_ok=True)
        opened = self._begin(EvidenceFile(self._path, synchronous=self._synchronous), state)
        name = aside.name if was_there else ""
        opened.quarantined = Quarantine(name, reason, ledger_id, min(first, records), records, len(state))
        log.error("evidence quarantined", file=name, reason=reason, first_missing=first, records=records)
        return opened

    def _salvage(self) -> tuple[str, int, list[StateRow]]:
        """What a damaged file still says, as far as it can be read: ledger, records, state."""
        try:
            file = EvidenceFile(self._path)
        except apsw.Error:
            return "", 0, []
        ledger_id, records, state = "", 0, list[StateRow]()
        try:
            ledger_id = file.meta().get("ledger_id", "")
            records = file.count()
            state.extend(row for row in file.state() if row[0] != "cursor")
        except (apsw.Error, UnicodeDecodeError) as error:
            log.warning("damaged file read in part", reason=str(error), state_rows=len(state))
        finally:
            file.db.abandon()
        return ledger_id, records, state

    def _tip(self) -> Checkpoint | None:
        """The checkpoint kept beside the file; a damaged one is set aside and tells nothing."""
        path = self._folder / TIP
        try:
            note = path.read_text(encoding="utf-8")
            text, _ = split(note)
            seen = parse_checkpoint(text)
            Verifier(seen.origin, self._key.public_key().public_bytes_raw()).verify(note)
        except FileNotFoundError:
            return None
        except (VerifyError, UnicodeDecodeError) as error:
            log.warning("the checkpoint beside the ledger is damaged", file=str(path), reason=str(error))
            self._beside = f"{TIP} was damaged ({error}); it was put aside as {set_aside(path).name}"
            return None
        return seen


def _behind(file: EvidenceFile, tip: Checkpoint | None) -> str:
    """Each checkpoint is kept beside the file as soon as it is in it: after a kill, the last but one may stand there.

    An older one, or none, was taken away or put back, or could not be written: it witnesses nothing since.
    """
    newest, before = file.newest_sizes()
    if before is None or (tip is not None and tip.size >= before):
        return ""
    if tip is None:
        return f"{TIP} is gone: the ledger itself has checkpoints up to record {newest}, and nothing beside it says so"
    return (
        f"{TIP} is of record {tip.size}, the ledger was signed up to {newest}: an older copy was put in its place, or "
        "it could not be written"
    )
