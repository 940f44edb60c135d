"""Gates that a person opened: who may, and what an override covers.  Pure.

An override is another pair of eyes: nobody opens a gate over a problem of their own, and nobody stands in for the
second person of a step they signed themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.batch.gates import Gate, signs_for, unsigned
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
    steps = {step.id for step, _, _ in missing_signatures(batch, signs_for(gate.name, recipe))}
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


def _covered(batch: Batch, name: GateName) -> Iterator[str]:
    """What the newest override of a gate covers."""
    newest = next((one for one in reversed(batch.overrides) if one.gate == name), None)
    return iter(newest.covers if newest else ())
