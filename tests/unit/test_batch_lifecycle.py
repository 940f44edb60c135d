"""The batch's states: each way on is taken when it may be, and refused with what is missing when it may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from batch_story import ANA, QUINN, TOM, at, order, person, recipe
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch import lifecycle
from gateway.batch.complete import Finding
from gateway.batch.counts import QUANTITIES, CountEntry, Counters
from gateway.batch.lifecycle import Batch, BatchState
from gateway.errors import Refused
from gateway.model import Principal
from gateway.verdicts import Sample

RECIPE = recipe()
ZERO = Counters(units=1000, rejects=10, labels=500)


def planned() -> Batch:
    return lifecycle.planned(order(), RECIPE, "77b0", at(0))[0]


def signed(batch: Batch, *pairs: tuple[str, Principal]) -> Batch:
    for step, who in pairs:
        batch, _ = lifecycle.sign(batch, RECIPE, step, who, "", at(1))
    return batch


def ready() -> Batch:
    steps = (("line-clearance", ANA), ("line-clearance", QUINN), ("setup", TOM), ("label-proof", QUINN))
    return signed(planned(), *steps)


def running() -> Batch:
    return lifecycle.start(ready(), RECIPE, "ana", ZERO, at(2))[0]


def completed() -> Batch:
    end = Counters(units=1010, rejects=11, labels=509)
    return lifecycle.complete(running(), RECIPE, "ana", end, at(60))[0]


def reviewed() -> Batch:
    return signed(completed(), ("cleaning", ANA), ("review", QUINN))


def closed() -> Batch:
    reasons = {"count.unreconciled:labels": "counted by hand, see folder 14"}
    return lifecycle.close(reviewed(), RECIPE, "released", QUINN, [], at(90), reasons=reasons)[0]


def aborted() -> Batch:
    return lifecycle.abort(running(), "ana", "spill", at(9))[0]


def code(act: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


def test_the_whole_way() -> None:
    """Planned, ready, running, complete, closed: each by its own act."""
    states = [make().state for make in (planned, ready, running, completed, closed)]

    assert states == ["planned", "ready", "running", "complete", "closed"]
    assert closed().disposition == "released"


def test_a_recipe_without_steps_is_ready_at_once() -> None:
    """Nothing to sign, nothing to wait for."""
    assert lifecycle.planned(order(), recipe(before_start=()), "h", at(0))[0].state is BatchState.READY


ACTS: dict[str, Callable[[Batch], Any]] = {
    "sign before_start": lambda batch: lifecycle.sign(batch, RECIPE, "setup", TOM, "", at(5)),
    "sign before_close": lambda batch: lifecycle.sign(batch, RECIPE, "cleaning", ANA, "", at(5)),
    "start": lambda batch: lifecycle.start(batch, RECIPE, "ana", ZERO, at(5)),
    "enter": lambda batch: lifecycle.entered(batch, RECIPE, CountEntry("oil_charged", Decimal(1), "g"), TOM, at(5)),
    "complete": lambda batch: lifecycle.complete(batch, RECIPE, "ana", ZERO, at(5)),
    "close": lambda batch: lifecycle.close(batch, RECIPE, "rejected", QUINN, [], at(5)),
    "abort": lambda batch: lifecycle.abort(batch, "ana", "spill", at(5)),
}
ALLOWED = {
    "planned": {"sign before_start", "enter", "abort"},
    "ready": {"start", "enter", "abort"},
    "running": {"enter", "complete", "abort"},
    "complete": {"sign before_close", "enter"},
    "closed": set(),
    "aborted": set(),
}
MAKE = {
    "planned": planned,
    "ready": ready,
    "running": running,
    "complete": completed,
    "closed": closed,
    "aborted": aborted,
}


@pytest.mark.parametrize("state", list(ALLOWED))
@pytest.mark.parametrize("act", list(ACTS))
def test_each_act_in_each_state(state: str, act: str) -> None:
    """What is allowed in a state works; what is not is refused by a code and changes nothing."""
    batch = MAKE[state]()
    if act in ALLOWED[state]:
        ACTS[act](batch)
        return
    refused = code(lambda: ACTS[act](batch))
    if act == "close" and state == "complete":
        assert refused == "not_signed"
        return
    assert refused == ("not_ready" if (state, act) == ("planned", "start") else "wrong_state")


def test_start_names_the_missing_signatures() -> None:
    """Not ready says which step lacks which signature."""
    batch = signed(planned(), ("line-clearance", ANA))

    with pytest.raises(Refused, match=r"line-clearance .*'verified' by qa; setup .*; label-proof") as caught:
        lifecycle.start(batch, RECIPE, "ana", ZERO, at(2))

    assert caught.value.code == "not_ready"


def test_start_needs_a_count() -> None:
    """A filler that does not say its count cannot be counted."""
    assert code(lambda: lifecycle.start(ready(), RECIPE, "ana", Counters(units=None), at(2))) == "no_count"


def test_nobody_verifies_their_own_step() -> None:
    """The second signature is a second person's, whatever roles the first one has."""
    both = person("sam", "Sam Both", "operator", "qa")
    batch = signed(planned(), ("line-clearance", both))

    assert code(lambda: signed(batch, ("line-clearance", both))) == "same_person"


@pytest.mark.parametrize(
    ("step", "who", "meaning", "refused"),
    [
        ("line-clearance", QUINN, "", "role_missing"),
        ("line-clearance", ANA, "verified", "wrong_meaning"),
        ("polish", ANA, "", "no_such_step"),
    ],
)
def test_a_signature_is_guarded(step: str, who: Principal, meaning: str, refused: str) -> None:
    """Role, order and name of the step are checked."""
    assert code(lambda: lifecycle.sign(planned(), RECIPE, step, who, meaning, at(1))) == refused


def test_a_step_is_signed_once() -> None:
    """A full step takes no third signature."""
    batch = signed(planned(), ("setup", TOM))

    assert code(lambda: signed(batch, ("setup", ANA))) == "already_signed"


def test_a_signature_carries_name_time_and_meaning() -> None:
    """21 CFR 11.50: printed name, date and time, meaning; 11.70: in the record itself."""
    _, (draft,) = lifecycle.sign(planned(), RECIPE, "label-proof", QUINN, "performed", at(7), "folder 14")

    body = draft.body
    assert (body["full_name"], body["meaning"], body["role"]) == ("Quinn Adeyemi", "performed", "qa")
    assert (body["time"], body["comment"], draft.by) == (str(at(7)), "folder 14", "quinn")


def test_another_recipe_is_refused() -> None:
    """A recipe does not change during a batch."""
    other = recipe(version="5")

    assert code(lambda: lifecycle.sign(planned(), other, "setup", TOM, "", at(1))) == "recipe_changed"
    assert code(lambda: lifecycle.complete(running(), other, "ana", ZERO, at(1))) == "recipe_changed"


def test_counts_are_this_batchs_own() -> None:
    """What the counters held before the start is not counted."""
    batch, _ = lifecycle.counted(running(), Counters(units=1042, rejects=12, labels=539), "T-1", at(3))

    assert (batch.units, batch.rejects, batch.labels) == (42, 2, 39)


def test_nothing_new_gives_the_very_same_batch() -> None:
    """A scan that brings no change costs no new state."""
    batch, _ = lifecycle.counted(running(), Counters(units=1042, rejects=12, labels=539), "T-1", at(3))

    assert lifecycle.counted(batch, Counters(units=1042, rejects=12, labels=539), "T-1", at(4)) == (batch, ())
    assert lifecycle.counted(batch, Counters(units=None), None, at(4))[0] is batch


def test_a_counter_that_fell_back_goes_on_from_there_and_is_recorded() -> None:
    """A restarted filler counts from 0; the batch keeps its count and says that it happened."""
    batch, _ = lifecycle.counted(running(), Counters(units=1042), None, at(3))
    batch, drafts = lifecycle.counted(batch, Counters(units=5), None, at(4))

    assert batch.units == 47
    (draft,) = drafts
    assert draft.kind == "counter.stepped"
    assert draft.body["before"] == "1042"


def test_only_a_running_batch_counts() -> None:
    """Units made after the end belong to nobody."""
    batch = completed()

    assert lifecycle.counted(batch, Counters(units=2000), "T-9", at(70)) == (batch, ())


def test_a_counter_seen_late_is_marked() -> None:
    """A labeller that was away at the start counts from its first sight, and the equation says so."""
    batch = lifecycle.start(ready(), RECIPE, "ana", Counters(units=1000), at(2))[0]
    batch, _ = lifecycle.counted(batch, Counters(units=1000, labels=700), None, at(3))
    batch, _ = lifecycle.counted(batch, Counters(units=1000, labels=705), None, at(3))
    _, drafts = lifecycle.complete(batch, RECIPE, "ana", Counters(units=1000), at(4))

    labels = drafts[-1].body["reconciliation"][0]
    applied = next(one for one in labels["inputs"] if one["name"] == "applied")
    assert applied["value"] == "5"
    assert "first seen after the start" in applied["source"]


def test_entries_add_up_and_corrections_supersede() -> None:
    """Two charges add up; a correction replaces one and leaves it in the record with its old value."""
    batch = running()
    for value in ("300.5", "200.25"):
        batch, _ = lifecycle.entered(batch, RECIPE, CountEntry("oil_charged", Decimal(value), "g"), TOM, at(5))
    wrong = CountEntry("oil_charged", Decimal("205.2"), "g", "read upside down", supersedes=2)
    batch, (draft,) = lifecycle.entered(batch, RECIPE, wrong, TOM, at(6))

    assert (draft.body["total"], draft.body["previous"], draft.body["supersedes"]) == ("505.7", "200.25", "2")
    assert [entry.value for entry in batch.entries] == [Decimal("300.5"), Decimal("200.25"), Decimal("205.2")]


@pytest.mark.parametrize(
    ("entry", "who", "refused"),
    [
        (CountEntry("luck", Decimal(1), "g"), TOM, "unknown_quantity"),
        (CountEntry("oil_charged", Decimal(1), "kg"), TOM, "wrong_unit"),
        (CountEntry("labels_issued", Decimal("1.5"), "{count}"), TOM, "bad_value"),
        (CountEntry("labels_issued", Decimal(-1), "{count}"), TOM, "bad_value"),
        (CountEntry("oil_charged", Decimal("NaN"), "g"), TOM, "bad_value"),
        (CountEntry("oil_charged", Decimal("1e999999"), "g"), TOM, "bad_value"),
        (CountEntry("labels_issued", Decimal("9" * 5000), "{count}"), TOM, "bad_value"),
        (CountEntry("oil_charged", Decimal("1e-999999"), "g"), TOM, "bad_value"),
        (CountEntry("oil_charged", Decimal(1), "g", "why", supersedes=9), TOM, "no_such_entry"),
        (CountEntry("oil_waste", Decimal(1), "g", "why", supersedes=1), TOM, "no_such_entry"),
        (CountEntry("oil_charged", Decimal(2), "g", supersedes=1), TOM, "reason_missing"),
        (CountEntry("oil_charged", Decimal(1), "g"), person("v", "Visitor", "visitor"), "role_missing"),
    ],
)
def test_a_bad_entry_is_refused(entry: CountEntry, who: Principal, refused: str) -> None:
    """Name, unit, value, correction and role are checked before anything is kept."""
    first = CountEntry("oil_charged", Decimal(1), "g")
    batch, _ = lifecycle.entered(running(), RECIPE, first, TOM, at(5))

    assert code(lambda: lifecycle.entered(batch, RECIPE, entry, who, at(6))) == refused


def test_completing_tells_what_the_mes_wants_to_know() -> None:
    """batch.completed has counts, consumption by lot, yield, waste and every equation, as decimal strings."""
    batch = running()
    for name, value in (
        ("oil_charged", "20"),
        ("oil_remaining", "9.9"),
        ("labels_issued", "12"),
        ("labels_returned", "3"),
    ):
        batch, _ = lifecycle.entered(batch, RECIPE, CountEntry(name, Decimal(value), QUANTITIES[name].unit), TOM, at(5))
    _, drafts = lifecycle.complete(batch, RECIPE, "ana", Counters(units=1010, rejects=11, labels=509), at(60))

    body = drafts[-1].body
    assert drafts[-1].kind == "batch.completed"
    assert (body["units_filled"], body["units_good"], body["units_rejected"]) == ("10", "9", "1")
    assert body["yield"] == {
        "actual": "9", "theoretical": "10.10", "percent": "89.11", "limit": "95.0 % to 102.0 % of theory",
        "unit": "{count}", "ok": False,
    }  # fmt: skip
    assert body["consumption"][0]["quantity"] == "10.1"
    assert [one["ok"] for one in body["reconciliation"]] == [True, True, True, False]
    json.dumps(body)


def test_an_entry_after_completion_reconciles_again() -> None:
    """Hand counts come after the run; each brings the equations up to date."""
    entry = CountEntry("labels_issued", Decimal(9), "{count}")
    _, (draft,) = lifecycle.entered(completed(), RECIPE, entry, ANA, at(70))

    assert draft.body["reconciliation"][0]["ok"] is True


def test_weighings_of_checks_make_the_mean() -> None:
    """Only judged weighings of the fill go into the mean; mg become g exactly."""
    batch = running()
    for value, unit, passed, name in (
        ("1.010", "g", True, "weight"),
        ("990", "mg", False, "weight"),
        ("5.000", "g", None, "weight"),
        ("9.000", "g", True, "torque"),
    ):
        sample = Sample(name, Decimal(value), unit, 1, None, at(5), "tom", passed)
        batch = lifecycle.weighed(batch, RECIPE, sample)

    assert batch.tally.weight_n == 2
    assert batch.tally.weight_sum_g == Decimal("2.000")


FOUND = Finding("check.missed", "check a#1 was missed", (17,))


def test_findings_need_a_reason() -> None:
    """A batch with findings is closed only with a reason for each, and the reasons stand in the record."""
    batch = reviewed()

    assert code(lambda: lifecycle.close(batch, RECIPE, "rejected", QUINN, [FOUND], at(90))) == "findings_open"
    assert (
        code(lambda: lifecycle.close(batch, RECIPE, "rejected", QUINN, [FOUND], at(90), reasons=" ")) == "findings_open"
    )
    for reasons in ("DEV-7", {"*": "DEV-7"}, {"check.missed": "DEV-7"}, {"check.missed:17": "DEV-7"}):
        _, (draft,) = lifecycle.close(batch, RECIPE, "rejected", QUINN, [FOUND], at(90), reasons=reasons)
        assert draft.body["findings"][0]["reason"] == "DEV-7"


@pytest.mark.parametrize(
    ("disposition", "who", "refused"),
    [("sold", QUINN, "bad_disposition"), ("released", TOM, "role_missing")],
)
def test_disposition_is_qas_alone(disposition: str, who: Principal, refused: str) -> None:
    """Released, rejected or quarantined, by a person with role qa."""
    assert code(lambda: lifecycle.close(reviewed(), RECIPE, disposition, who, [], at(90))) == refused


def test_close_names_unsigned_steps() -> None:
    """The steps before closing are named if they lack a signature."""
    with pytest.raises(Refused, match=r"cleaning is not signed .*; review is not signed") as caught:
        lifecycle.close(completed(), RECIPE, "released", QUINN, [], at(90))

    assert caught.value.code == "not_signed"


def test_an_abort_needs_a_reason() -> None:
    """Nobody ends a batch without saying why."""
    assert code(lambda: lifecycle.abort(running(), "ana", "  ", at(9))) == "reason_missing"


def test_a_tray_suspected_before_it_was_named_is_suspect_when_it_is() -> None:
    """A rule may know a tray's name before the count does; the suspicion is not lost."""
    batch, drafts = lifecycle.suspect(running(), ["T-2"], "weight 0.94 g")
    assert drafts == ()

    batch, _ = lifecycle.counted(batch, Counters(units=1001), "T-1", at(3), 1)
    batch, drafts = lifecycle.counted(batch, Counters(units=1101), "T-2", at(4), 1)

    assert [tray.suspect for tray in batch.trays] == [(), ("weight 0.94 g",)]
    assert [draft.body["state"] for draft in drafts] == ["closed", "opened", "suspect"]
    assert lifecycle.counted(batch, Counters(units=1102), "T-2", at(5), 2)[1] == ()


def test_a_tray_is_disposed_of_by_those_who_may() -> None:
    """A supervisor or QA decides on a tray, with a reason; the suspicion stays visible."""
    batch, _ = lifecycle.counted(running(), Counters(units=1001), "T-1", at(3), 1)
    batch, _ = lifecycle.suspect(batch, ["T-1"], "weight 0.94 g")

    assert code(lambda: lifecycle.dispose_tray(batch, "T-1", "released", TOM, "ok")) == "role_missing"
    assert code(lambda: lifecycle.dispose_tray(batch, "T-1", "released", QUINN, "")) == "reason_missing"
    assert code(lambda: lifecycle.dispose_tray(batch, "T-9", "released", QUINN, "ok")) == "no_such_tray"
    after, (draft,) = lifecycle.dispose_tray(batch, "T-1", "rejected", QUINN, "all light")
    assert (after.trays[0].disposition, after.trays[0].suspect) == ("rejected", ("weight 0.94 g",))
    assert draft.body["reason"] == "all light"


MASSES = st.decimals(min_value=0, max_value=10**6, places=3)
WHOLE = st.integers(min_value=0, max_value=10**6).map(Decimal)


@given(st.lists(st.tuples(st.sampled_from(sorted(QUANTITIES)), MASSES, WHOLE), max_size=12), st.integers(0, 2**31 - 1))
def test_the_state_row_is_exact(entries: list[tuple[str, Decimal, Decimal]], units: int) -> None:
    """A batch comes back from its JSON row digit for digit, whatever was entered."""
    batch, _ = lifecycle.counted(running(), Counters(units=units), "T-1", at(3))
    for name, mass, count in entries:
        unit = QUANTITIES[name].unit
        entry = CountEntry(name, mass if unit == "g" else count, unit)
        batch, _ = lifecycle.entered(batch, RECIPE, entry, TOM, at(5))

    assert lifecycle.from_json(json.loads(json.dumps(lifecycle.to_json(batch)))) == batch


@pytest.mark.parametrize("make", list(MAKE.values()))
def test_every_state_survives_its_row(make: Callable[[], Batch]) -> None:
    """Planned to closed: the row holds all of it."""
    batch = make()

    assert lifecycle.from_json(json.loads(json.dumps(lifecycle.to_json(batch)))) == batch
