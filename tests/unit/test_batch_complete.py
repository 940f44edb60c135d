"""Completeness: a clean record has no findings, and each planted omission gives exactly its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from batch_story import ANA, QUINN, Story, at, clean, halt, judged_check, recipe, told

from gateway.batch import lifecycle, scans
from gateway.batch.checklist import checklist, keys
from gateway.batch.complete import findings
from gateway.batch.counts import CountEntry
from gateway.batch.records import Log, lasted, moment

Records = list[dict[str, Any]]


@pytest.fixture
def story() -> Story:
    return clean()


def kinds(records: Records) -> list[str]:
    return [one.kind for one in findings(records)]


def without(records: Records, *wanted: str, **body: Any) -> Records:
    """The records, without those of a kind (and with such a body)."""
    return [
        one
        for one in records
        if not (one["kind"] in wanted and all(one["body"].get(key) == value for key, value in body.items()))
    ]


def test_a_clean_batch_has_no_findings(story: Story) -> None:
    """Nothing missing, nothing said: and with nothing said it can be closed without a reason."""
    assert findings(story.records) == []
    assert story.batch is not None
    lifecycle.close(story.batch, story.recipe, "released", QUINN, findings(story.records), at(100))


def test_the_order_of_records_does_not_matter(story: Story) -> None:
    """Findings go by index, not by where a record stands in the file."""
    assert findings(list(reversed(told().records))) == findings(told().records)


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        ("check.judged", {"id": "one-in-100#1"}, ["check.open"]),
        ("alarm.acknowledged", {}, ["alarm.unacknowledged"]),
        ("alarm.cleared", {}, ["alarm.open"]),
        ("batch.signed", {"step": "setup"}, ["step.unsigned"]),
        ("batch.signed", {"step": "line-clearance", "meaning": "verified"}, ["step.unsigned"]),
        ("batch.signed", {"step": "review"}, ["step.unsigned"]),
    ],
)
def test_each_record_left_out_is_missed(story: Story, kind: str, body: dict[str, Any], found: list[str]) -> None:
    """Take one record out and completeness names what it stood for."""
    records = without(story.records, kind, **body)

    assert len(records) < len(story.records)
    assert kinds(records) == found


def plant_late(story: Story) -> None:
    for record in story.records:
        if record["kind"] == "check.judged" and record["body"]["id"] == "five-in-15#1":
            record["body"]["late"] = True


def plant_missed(story: Story) -> None:
    due = next(one for one in story.records if one["kind"] == "check.due")
    story.add(70, "check.missed", copy.deepcopy(due["body"]) | {"state": "missed"})


def plant_failed(story: Story) -> None:
    for record in story.records:
        if record["kind"] == "check.judged" and record["body"]["id"] == "one-in-100#1":
            record["body"].update(state="failed", text="weight 0.94 g is below 0.95 g")


def plant_superseded_alarm(story: Story) -> None:
    body = {"alarm": "viscosity", "priority": "medium", "text": "thick", "state": "unack"}
    story.add(45, "alarm.raised", body | {"occurrence": 1})
    story.add(46, "alarm.raised", body | {"occurrence": 2})


def plant_gap(story: Story) -> None:
    story.add(50, "device.lost", {"device": "balance", "reason": "no answer"})
    story.add(53.5, "device.connected", {"device": "balance"})


def plant_gap_to_the_end(story: Story) -> None:
    story.add(50, "device.lost", {"device": "balance", "reason": "no answer"})


def plant_flapping(story: Story) -> None:
    """The third loss, then turns told together; the last of them is told twice, as it was not over."""
    story.add(50, "device.lost", {"device": "balance", "reason": "no answer"})
    turns = [(50, 51), (52, 53.5), (54, None)]
    ns = [[str(at(lost)), None if back is None else str(at(back))] for lost, back in turns]
    story.add(55, "device.flapping", {"device": "balance", "turns": ns})
    story.add(57, "device.flapping", {"device": "balance", "turns": [[str(at(54)), str(at(56))]]})
    story.add(58, "device.connected", {"device": "balance"})


def plant_gap_outside(story: Story) -> None:
    story.add(-100, "device.lost", {"device": "balance", "reason": "no answer"})
    story.add(-90, "device.connected", {"device": "balance"})


def plant_restart(story: Story) -> None:
    story.add(50, "gateway.started", {"version": "0.1", "boot": "b2"})


def plant_start_before(story: Story) -> None:
    story.add(-300, "gateway.started", {"version": "0.1", "boot": "b1"})


def plant_counter_reset(story: Story) -> None:
    story.add(50, "counter.stepped", {"counter": "units", "before": "88300", "after": "2", "total": "92"})


def plant_suspect(story: Story) -> None:
    assert story.batch is not None
    story.change(95, lifecycle.suspect(story.batch, ["T-41"], "weight 0.94 g"))


def plant_decided_suspect(story: Story) -> None:
    plant_suspect(story)
    assert story.batch is not None
    story.change(96, lifecycle.dispose_tray(story.batch, "T-41", "released", QUINN, "weighed again"))


def plant_correction(story: Story) -> None:
    assert story.batch is not None
    entry = CountEntry("units_destroyed", Decimal(1), "{count}", "seen by two persons", supersedes=4)
    story.change(95, lifecycle.entered(story.batch, story.recipe, entry, ANA, at(95)))


def plant_imbalance(story: Story) -> None:
    assert story.batch is not None
    entry = CountEntry("labels_damaged", Decimal(9), "{count}")
    story.change(95, lifecycle.entered(story.batch, story.recipe, entry, ANA, at(95)))


def plant_open_halt(story: Story) -> None:
    halt(story, 50, "requested", "filler", "r", text="weight", sampled=str(at(50)), judged=str(at(50)))
    halt(story, 50.1, "confirmed", "filler", "r", text="weight", sampled=str(at(50)), judged=str(at(50)))


def plant_failed_halt(story: Story) -> None:
    plant_open_halt(story)
    halt(story, 52, "failed", "filler", "r", text="weight")
    halt(story, 55, "released", "filler", "r", by="tom", text="weight", reason="stopped by hand")


def plant_unsynchronised(story: Story) -> None:
    story.records[3]["context"] = story.records[3]["context"] | {"clock": "unsynchronised"}


def plant_unnamed_tray(story: Story) -> None:
    body = {"tray": "unseen-1-9", "state": "unseen", "first_unit": "1", "last_unit": "9", "seen": False, "suspect": []}
    story.add(50, "batch.tray", body)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (plant_late, ["check.late"]),
        (plant_missed, ["check.missed"]),
        (plant_failed, ["check.failed"]),
        (plant_superseded_alarm, ["alarm.unacknowledged", "alarm.open"]),
        (plant_gap, ["device.gap"]),
        (plant_gap_to_the_end, ["device.gap"]),
        (plant_gap_outside, []),
        (plant_flapping, ["device.gap"]),
        (plant_restart, ["gateway.restarted"]),
        (plant_start_before, []),
        (plant_counter_reset, ["counter.stepped"]),
        (plant_suspect, ["tray.suspect"]),
        (plant_decided_suspect, []),
        (plant_unnamed_tray, ["tray.unseen"]),
        (plant_correction, ["entry.corrected"]),
        (plant_imbalance, ["count.unreconciled"]),
        (plant_open_halt, ["halt.open"]),
        (plant_failed_halt, ["halt.failed"]),
        (plant_unsynchronised, ["clock.unsynchronised"]),
        (lambda story: story.add(50, "clock.stepped", {"step": "-7200000000000"}), ["clock.stepped"]),
        (lambda story: story.add(50, "gateway.stalled", {"text": "stood still for 2 s"}), ["gateway.stalled"]),
        (lambda story: story.add(50, "telemetry.shed", {"first": "1", "last": "9"}), ["telemetry.shed"]),
        (lambda story: story.add(50, "store.quarantined", {"text": "telemetry.db"}), ["store.quarantined"]),
        (lambda story: story.add(50, "store.differs", {"text": "latches"}), ["store.differs"]),
        (lambda story: story.add(50, "verification.started", {"rule": "one-in-100"}), ["verification.open"]),
    ],
)
def test_each_planted_fault_is_found(story: Story, plant: Callable[[Story], Any], found: list[str]) -> None:
    """Late, missed, failed, open, away, stepped, shed, suspect, corrected, unreconciled: each gives its finding."""
    plant(story)

    assert kinds(story.records) == found


def _scanning(story: Story, *kinds: str) -> None:
    """The recipe of this batch wants these kinds scanned."""
    ordered = next(one for one in story.records if one["kind"] == "batch.ordered")
    ordered["body"]["recipe"]["document"]["scanned"] = list(kinds)


def _scan(story: Story, second: float, text: str) -> None:
    """A code is read, and compared with the order."""
    assert story.batch is not None
    match = scans.scanned(story.batch, scans.Code(text, "scanner"), "gateway", date(2026, 8, 1), at(second))
    story.add(second, match.draft.kind, dict(match.draft.body))


def test_a_lot_that_was_never_scanned_is_found(story: Story) -> None:
    """Of the kinds the recipe wants scanned, by lot or by UID; the others are nobody's business."""
    _scanning(story, "oil", "cartridge")
    _scan(story, 5, "1A4010300003F86000017647")
    _scan(story, 6, "ROLL-77")
    _scan(story, 7, "NOT-OURS")

    assert [one.text for one in findings(story.records)] == ["cartridge lot CCELL-5521 was never scanned"]
    _scan(story, 8, "CCELL-5521")
    assert kinds(story.records) == []


def test_a_lot_that_was_only_scanned_wrongly_is_found(story: Story) -> None:
    """Expired when it was scanned: that is no proof that the right one was used."""
    _scanning(story, "oil")
    assert story.batch is not None
    late = scans.scanned(story.batch, scans.Code("DST-0291", "scanner"), "gateway", date(2026, 9, 2), at(5))
    story.add(5, late.draft.kind, dict(late.draft.body))

    (found,) = findings(story.records)
    assert (found.kind, found.grave, len(found.indexes)) == ("material.unscanned", True, 1)
    assert found.text == "oil lot DST-0291 was scanned, and wrong: oil lot DST-0291 expired on 2026-09-01"


def test_a_recipe_wants_scanned_only_what_it_has() -> None:
    """A typo in the kind would be a scan that nobody ever misses."""
    with pytest.raises(ValueError, match="oyl is not among the recipe's materials"):
        recipe(scanned=("oyl",))


def test_texts_carry_the_numbers(story: Story) -> None:
    """A reviewer reads how long, since when and why."""
    plant_gap(story)
    plant_imbalance(story)

    texts = [one.text for one in findings(story.records)]
    assert texts == [
        "labels: -9 off (-1.25 %), limit within 1.0 % of issued",
        "balance was away for 3.5 s, 09:00:50.0 to 09:00:53.5 UTC: no answer",
    ]


@pytest.mark.parametrize("step_s", [7200, -7200])
def test_a_clock_that_was_stepped_hides_no_gap(story: Story, step_s: int) -> None:
    """Set back by hours the run ends before it began, by its times; what was missing in it was missing all the same."""
    for record in story.records:
        if int(record["time"]) > at(50):
            record["time"] = str(int(record["time"]) + step_s * 10**9)
    story.add(49, "device.lost", {"device": "scanner", "reason": "pulled"})
    story.add(50 + step_s, "clock.stepped", {"step": str(step_s * 10**9)})
    story.add(52 + step_s, "device.connected", {"device": "scanner"})
    story.add(53 + step_s, "device.lost", {"device": "balance", "reason": "no answer"})
    story.add(54.5 + step_s, "device.connected", {"device": "balance"})
    _in_order(story, "device.lost", "clock.stepped", "device.connected", "device.lost", "device.connected")

    gaps = [one.text.partition(",")[0] for one in findings(story.records) if one.kind == "device.gap"]
    assert gaps == ["scanner was away for 3.0 s", "balance was away for 1.5 s"]


def _in_order(story: Story, *kinds: str) -> None:
    """Put the last records where they happened: after what was stamped before the step, before all that came later."""
    last = [story.records.pop() for _ in kinds][::-1]
    assert tuple(one["kind"] for one in last) == kinds
    at_index = next(n for n, one in enumerate(story.records) if one["kind"] == "batch.completed")
    story.records[at_index:at_index] = last
    for number, record in enumerate(story.records):
        record["index"] = number


def test_a_link_that_flapped_is_one_text(story: Story) -> None:
    """How often, and how long in all."""
    plant_flapping(story)

    (found,) = findings(story.records)
    assert found.text == "balance came and went 3 times, away for 4.5 s in all, 09:00:50.0 to 09:00:58.0 UTC: no answer"


def test_a_link_that_flapped_since_before_the_batch_is_a_gap(story: Story) -> None:
    """Its loss is no record of the batch; its turns in the run are, and count from the start of the run."""
    turns = [[str(at(-20)), str(at(-10))], [str(at(-1)), str(at(2))], [str(at(20)), str(at(21.5))]]
    story.add(40, "device.flapping", {"device": "balance", "turns": turns, "reasons": {"no answer": "3"}})
    story.add(58, "device.connected", {"device": "balance"})

    (found,) = findings(story.records)
    assert found.text == "balance came and went 2 times, away for 3.5 s in all, 09:00:00.0 to 09:00:58.0 UTC: no answer"
    assert len(found.indexes) == 2


def test_checks_never_asked_for_are_missed() -> None:
    """A plan that asked for too few checks, or for none, is found from the recipe and the count."""
    records = clean().records

    assert kinds([one for one in records if one["body"].get("rule") != "one-in-100"]) == ["check.absent"]
    few = clean()
    for record in few.records:
        if record["body"].get("units_filled"):
            record["body"]["units_filled"] = "399"
    assert findings(few.records)[0].text == "the recipe's plan every_100 asked for 1 checks; 399 units call for 3"


def test_a_batch_without_an_end_is_incomplete(story: Story) -> None:
    """A record that ends in mid-run says so, and what cannot be known is not invented."""
    records = without(story.records, "batch.completed")
    records = [one for one in records if "reconciliation" not in one["body"]]

    assert "batch.incomplete" in kinds(records)


def test_an_empty_record_is_no_crash() -> None:
    """No records, no findings to rest on: but the checklist says that everything is missing."""
    assert findings([]) == []
    assert all(item.missing for item in checklist([]) if item.key in {"master", "dates", "checks", "disposition"})


def test_findings_have_stable_ids() -> None:
    """The same records give the same ids, so that a reason given stays with its finding."""
    ids = [one.id for one in findings(told().records)]

    assert ids == [one.id for one in findings(told().records)]
    assert len(set(ids)) == len(ids)


def test_the_story_of_the_heater() -> None:
    """The demo's batch shows its failed check, missed check, correction and gap, and nothing else."""
    assert kinds(told().records) == ["check.failed", "check.missed", "entry.corrected", "device.gap"]


def test_halt_stamps_come_from_the_first_confirmation() -> None:
    """Reaction times are those of the first confirmation, even if the halt was asserted again later."""
    log = Log(told().records)

    first = log.halts[0]
    assert (first.halt, first.took_ns("sampled", "confirmed")) == ("filler:one-in-100", 48_700_000)
    assert first.released is not None


def test_an_alarm_that_comes_back_is_another_story() -> None:
    """Occurrences begin at 1 again once an alarm was over and seen; they are not run together."""
    story = Story()
    for second in (1, 5):
        for offset, word, state in ((0, "raised", "unack"), (1, "cleared", "rtn_unack"), (2, "acknowledged", "normal")):
            body = {"alarm": "a", "occurrence": 1, "priority": "low", "text": "t", "state": state}
            story.add(second + offset, f"alarm.{word}", body)

    assert [len(one.indexes) for one in Log(story.records).alarms] == [3, 3]


def test_the_checklist_tells_watching_from_people() -> None:
    """Every item of 21 CFR 211.188(b) is there; what the story did is answered, by machine and by person."""
    items = {item.key: item for item in checklist(told().records)}
    cites = " ".join(item.cite for item in items.values())

    assert [number for number in range(1, 14) if f"(b)({number})" not in cites] == []
    assert [item.key for item in items.values() if item.missing] == []
    assert items["checks"].automatic
    assert items["label-proof"].automatic
    assert items["label-proof"].person
    assert not items["weights"].automatic


def test_the_checklist_says_what_nobody_signed() -> None:
    """A recipe whose steps cover nothing leaves those items missing."""
    records = told().records
    for record in records:
        record["body"].pop("covers", None)
    missing = {item.key: item.missing for item in checklist(records) if item.missing}

    assert missing["area-before"] == "nobody signed a step that covers area-before"
    assert set(missing) == {
        "components-verified", "area-before", "area-after", "label-proof", "examination", "sanitation", "oil-release",
    }  # fmt: skip
    assert set(missing) <= set(keys())


def test_the_recipe_of_the_record_is_the_recipe() -> None:
    """batch.ordered holds the whole master record: it reads back as the same recipe."""
    log = Log(clean().records)

    assert recipe().model_validate(log.recipe) == recipe()


def test_times_and_durations_are_said_plainly() -> None:
    """What a reviewer reads: UTC with a tenth of a second, and durations in the unit they need."""
    assert moment(at(0.25)) == "2026-03-14 09:00:00.2 UTC"
    assert [lasted(int(s * 1e9)) for s in (0.0487, 3.4, 125, 3840, -7200)] == [
        "48.7 ms", "3.4 s", "2 min 5 s", "1 h 4 min", "-2 h 0 min",
    ]  # fmt: skip


def test_a_check_done_after_it_was_missed_is_one_finding(story: Story) -> None:
    """Missed and done late is said in one sentence, not two."""
    plant_missed(story)
    check = judged_check(story, "five-in-15", 1, 75, 5, late=True)

    (only,) = findings(story.records)
    assert (only.kind, check.late) == ("check.missed", True)
    assert only.text.endswith("was missed; done late: passed")
