"""The product: oil that cools, the wrong label roll, a check nobody came to do."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import Refused
from tests.scenarios.floor import RATE, WEIGHED, Floor

pytestmark = pytest.mark.slow


def test_a_heater_failure_ends_in_a_halt_and_a_verified_restart(floor: Floor) -> None:
    """Cold oil is warned of, the 1-in-100 check fails, the filler is held, trays are suspect, the next units prove."""
    floor.begin("hundred")
    floor.technician()
    before = floor.newest()
    floor.record("check.judged", after=before, rule=WEIGHED, state="passed", within_s=30)
    floor.sim("fault", device="reservoir", name="heater_failure")
    warm = floor.record("alarm.raised", after=before, alarm="oil-temperature", severity="alarm", within_s=40)
    thick = floor.record("alarm.raised", after=before, alarm="oil-viscosity", severity="alarm", within_s=40)
    failed = floor.record("check.judged", after=before, rule=WEIGHED, state="failed", within_s=40)
    halt = floor.record("halt.confirmed", after=before, device="filler")
    assert max(warm["index"], thick["index"]) < failed["index"]
    assert floor.machine("filler") == "Held"
    _four_stamps(floor, halt["body"])
    _suspects(floor, before, failed, halt)

    floor.sim("heal", device="reservoir", name="heater_failure")
    floor.wait("the oil is warm", lambda: floor.truth()["plant"]["temperature_cel"] > 61.5, 30)
    floor.sim("recalibrate")
    with pytest.raises(Refused, match="record the recalibration"):
        floor.release("filler", reason="heater relay replaced", recalibration="")
    floor.release("filler", reason="heater relay replaced", recalibration="pump trimmed to 1.000 g, 3 doses")
    held_at = floor.truth("filler")["units"] - floor.base
    floor.operate("filler", "unhold", "Execute")
    proof = floor.record("check.judged", after=halt["index"], why="verification", within_s=40)["body"]
    assert proof["state"] == "passed"
    assert len(proof["samples"]) == 5
    assert min(sample["unit_no"] for sample in proof["samples"]) > held_at
    resumed = floor.record("check.judged", after=halt["index"], why="schedule", state="passed", within_s=40)
    assert int(resumed["body"]["due_units"]) > held_at
    _every_weight_is_true(floor, before)
    _record_is_closed(floor)


def _four_stamps(floor: Floor, body: dict[str, Any]) -> None:
    sampled, judged, commanded, confirmed = (int(body[s]) for s in ("sampled", "judged", "commanded", "confirmed"))
    assert sampled <= judged <= commanded <= confirmed
    assert confirmed - sampled < 2_000_000_000  # the rule's own deadline
    held = [hold for hold in floor.holds("filler", 0) if hold["applied"]][-1]
    assert commanded <= held["time_ns"] <= confirmed


def _suspects(floor: Floor, before: int, failed: dict[str, Any], halt: dict[str, Any]) -> None:
    """Every tray with a unit that no good check vouches for, and no other: by what the filler really made."""
    good = floor.records("check.judged", after=before, rule=WEIGHED, state="passed")[-1]["body"]
    proven = max(sample["unit_no"] for sample in good["samples"])
    bad = max(sample["unit_no"] for sample in failed["body"]["samples"])
    doubtful = {unit["tray"] for unit in floor.units(proven + 1).values()}
    assert {unit["tray"] for unit in floor.units(proven + 1, bad).values()} <= set(halt["body"]["suspects"]) <= doubtful

    def marked() -> set[str]:
        return {r["body"]["tray"] for r in floor.records("batch.tray", after=before) if r["body"]["suspect"]}

    floor.wait(f"trays {doubtful} are all suspect", lambda: marked() == doubtful, 5)


def _every_weight_is_true(floor: Floor, before: int) -> None:
    """What was judged is what lay on the pan."""
    made = floor.units()
    samples = [r["body"]["sample"] for r in floor.records("check.taken", after=before) if r["body"]["rule"] == WEIGHED]
    assert samples
    for sample in samples:
        assert abs(float(sample["value"]) - made[sample["unit_no"]]["net_g"]) < 0.002
        assert sample["tray"] == made[sample["unit_no"]]["tray"]


def _record_is_closed(floor: Floor) -> None:
    floor.complete()
    floor.acknowledge_all()
    floor.sign_all()
    suspect = floor.shown("batch")["suspect"]
    for tray in suspect:
        floor.people["quinn"].command(
            "batch.tray", signed=True, batch=floor.batch, tray=tray, disposition="rejected", reason="cold oil"
        )
    closed = floor.shut("heater failure: trays rejected, filler verified")
    assert {"check.failed"} <= {finding["kind"] for finding in closed["findings"]}
    floor.verify()


def test_the_first_wrong_label_stops_the_labeller(floor: Floor) -> None:
    """A wrong roll is held at its first label; released with a reason, and every label is accounted for at the end."""
    floor.begin()
    labels = floor.truth("labeller")["applied"]
    floor.wait("labels are applied", lambda: floor.truth("labeller")["applied"] > labels + 20)
    before = floor.newest()
    right = floor.truth("labeller")["applied"]
    floor.roll(uid="1A4FF0100000022000009999")
    halt = floor.record("halt.confirmed", after=before, device="labeller")["body"]
    assert "uid" in halt["text"]
    assert floor.machine("labeller") == "Held"
    wrong = floor.truth("labeller")["applied"] - right
    per_s = 1.5 * RATE
    assert 1 <= wrong <= 1 + per_s * (0.25 + 0.25), "the poll's period and the reaction that BARS R12 allows"

    floor.roll()
    floor.release("labeller", reason=f"wrong roll off, {wrong} labels set aside")
    released = floor.record("halt.released", after=before)
    assert released["body"]["reason"].startswith("wrong roll off")
    floor.operate("labeller", "unhold", "Execute")
    floor.wait("it labels on", lambda: floor.truth("labeller")["applied"] > right + wrong + 20)
    assert {each["body"]["halt"] for each in floor.records("halt.requested", after=before)} == {halt["halt"]}
    assert not floor.records("halt.requested", after=released["index"])
    done = floor.complete()
    (equation,) = [each for each in done["reconciliation"] if each["name"] == "labels"]
    assert equation["ok"], equation
    plant = floor.truth()["plant"]
    applied = next(each["value"] for each in equation["inputs"] if "applied" in each["name"])
    assert int(applied) == plant["labels_applied"] - floor.began["labels_applied"]
    floor.acknowledge_all()
    floor.sign_all()
    floor.shut("wrong roll found at its first label; labels reconciled")


def test_a_check_nobody_did_is_a_deviation_that_needs_a_reason(floor: Floor) -> None:
    """The technician stays away: alarm, deviation in the record, and no disposition without a word on it."""
    floor.begin("impatient")
    before = floor.newest()
    missed = floor.record("check.missed", after=before, rule=WEIGHED, within_s=20)
    due = floor.record("check.due", after=before, rule=WEIGHED)
    assert missed["body"]["id"] == due["body"]["id"]
    assert 2 <= (int(missed["time"]) - int(due["time"])) / 1e9 < 3.5, "its grace is two seconds"
    alarm = floor.wait("the alarm stands", lambda: floor.alarm(WEIGHED))
    assert alarm["priority"] == "high"
    assert missed["body"]["suspects"]
    assert not floor.records("check.judged", "halt.requested", after=before)

    floor.complete()
    floor.acknowledge_all()
    floor.sign_all()
    with pytest.raises(Refused, match=r"check\.missed|missed") as refusal:
        floor.shut("")
    assert refusal.value.code == "findings_open"
    closed = floor.shut("technician called away; trays weighed afterwards, all good")
    found = [finding for finding in closed["findings"] if finding["kind"] == "check.missed"]
    assert found
    assert all(finding["reason"].startswith("technician called away") for finding in found)
    floor.verify()
