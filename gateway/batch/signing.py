"""Signatures, and gates that a person opens: who may, with which meaning.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.batch import overrides
from gateway.batch.acts import draft, in_state, same_recipe
from gateway.batch.gates import Field, Gate
from gateway.batch.order import PRODUCT
from gateway.batch.state import Batch, BatchState, Change, Override, Signature, missing_signatures, same_person
from gateway.errors import Refused
from gateway.model import Json, Principal
from gateway.recipe import COVERED_BY, GateRule, Recipe, Step


def sign(  # the order of all transitions: batch, recipe, what, who, when
    batch: Batch,
    recipe: Recipe,
    step_id: str,
    person: Principal,
    meaning: str,
    now_ns: int,
    comment: str = "",
    label: Sequence[Field] | None = None,
) -> Change:
    """One signature.  `meaning` empty: the one the step needs next.  `label`: what a label that is approved says now.

    Refused: recipe_changed, no_such_step, wrong_state, already_signed, wrong_meaning, role_missing, same_person,
    label_wrong.
    """
    same_recipe(batch, recipe)
    step, when = find(recipe, step_id)
    wanted = (BatchState.PLANNED,) if when == "before_start" else (BatchState.COMPLETE,)
    in_state(batch, wanted, f"signing {step_id} ({when.replace('_', ' ')})")
    due = missing_signatures(batch, [step])
    if not due:
        raise Refused("already_signed", f"{step_id} is signed by {', '.join(_signers(batch, step_id))}")
    _, needed, role = due[0]
    if meaning and meaning != needed:
        raise Refused("wrong_meaning", f"{step_id} needs {needed!r} by {role} next, not {meaning!r}")
    _may_sign(batch, step, person, needed, role)
    overrides.refuse_own(batch, recipe, step, person)
    _label_is_right(step, label)
    signature = Signature(step.id, step.text, needed, person.name, person.full_name, role, now_ns, comment)
    after = _ready(msgspec.structs.replace(batch, signatures=(*batch.signatures, signature)), recipe)
    body = {**_body(signature), "when": when, "covers": list(step.covers), "state": after.state.value}
    body |= _released(batch, step)
    if label is not None and approves_label(step):
        body["label"] = msgspec.to_builtins(label)
    return after, (draft(after, "batch.signed", body, person.name),)


def open_gate(  # the order of all transitions: batch, recipe, what, who, why, when
    batch: Batch, recipe: Recipe, gate: Gate, rule: GateRule, person: Principal, reason: str, now_ns: int
) -> Change:
    """A person opens a gate for what blocks it now.

    Refused: recipe_changed, wrong_state, not_blocked, no_override, role_missing, same_person, reason_missing.
    """
    same_recipe(batch, recipe)
    in_state(batch, (BatchState.PLANNED, BatchState.READY), f"overriding {gate.name}")
    made = overrides.override(batch, recipe, gate, rule, person, reason, now_ns)
    after = _ready(msgspec.structs.replace(batch, overrides=(*batch.overrides, made)), recipe)
    body: dict[str, Json] = {
        "gate": gate.name,
        "asks": gate.asks,
        "problems": [one.text for one in gate.problems],
        "person": made.person,
        "full_name": made.full_name,
        "role": made.role,
        "reason": made.reason,
        "state": after.state.value,
        "time": str(now_ns),
    }
    return after, (draft(after, "gate.overridden", body, person.name),)


def _ready(batch: Batch, recipe: Recipe) -> Batch:
    """Ready as soon as every signature before the start is there, or its gate was overridden."""
    passed = overrides.opened(batch, recipe)
    missing = [step for step, _, _ in missing_signatures(batch, recipe.before_start) if step.id not in passed]
    if batch.state is BatchState.PLANNED and not missing:
        return msgspec.structs.replace(batch, state=BatchState.READY)
    return batch


def withdrawn(batch: Batch, recipe: Recipe) -> tuple[Batch, tuple[Signature, ...], tuple[Override, ...]]:
    """The approval of the first label is of the roll it came from, and so is an override of what it lacked.

    Another roll on the applicator ends both.  Only while the batch waits; in the run each label is compared.
    """
    steps = {step.id for step in recipe.before_start if approves_label(step)}
    gone = tuple(one for one in batch.signatures if one.step in steps)
    shut = tuple(one for one in batch.overrides if one.gate == "label")
    if not (gone or shut) or batch.state not in (BatchState.PLANNED, BatchState.READY):
        return batch, (), ()
    left = tuple(one for one in batch.signatures if one not in gone)
    kept = tuple(one for one in batch.overrides if one not in shut)
    after = msgspec.structs.replace(batch, signatures=left, overrides=kept, state=BatchState.PLANNED)
    return _ready(after, recipe), gone, shut


def find(recipe: Recipe, step_id: str) -> tuple[Step, str]:
    """The step and when it is signed.  Refused `no_such_step`."""
    known = [(step, "before_start") for step in recipe.before_start]
    known += [(step, "before_close") for step in recipe.before_close]
    for step, when in known:
        if step.id == step_id:
            return step, when
    raise Refused("no_such_step", f"{step_id!r} is no step of the recipe: {', '.join(step.id for step, _ in known)}")


def approves_label(step: Step) -> bool:
    return COVERED_BY["label"] in step.covers


def _label_is_right(step: Step, label: Sequence[Field] | None) -> None:
    if label is None or not approves_label(step):
        return
    wrong = [field.text for field in label if not field.ok]
    if wrong:
        text = f"{step.id} is not signed: the label that lies there is wrong: {'; '.join(wrong)}"
        raise Refused("label_wrong", text, fields=msgspec.to_builtins(tuple(label)))


def _released(batch: Batch, step: Step) -> dict[str, Json]:
    """What a release of the oil releases."""
    if COVERED_BY["oil"] not in step.covers:
        return {}
    lots = [lot for lot in batch.order.materials if lot.kind == PRODUCT]
    rows = [{"lot": lot.lot, "uid": lot.uid, "coa": lot.coa.id if lot.coa else None} for lot in lots]
    return {"released": rows}


def _may_sign(batch: Batch, step: Step, person: Principal, needed: str, role: str) -> None:
    if role not in person.roles:
        raise Refused(
            "role_missing", f"{step.id}: {needed!r} is signed by a person with role {role}, {person.name} is not"
        )
    for one in batch.signatures:
        if one.step == step.id and same_person(one, person):
            alias = f" under the name {one.person}" if one.person != person.name else ""
            raise Refused("same_person", f"{step.id}: {person.name} performed it{alias}; somebody else verifies")


def _signers(batch: Batch, step_id: str) -> list[str]:
    return [one.person for one in batch.signatures if one.step == step_id]


def _body(signature: Signature) -> dict[str, Json]:
    return {
        "step": signature.step,
        "text": signature.text,
        "meaning": signature.meaning,
        "person": signature.person,
        "full_name": signature.full_name,
        "role": signature.role,
        "time": str(signature.time_ns),
        "comment": signature.comment,
    }
