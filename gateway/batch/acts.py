"""What all acts on a batch share: their guards, their records, and what a batch came to.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.batch import reconcile
from gateway.batch.state import Batch, BatchState, missing_signatures
from gateway.errors import Refused
from gateway.model import Draft, Json
from gateway.recipe import Recipe, Step


def draft(batch: Batch, kind: str, body: Mapping[str, Json], by: str = "gateway") -> Draft:
    return Draft(kind, body, batch.number, by)


def same_recipe(batch: Batch, recipe: Recipe) -> None:
    """Refused `recipe_changed`."""
    if (recipe.id, recipe.version) != (batch.recipe_id, batch.recipe_version):
        raise Refused(
            "recipe_changed",
            f"batch {batch.number} runs {batch.recipe_id}@{batch.recipe_version}, not {recipe.id}@{recipe.version}; "
            "a recipe does not change during a batch",
        )


def in_state(batch: Batch, wanted: Sequence[BatchState], what: str) -> None:
    """Refused `wrong_state`."""
    if batch.state not in wanted:
        raise Refused(
            "wrong_state",
            f"{what} needs batch {batch.number} {' or '.join(wanted)}; it is {batch.state}",
            state=batch.state,
        )


def missing_text(batch: Batch, steps: Sequence[Step]) -> str:
    due = missing_signatures(batch, steps)
    return "; ".join(f"{step.id} is not signed as {meaning!r} by {role}" for step, meaning, role in due)


def outcome(batch: Batch, recipe: Recipe) -> dict[str, Json]:
    """Counts, consumption by lot, yield, waste and the equations, as the record and the MES get them."""
    found = reconcile.equations(batch.tally, recipe)
    return {
        **reconcile.outcome(batch.tally, recipe),
        "consumption": _consumption(batch, recipe),
        "reconciliation": msgspec.to_builtins(found),
        "reconciled": all(one.ok for one in found),
    }


def _consumption(batch: Batch, recipe: Recipe) -> list[Json]:
    kinds = dict.fromkeys(lot.kind for lot in batch.order.materials)
    rows: list[Json] = []
    for kind in kinds:
        quantity, unit, how = reconcile.used(batch.tally, kind, recipe)
        lots = [{"lot": lot.lot, "uid": lot.uid} for lot in batch.order.materials if lot.kind == kind]
        value = None if quantity is None else str(quantity)
        rows.append({"material": kind, "lots": lots, "quantity": value, "unit": unit, "source": how})
    return rows
