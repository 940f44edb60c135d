"""A batch at a glance, for the board.  Pure."""

from __future__ import annotations

from gateway.batch import holds
from gateway.batch.state import OVER, Batch, BatchState, missing_signatures
from gateway.model import Json
from gateway.recipe import Recipe


def summary(batch: Batch, recipe: Recipe) -> dict[str, Json]:
    """State, counts and what is missing."""
    steps = recipe.before_close if batch.state is BatchState.COMPLETE else recipe.before_start
    return {
        "batch": batch.number,
        "order": batch.order.order,
        "sku": batch.order.sku,
        "recipe": batch.recipe,
        "state": batch.state.value,
        "ordered": batch.order.quantity,
        "units": batch.units,
        "rejects": batch.rejects,
        "labels": batch.labels,
        "tray": batch.tray.id if batch.tray else None,
        "suspect": [tray.id for tray in batch.trays if tray.suspect],
        "held": list(holds.undecided(batch)),
        "disposition": batch.disposition,
        "unsigned": [
            {"step": step.id, "text": step.text, "meaning": meaning, "role": role}
            for step, meaning, role in missing_signatures(batch, steps if batch.state not in OVER else ())
        ],
    }
