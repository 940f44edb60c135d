"""How a batch ends, as functions: a person's word on each tray, QA's on the batch, or an abort.  Pure.

Every function raises Refused with a stable code, and says what is missing.  Who may dispose is checked here, because
the record itself says it (21 CFR 11.10(f), (g)); who may abort is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from gateway.batch import holds, reconcile, rolls, trays
from gateway.batch.acts import draft, in_state, missing_text, outcome, same_recipe
from gateway.batch.complete import Finding
from gateway.batch.state import OPEN, Batch, BatchState, Change, missing_signatures
from gateway.batch.words import tells
from gateway.errors import Refused
from gateway.model import Principal
from gateway.recipe import Recipe

TRAY_ROLES: Final = frozenset({"supervisor", "qa"})
DISPOSITIONS: Final = ("released", "rejected", "quarantined")
QA: Final = "qa"


def dispose_tray(batch: Batch, name: str, disposition: str, person: Principal, reason: str) -> Change:
    """A supervisor's or QA's word on one tray.

    Refused: wrong_state, bad_disposition, role_missing, reason_missing, no_such_tray.
    """
    in_state(batch, OPEN, "the disposition of a tray")
    _may_dispose(disposition, person, TRAY_ROLES)
    if not tells(reason):
        raise Refused("reason_missing", f"the disposition of tray {name} needs a reason")
    holds.refuse_release(batch, name, disposition, person)
    awaited = holds.decide_awaited(batch, name, disposition, reason)
    if awaited is not None:
        return awaited[0], (draft(awaited[0], "batch.tray", awaited[1], person.name),)
    after_trays, events = trays.disposed(batch.trays, name, disposition, person.name, reason)
    if not events:
        known = ", ".join(tray.id for tray in batch.trays)
        raise Refused("no_such_tray", f"batch {batch.number} has no tray {name!r}; it has {known or 'none yet'}")
    after = msgspec.structs.replace(batch, trays=after_trays)
    return after, tuple(draft(after, "batch.tray", trays.body(*event), person.name) for event in events)


def close(  # the order of all transitions: batch, recipe, what, who, when
    batch: Batch,
    recipe: Recipe,
    disposition: str,
    person: Principal,
    findings: Sequence[Finding],
    now_ns: int,
    *,
    reasons: Mapping[str, str] | str = "",
    comment: str = "",
) -> Change:
    """QA's disposition.  `reasons`: one for all findings, or by a finding's id, its kind, or `*` for the rest.

    Refused: recipe_changed, wrong_state, bad_disposition, role_missing, not_signed, trays_undecided, findings_open.
    """
    same_recipe(batch, recipe)
    in_state(batch, (BatchState.COMPLETE,), "closing")
    _may_dispose(disposition, person)
    if missing_signatures(batch, recipe.before_close):
        raise Refused("not_signed", f"batch {batch.number}: {missing_text(batch, recipe.before_close)}")
    holds.refuse_undecided(batch)
    known = {"*": reasons} if isinstance(reasons, str) else reasons
    rolls.investigated(disposition, reconcile.equations(batch.tally, recipe), known)
    explained = [(each, _reason(each, known)) for each in findings]
    open_ones = [each for each, reason in explained if not reason]
    if open_ones:
        told = "; ".join(f"{each.id}: {each.text}" for each in open_ones)
        raise Refused(
            "findings_open", f"give a reason for each finding: {told}", findings=[one.id for one in open_ones]
        )
    after = msgspec.structs.replace(batch, state=BatchState.CLOSED, disposition=disposition, closed_ns=now_ns)
    body = {
        "disposition": disposition,
        "meaning": f"disposition: {disposition}",
        "person": person.name,
        "full_name": person.full_name,
        "role": QA,
        "time": str(now_ns),
        "comment": comment,
        "findings": [{**each.to_json(), "reason": reason} for each, reason in explained],
        "state": after.state.value,
        **outcome(after, recipe),
    }
    return after, (draft(after, "batch.closed", body, person.name),)


def abort(batch: Batch, by: str, reason: str, now_ns: int) -> Change:
    """The batch ends without completion.  Refused: wrong_state, reason_missing."""
    in_state(batch, OPEN[:3], "aborting")
    if not tells(reason):
        raise Refused("reason_missing", "an abort needs a reason")
    after_trays, events = trays.close(batch.trays, batch.units)
    after = msgspec.structs.replace(batch, state=BatchState.ABORTED, trays=after_trays, closed_ns=now_ns)
    body = {"reason": reason, "units_filled": str(batch.units), "state": after.state.value, "time": str(now_ns)}
    told = [draft(after, "batch.tray", trays.body(*event)) for event in events]
    return after, (*told, draft(after, "batch.aborted", body, by))


def _may_dispose(disposition: str, person: Principal, roles: AbstractSet[str] = frozenset({QA})) -> None:
    if disposition not in DISPOSITIONS:
        raise Refused("bad_disposition", f"{disposition!r} is none of {', '.join(DISPOSITIONS)}")
    if not roles & person.roles:
        needed = " or ".join(sorted(roles))
        raise Refused(
            "role_missing", f"this disposition is given by a person with role {needed}; {person.name} has none"
        )


def _reason(finding: Finding, reasons: Mapping[str, str]) -> str:
    given = (reasons.get(key, "").strip() for key in (finding.id, finding.kind, "*"))
    return next((one for one in given if tells(one)), "")
