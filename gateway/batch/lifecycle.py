r"""The life of a batch, as functions: each takes the batch and gives the next one with the records to keep.  Pure.

    planned --(all before_start steps signed)--> ready --> running --> complete --(before_close steps)--> closed
       \________________________________________/____________/ aborted

Every function raises Refused with a stable code where the step is not allowed, and says what is missing.  Who may
start, complete or abort is the caller's to check (people.py); who may sign, enter and dispose is checked here,
because the record itself says it (21 CFR 11.10(f), (g)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

import msgspec

from gateway.batch import counts, gates, rolls, trays
from gateway.batch.acts import draft, in_state, missing_text, outcome, same_recipe
from gateway.batch.counts import CountEntry, Counters, Meter
from gateway.batch.ending import abort, close, dispose_tray
from gateway.batch.gates import Gate
from gateway.batch.order import Order, facts
from gateway.batch.reconcile import Tally
from gateway.batch.signing import open_gate, sign, withdrawn
from gateway.batch.state import OPEN, OVER, Batch, BatchState, Change, Signature, from_json, missing_signatures, to_json
from gateway.errors import Refused
from gateway.model import Draft, Json, Principal
from gateway.recipe import Recipe
from gateway.units import linear
from gateway.verdicts import Sample

__all__ = [
    "OVER",
    "Batch",
    "BatchState",
    "Change",
    "CountEntry",
    "Counters",
    "Signature",
    "abort",
    "close",
    "complete",
    "counted",
    "dispose_tray",
    "entered",
    "from_json",
    "load_roll",
    "missing_signatures",
    "open_gate",
    "planned",
    "sign",
    "start",
    "suspect",
    "to_json",
    "weighed",
]


def planned(order: Order, recipe: Recipe, recipe_hash: str, now_ns: int) -> Change:
    """A batch from an order that was accepted.  A recipe without steps before the start makes it ready at once."""
    state = BatchState.PLANNED if recipe.before_start else BatchState.READY
    batch = Batch(order, recipe.id, recipe.version, recipe_hash, recipe.tray_size, now_ns, state)
    body = {
        "order": order.model_dump(mode="json"),
        "recipe": {
            "id": recipe.id,
            "version": recipe.version,
            "hash": recipe_hash,
            "document": recipe.model_dump(mode="json", by_alias=True),
        },
        "facts": facts(order, recipe),
        "state": state.value,
        "time": str(now_ns),
    }
    return batch, (draft(batch, "batch.ordered", body),)


def start(  # the order of all transitions: batch, recipe, who, what, when
    batch: Batch,
    recipe: Recipe,
    by: str,
    counters: Counters,
    now_ns: int,
    stood: Sequence[Gate] = (),
    setpoints: Mapping[str, str] = MappingProxyType({}),
    alarms: Sequence[Json] = (),
) -> Change:
    """Counting begins.  `stood`: the gates as they stand, for the record; `setpoints`: what the machines are set to.

    `alarms`: those that stand already, or that a person put aside: their own records are none of this batch.

    Refused: recipe_changed, not_ready (naming the signatures), wrong_state, no_count.
    """
    same_recipe(batch, recipe)
    if batch.state is BatchState.PLANNED:
        raise Refused("not_ready", f"batch {batch.number} is not ready: {missing_text(batch, recipe.before_start)}")
    in_state(batch, (BatchState.READY,), "starting")
    if counters.units is None:
        raise Refused("no_count", "the filler does not say its unit count; the batch could not be counted")
    tally = msgspec.structs.replace(
        batch.tally,
        units=Meter(counters.units),
        rejects=Meter(counters.rejects),
        labels=Meter(counters.labels),
        labels_damaged=Meter(counters.labels_damaged),
    )
    after = msgspec.structs.replace(
        batch,
        state=BatchState.RUNNING,
        baseline=counters,
        tally=tally,
        started_ns=now_ns,
        setpoints=dict(setpoints),
    )
    body: dict[str, Json] = {"counters": _counters(counters), "state": after.state.value, "time": str(now_ns)}
    if stood:
        body["setpoints"] = dict(setpoints)
        body["gates"] = gates.bodies(stood)
    if alarms:
        body["alarms"] = list(alarms)
    return after, (draft(after, "batch.started", body, by),)


def counted(
    batch: Batch,
    counters: Counters,
    tray: str | None,
    now_ns: int,
    position: int | None = None,
    since: Mapping[str, int] = MappingProxyType({}),
) -> Change:
    """What a scan of the filler or labeller says.  The very same batch comes back where nothing changed.

    Only a running batch counts.  `tray` and `position`: the machine's tray id and the units in it; None if unknown.
    """
    if batch.state is not BatchState.RUNNING:
        return batch, ()
    tally, drafts = _read(batch, counters, now_ns, since)
    after_trays, events = trays.follow(batch.trays, tray, tally.units.total, position, batch.tray_size)
    if tally is batch.tally and after_trays is batch.trays:
        return batch, ()
    after = msgspec.structs.replace(batch, tally=tally, trays=after_trays)
    drafts += [draft(after, "batch.tray", trays.body(*event)) for event in events]
    for name, why in [known for known in batch.awaited if any(known[0] == one.id for one in after_trays)]:
        after, more = suspect(after, [name], why)
        drafts += more
    return after, tuple(drafts)


def weighed(batch: Batch, recipe: Recipe, sample: Sample) -> Batch:
    """Take a judged check weighing of the fill into the mean that the oil equation needs."""
    fills = {one.name for plan in recipe.plans.values() for one in plan.characteristics if one.source == "weighing"}
    if sample.passed is None or sample.characteristic not in fills or not isinstance(sample.value, Decimal):
        return batch
    grams = sample.value if sample.unit == "g" else sample.value * Decimal(str(linear(sample.unit, "g")[0]))
    tally = msgspec.structs.replace(
        batch.tally, weight_sum_g=batch.tally.weight_sum_g + grams, weight_n=batch.tally.weight_n + 1
    )
    return msgspec.structs.replace(batch, tally=tally)


def entered(batch: Batch, recipe: Recipe, entry: CountEntry, person: Principal, now_ns: int) -> Change:
    """A count by a person.  Entries add up; one that supersedes another replaces it and leaves it in the record.

    Refused: wrong_state, unknown_quantity, wrong_unit, bad_value, no_such_entry, reason_missing, role_missing.
    """
    same_recipe(batch, recipe)
    in_state(batch, OPEN, f"entering {entry.quantity}")
    entry = rolls.check_entry(batch.tally.rolls, counts.same_roll(entry, batch.entries))
    role = counts.check(entry, batch.entries, person)
    made = msgspec.structs.replace(
        entry,
        value=Decimal(format(entry.value, "f")),
        id=len(batch.entries) + 1,
        person=person.name,
        full_name=person.full_name,
        role=role,
        time_ns=now_ns,
    )
    tally = msgspec.structs.replace(batch.tally, entries=(*batch.entries, made))
    after = msgspec.structs.replace(batch, tally=tally)
    body = counts.body(made, batch.entries)
    if batch.state is BatchState.COMPLETE:
        body |= outcome(after, recipe)
    return after, (draft(after, "batch.entered", body, person.name),)


def load_roll(  # the order of all transitions: batch, recipe, what, who, when
    batch: Batch, recipe: Recipe, roll: str, lot: str, issued: Decimal, person: Principal, now_ns: int
) -> Change:
    """A roll of labels goes onto the applicator: its labels are issued, and what is applied from now on is its.

    Before the start it ends the approval of the first label: that was of what lay there before.

    Refused: wrong_state, bad_roll, roll_known, no_such_lot, and what `entered` refuses.
    """
    same_recipe(batch, recipe)
    in_state(batch, OPEN[:3], "loading a roll")
    roll = roll.strip()
    known = batch.tally.rolls
    lot = rolls.check(known, roll, lot, issued, batch.order.materials)
    tally = batch.tally
    new = rolls.Roll(roll, lot, issued, tally.labels.total, tally.labels_damaged.total, now_ns, person.name)
    loaded = msgspec.structs.replace(batch, tally=msgspec.structs.replace(tally, rolls=rolls.changed(known, new)))
    entry = CountEntry("labels_issued", issued, "{count}", f"roll {roll}", roll=roll)
    after, drafts = entered(loaded, recipe, entry, person, now_ns)
    after, gone, shut = withdrawn(after, recipe)
    body: dict[str, Json] = {"roll": roll, "lot": lot, "issued": str(issued), "applied_before": str(new.applied_at)}
    body |= {"person": person.name, "full_name": person.full_name, "time": str(now_ns)}
    body["replaces"] = known[-1].id if known else None
    if gone:
        body["withdrawn"] = [{"step": one.step, "person": one.person, "meaning": one.meaning} for one in gone]
    if shut:
        body["overrides_ended"] = [{"gate": one.gate, "person": one.person, "reason": one.reason} for one in shut]
    if gone or shut:
        body["state"] = after.state.value
    return after, (draft(after, "label.roll", body, person.name), *drafts)


def suspect(batch: Batch, names: Sequence[str], why: str) -> Change:
    """Put trays under suspicion; one the machine has not named yet is suspect as soon as it does."""
    known = {tray.id for tray in batch.trays}
    waiting = tuple((name, why) for name in names if name not in known)
    after_trays, events = trays.suspected(batch.trays, names, why)
    awaited = tuple(dict.fromkeys([*(one for one in batch.awaited if one[0] not in known), *waiting]))
    after = msgspec.structs.replace(batch, trays=after_trays, awaited=awaited)
    return after, tuple(draft(after, "batch.tray", trays.body(*event)) for event in events)


def complete(batch: Batch, recipe: Recipe, by: str, counters: Counters, now_ns: int) -> Change:
    """Counting ends; the open tray is closed and everything is reconciled.  Refused: recipe_changed, wrong_state."""
    same_recipe(batch, recipe)
    in_state(batch, (BatchState.RUNNING,), "completing")
    tally, drafts = _read(batch, counters, now_ns, {})
    after_trays, events = trays.close(batch.trays, tally.units.total)
    after = msgspec.structs.replace(
        batch, state=BatchState.COMPLETE, tally=tally, trays=after_trays, completed_ns=now_ns
    )
    drafts += [draft(after, "batch.tray", trays.body(*event)) for event in events]
    body = {
        "counters": _counters(counters),
        "started": str(batch.started_ns),
        "time": str(now_ns),
        "state": after.state.value,
        "quantity_ordered": str(batch.order.quantity),
        **outcome(after, recipe),
    }
    return after, (*drafts, draft(after, "batch.completed", body, by))


def _read(batch: Batch, counters: Counters, now_ns: int, since: Mapping[str, int]) -> tuple[Tally, list[Draft]]:
    """The tally after the machines' counters, and a record of each counter that fell back.

    `since`: nanoseconds since each counter was read before.
    """
    before = batch.tally
    after: dict[str, Meter] = {}
    drafts = []
    for name in ("units", "rejects", "labels", "labels_damaged"):
        meter: Meter = getattr(before, name)
        read = meter.read(getattr(counters, name), since.get(name))
        if read is meter:
            continue
        after[name] = read
        if read.resets != meter.resets:
            body = {
                "counter": name,
                "before": str(meter.last),
                "after": str(read.last),
                "total": str(read.total),
                "time": str(now_ns),
            }
            drafts.append(draft(batch, "counter.stepped", body))
    return (msgspec.structs.replace(before, **after) if after else before), drafts


def _counters(counters: Counters) -> dict[str, Json]:
    raw = msgspec.structs.asdict(counters)
    return {name: None if value is None else str(value) for name, value in raw.items()}
