"""Halts on the real processes: a controller that lies, a hand at the machine, people who are too late or may not."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import Refused
from tests.scenarios.floor import HOT_CEL, HOT_TAG, Floor

pytestmark = pytest.mark.slow

RESTS = 4, 0
"""CntrlCmd Hold, and none: a gateway writes nothing else to a machine."""


def test_a_lying_controller_is_never_shown_as_held(floor: Floor) -> None:
    """A filler that says Good and runs on is a HALT FAILED, tried each second without a heartbeat, until it holds."""
    floor.begin()
    for fault in ("lying", "unwatched"):
        floor.sim("fault", device="filler", name=fault)
    before = floor.newest()
    at = floor.deviate(HOT_TAG, HOT_CEL + 20)
    failed = floor.record("halt.failed", after=before, device="filler")
    assert 1.9 < (int(failed["time"]) - at["time_ns"]) / 1e9 < 3.2
    assert floor.wait("HALT FAILED is shown", lambda: floor.alarm("halt-failed:filler"))["priority"] == "critical"

    beat = floor.truth("filler")["heartbeat_in"]
    floor.wait("tries go on", lambda: len(floor.holds("filler", at["mono_ns"])) >= 8, 10)
    tries = floor.holds("filler", at["mono_ns"])
    rhythm_s = [(b["mono_ns"] - a["mono_ns"]) / 1e9 for a, b in itertools.pairwise(tries[3:])]
    assert all(0.7 < pause_s < 1.5 for pause_s in rhythm_s), rhythm_s
    assert not any(attempt["applied"] for attempt in tries)
    assert floor.truth("filler")["heartbeat_in"] == beat
    assert floor.machine("filler") == "Execute"
    assert not floor.records("halt.confirmed", after=before)
    assert floor.halt("filler", "failed")

    floor.sim("heal", device="filler", name="lying")
    confirmed = floor.record("halt.confirmed", after=before, device="filler", within_s=5)
    assert confirmed["body"]["halt"] == failed["body"]["halt"]
    assert floor.machine("filler") == "Held"
    floor.wait("the heartbeat goes on", lambda: floor.truth("filler")["heartbeat_in"] != beat, 5)


def test_a_withheld_heartbeat_lets_the_controller_hold_by_itself(floor: Floor) -> None:
    """Where the controller watches our heartbeat, a halt that failed ends with the machine held all the same."""
    floor.begin()
    floor.sim("fault", device="filler", name="lying")
    before, noted = floor.newest(), floor.truth("filler")["notes"]
    floor.deviate(HOT_TAG, HOT_CEL + 20)
    floor.record("halt.failed", after=before, device="filler")
    assert floor.truth("filler")["notes"] == noted

    confirmed = floor.record("halt.confirmed", after=before, device="filler", within_s=6)
    assert floor.truth("filler")["notes"] == [*noted, "heartbeat lost"]
    assert "Held" in confirmed["body"]["proof"]


def test_a_machine_held_by_hand_in_an_open_batch_is_latched(floor: Floor) -> None:
    """Whoever presses Hold at the filler leaves a latch `found held`, which a person with a reason takes off."""
    floor.begin()
    before = floor.newest()
    floor.operate("filler", "hold", "Held")
    latch = floor.record("halt.confirmed", after=before, device="filler")["body"]
    assert latch["rule"] == "found-held"
    assert floor.wait("it is shown", lambda: floor.alarm("found-held:filler"))["priority"] == "high"

    floor.release("filler", reason="cap jam cleared by hand")
    released = floor.record("halt.released", after=before)
    assert (released["by"], released["body"]["reason"]) == ("tom", "cap jam cleared by hand")
    floor.operate("filler", "unhold", "Execute")
    made = floor.truth("filler")["units"]
    floor.wait("it fills on", lambda: floor.truth("filler")["units"] > made + 20)
    assert len(floor.records("halt.requested", after=before)) == 1


def test_a_release_needs_the_right_person_the_right_door_and_fresh_eyes(floor: Floor) -> None:
    """No release with the cause there, unacknowledged, without role or password, of an old version, or by MQTT."""
    floor.begin()
    before = floor.newest()
    floor.deviate(HOT_TAG, HOT_CEL + 20)
    seen = floor.record("halt.confirmed", after=before, device="filler")["body"]
    release = {"halt": seen["halt"], "version": seen["version"], "reason": "it looked fine to me"}

    answer = floor.mes.command("halt.release", **release)
    assert (answer["ok"], answer["code"]) == (False, "wrong_door")
    assert floor.record("command.refused", after=before)["body"]["code"] == "wrong_door"
    tom = floor.people["tom"]
    _refused("not_acknowledged", tom, release)
    floor.acknowledge_all()
    _refused("condition_stands", tom, release)
    _refused("not_allowed", floor.people["olga"], release)
    _refused("password_needed", tom, release, signed=False)

    floor.deviate(HOT_TAG, None)
    gone = floor.record("alarm.cleared", after=before, alarm="oil-hot")
    floor.deviate(HOT_TAG, HOT_CEL + 30)
    again = floor.record("alarm.raised", after=gone["index"], alarm="oil-hot")
    floor.deviate(HOT_TAG, None)
    floor.record("alarm.cleared", after=again["index"], alarm="oil-hot")
    floor.acknowledge_all()
    refusal = _refused("changed", tom, release)
    assert refusal.facts["version"] > seen["version"]
    assert floor.machine("filler") == "Held"

    at_ns = floor.holds("filler", 0)[-1]["mono_ns"]
    tom.command("halt.release", signed=True, **{**release, "version": refusal.facts["version"]})
    floor.record("halt.released", after=before)
    beats = floor.truth("filler")["heartbeat_in"]
    floor.wait("two heartbeats", lambda: floor.truth("filler")["heartbeat_in"] not in (beats, beats + 1))
    assert floor.machine("filler") == "Held"
    commands = {write["value"] for write in floor.writes("filler", at_ns) if write["what"] == "CntrlCmd"}
    assert commands <= set(RESTS)


def _refused(code: str, person: object, release: dict[str, object], *, signed: bool = True) -> Refused:
    with pytest.raises(Refused) as refusal:
        person.command("halt.release", signed=signed, **release)  # type: ignore[attr-defined]
    assert refusal.value.code == code, refusal.value
    return refusal.value
