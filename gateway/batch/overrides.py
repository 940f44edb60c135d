"""Gates that a person opened: who may, and what an override covers.  Pure.

An override is another pair of eyes: nobody opens a gate over a problem of their own, and nobody stands in for the
second person of a step they signed themselves.
"""

from __future__ import annotations

from gateway.batch.gates import APPROVERS, Gate, signs_for, unsigned
from gateway.batch.state import Batch, Override, missing_signatures, same_person
from gateway.batch.words import tells
from gateway.errors import Refused
from gateway.model import Principal
from gateway.recipe import COVERED_BY, GateName, GateRule, Recipe, Step


def override(  # the gate of a batch, its rule, who, why, when
    batch: Batch, recipe: Recipe, gate: Gate, rule: GateRule, person: Principal, reason: str, now_ns: int
) -> Override:
    """A person opens a gate.  Refused: not_blocked, no_override, role_missing, same_person, reason_missing."""
    if not gate.blocks:
        raise Refused("not_blocked", f"the gate {gate.name} is {gate.state}; there is nothing to override")
    if not rule.override:
        raise Refused("no_override", f"the recipe lets nobody override {gate.name}: {gate.text}")
    role = next((one for one in rule.override if one in person.roles), None)
    if role is None:
        raise Refused(
            "role_missing", f"{gate.name} is overridden by {' or '.join(rule.override)}; {person.name} is not"
        )
    _is_another(batch, recipe, gate, person)
    if not tells(reason):
        raise Refused("reason_missing", f"the override of {gate.name} needs a reason, in words")
    covers = tuple(one.key for one in gate.problems)
    return Override(gate.name, covers, person.name, person.full_name, role, reason.strip(), now_ns)


def _is_another(batch: Batch, recipe: Recipe, gate: Gate, person: Principal) -> None:
    own = [one.text for one in gate.problems if gate.name == "people" and one.key.startswith(f"{person.name}:")]
    if own:
        raise Refused("same_person", f"{person.name} does not override what is about themselves: {'; '.join(own)}")
    signing = signs_for(gate.name, recipe)
    steps = {step.id for step, _, _ in missing_signatures(batch, signing)}
    if any(one.key == APPROVERS for one in gate.problems):
        steps |= {step.id for step in signing}
    for one in batch.signatures:
        if one.step in steps and same_person(person, one):
            text = f"{person.name} signed {one.step}, and a second person is missing; somebody else overrides that"
            raise Refused("same_person", text)


def opened(batch: Batch, recipe: Recipe) -> set[str]:
    """Steps whose missing signatures were overridden, with every gate that they sign for.

    What a step signs for besides (its other `covers`) is not a gate's to give away: such a step is signed.
    """
    return {step.id for step in recipe.before_start if _is_opened(batch, step)}


def _is_opened(batch: Batch, step: Step) -> bool:
    names = {word: name for name, word in COVERED_BY.items()}
    keys = {unsigned(step, meaning) for _, meaning, _ in missing_signatures(batch, [step])}
    return bool(step.covers) and all(
        word in names and keys <= set(_covered(batch, names[word])) for word in step.covers
    )


def refuse_own(batch: Batch, recipe: Recipe, step: Step, person: Principal) -> None:
    """Who overrode that a second person is missing is not the first one afterwards, either.  Refused: same_person."""
    left = {unsigned(step, meaning) for _, meaning, _ in missing_signatures(batch, [step])[1:]}
    for name, word in COVERED_BY.items():
        made = newest(batch, name)
        if word not in step.covers or made is None or not same_person(person, made):
            continue
        steps = {one.id for one in signs_for(name, recipe)}
        others = [one for one in batch.signatures if one.step in steps and not same_person(person, one)]
        alone = {APPROVERS} if name == "label" and not others else set()
        if (left | alone) & set(made.covers):
            text = f"{step.id}: {person.name} overrode that a second person is missing; somebody else signs"
            raise Refused("same_person", text)


def newest(batch: Batch, name: GateName) -> Override | None:
    """The override of a gate that holds: what one before it covered, it covers where it still stood in the way."""
    return next((one for one in reversed(batch.overrides) if one.gate == name), None)


def _covered(batch: Batch, name: GateName) -> tuple[str, ...]:
    made = newest(batch, name)
    return made.covers if made else ()
