r"""The latch: one hold request to one device for one cause, from request to release.  Pure.

A halt is an operational hold request to the machine's own controller, read back and latched.  It is a quality
function.  It is never a safety function, an e-stop or an interlock.

    requested --> commanded --> confirmed --> released
         \____________\___________/ \____________ (left held: requested again, same latch)
                failed: not confirmed in time; still latched, still tried
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import HaltOrder, HaltProof, Json, Lane
from gateway.verdicts import Verdict

CONFIRM_WITHIN_NS: Final = 1_850_000_000
"""Not confirmed this long after the request: HALT FAILED, at the top lane (DESIGN 3).

Two seconds after the request it is shown, on a busy machine, too: what a late loop and showing take is left for them.
"""
TRIES: Final = 3
"""Attempts within that time; after it, one a second."""


class HaltState(StrEnum):
    REQUESTED = "requested"
    COMMANDED = "commanded"
    CONFIRMED = "confirmed"
    FAILED = "failed"


WAITING: Final = frozenset({HaltState.REQUESTED, HaltState.COMMANDED})
"""Neither confirmed nor failed yet."""


class Needs(StrEnum):
    """What a release needs beside a person, a reason and the version seen."""

    CONDITION_GONE = "condition gone"
    RECALIBRATION = "recalibration"
    CORRECTION = "correction"


class Halt(msgspec.Struct, frozen=True):
    """A latch.  Exists from the request to the release; what was released is history in the ledger."""

    id: str
    device: str
    rule: str
    text: str
    needs: Needs
    state: HaltState
    version: int
    """Grows with each new occurrence, failure or re-assertion: a release names the one its person saw."""
    batch: str | None
    sampled_ns: int
    judged_ns: int
    commanded_ns: int | None = None
    confirmed_ns: int | None = None
    tries: int = 0
    proof: str = ""
    trouble: str = ""
    """Why it is not confirmed."""
    suspects: tuple[str, ...] = ()

    def order(self) -> HaltOrder:
        return HaltOrder(self.id, self.device, self.rule, self.text, self.judged_ns, self.version)

    def body(self, **more: Json) -> dict[str, Json]:
        """The body of a `halt.*` record: four stamps, state, what the machine said."""
        return {
            "halt": self.id,
            "device": self.device,
            "rule": self.rule,
            "version": self.version,
            "text": self.text,
            "needs": self.needs.value,
            "state": self.state.value,
            "tries": self.tries,
            "proof": self.proof,
            "trouble": self.trouble,
            "suspects": list(self.suspects),
            "sampled": str(self.sampled_ns),
            "judged": str(self.judged_ns),
            "commanded": _ns(self.commanded_ns),
            "confirmed": _ns(self.confirmed_ns),
            **more,
        }


LANE: Final = Lane.ALARMS


class Released(msgspec.Struct, frozen=True):
    """What a released latch leaves behind."""

    device: str
    version: int
    """Versions go on counting, so that a release of what was seen never takes off what was not."""
    moved: bool = False
    """The machine was seen moving since: until then it is no news that it stands."""
    owed: bool = False
    """Our hold output was not withdrawn since: the device was away, or its memory is spared.  Outlives a restart."""


def requested(  # a verdict, where it holds, and its stamps
    previous: Halt | None,
    verdict: Verdict,
    device: str,
    needs: Needs,
    batch: str | None,
    sampled_ns: int,
    now_ns: int,
    *,
    version: int = 1,
) -> Halt:
    """A verdict asks for a hold.  A latch that stands already keeps its state and stamps, and grows a version.

    `version`: of a fresh latch; one more than the last one of this name had.
    """
    if previous is not None:
        merged = tuple(dict.fromkeys(previous.suspects + verdict.suspects))
        needs = previous.needs if previous.needs is Needs.RECALIBRATION else needs
        return msgspec.structs.replace(
            previous, version=previous.version + 1, text=verdict.text, needs=needs, suspects=merged
        )
    return Halt(
        id=f"{device}:{verdict.rule}",
        device=device,
        rule=verdict.rule,
        text=verdict.text,
        needs=needs,
        state=HaltState.REQUESTED,
        version=version,
        batch=batch,
        sampled_ns=sampled_ns,
        judged_ns=now_ns,
        suspects=verdict.suspects,
    )


def commanded(halt: Halt, now_ns: int) -> Halt:
    """The station begins an attempt.  The stamp is the first one's.

    Of a latch that was confirmed (its device was away since) it is the first of a new request: the old proof is none.
    """
    if halt.state is HaltState.CONFIRMED:
        halt = msgspec.structs.replace(halt, commanded_ns=None, confirmed_ns=None, tries=0, proof="")
    state = HaltState.FAILED if halt.state is HaltState.FAILED else HaltState.COMMANDED
    return msgspec.structs.replace(halt, state=state, commanded_ns=halt.commanded_ns or now_ns, tries=halt.tries + 1)


def confirmed(halt: Halt, proof: HaltProof, now_ns: int) -> Halt:
    """The machine's own state says that it stands still."""
    return msgspec.structs.replace(halt, state=HaltState.CONFIRMED, confirmed_ns=now_ns, proof=proof.state, trouble="")


def troubled(halt: Halt, reason: str) -> Halt:
    """An attempt did not lead to a held machine."""
    return msgspec.structs.replace(halt, trouble=reason)


def failed(halt: Halt) -> Halt:
    """Not confirmed in time: HALT FAILED.  Stays latched, stays ordered."""
    return msgspec.structs.replace(
        halt,
        state=HaltState.FAILED,
        version=halt.version + 1,
        trouble=halt.trouble or "the device could not be reached",
    )


def reasserted(halt: Halt, why: str) -> Halt:
    """The machine left Held while latched, or the gateway restarted: ask again.  What failed is so until it stands."""
    failed_before = halt.state is HaltState.FAILED
    return msgspec.structs.replace(
        halt,
        state=HaltState.FAILED if failed_before else HaltState.REQUESTED,
        version=halt.version + 1,
        confirmed_ns=None,
        commanded_ns=None,
        tries=halt.tries if failed_before else 0,
        proof="",
        trouble=why,
    )


def overdue(halt: Halt, since_ns: int, now_ns: int, within_ns: int = CONFIRM_WITHIN_NS) -> bool:
    """Both on one clock: when the present request was made, and now."""
    return halt.state in WAITING and now_ns - since_ns >= within_ns


def check_release(
    halt: Halt | None, seen_version: int, reason: str, *, condition_stands: str, acknowledged: bool, recalibration: str
) -> Halt:
    """The guard of a release.  Raises Refused with what is missing; the role is the caller's to check."""
    if halt is None:
        raise Refused("no_such_halt", "there is no such halt; `linegate halts` lists those that stand")
    if seen_version != halt.version:
        raise Refused(
            "changed",
            f"{halt.id} is at version {halt.version} by now, you saw {seen_version}: "
            f"{halt.text.rstrip('.')}. Look again first.",
            version=halt.version,
        )
    if not reason.strip():
        raise Refused("reason_missing", "a release needs a reason: say what was found and what was done")
    if not acknowledged:
        raise Refused("not_acknowledged", f"acknowledge the alarm {halt.rule} first")
    if halt.needs is Needs.CONDITION_GONE and condition_stands:
        raise Refused("condition_stands", f"the cause is still there: {condition_stands}")
    if halt.needs is Needs.RECALIBRATION and not recalibration.strip():
        raise Refused("recalibration_missing", "a check failed: record the recalibration with the release")
    return halt


def to_json(halt: Halt) -> Json:
    """For the state row and the latch file."""
    return msgspec.to_builtins(halt)


def from_json(document: Json) -> Halt:
    """Raises msgspec.ValidationError on a document that is not a latch."""
    return msgspec.convert(document, Halt)


def rebuilt(halt_id: str, now_ns: int) -> Halt | None:
    """A latch whose stored form cannot be read: it holds all the same, by its name.  None: the name says no device."""
    device, _, rule = halt_id.partition(":")
    if not device or not rule:
        return None
    text = f"{device} was held by {rule}; the stored latch was damaged, so its cause is only in the records"
    return Halt(halt_id, device, rule, text, Needs.CORRECTION, HaltState.REQUESTED, 1, None, now_ns, now_ns)


def _ns(stamp: int | None) -> str | None:
    return None if stamp is None else str(stamp)
