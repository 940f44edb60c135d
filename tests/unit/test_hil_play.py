"""How a scenario is played: in turn, timed from outside, judged without mercy; on a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.hil.play import Player
from gateway.hil.results import Outcome, Result
from tests.unit.hil_fakes import FakeFloor, written


def play(folder: Path, floor: FakeFloor, steps: str, tail: str = "") -> Outcome:
    loaded = written(folder, f"scenario: x\nsteps:\n{steps}\n{tail}")
    return Player(loaded, floor, floor.clock).play()


def only(outcome: Outcome, kind: str = "see") -> Result:
    (found,) = [each for each in outcome.results if each.kind == kind]
    return found


CUT = "- do: {fault: {device: a, name: cut}}\n  see: {record: device.lost, with: {device: a}, within: 2s}"


def test_a_thing_seen_in_time_passes_with_its_time(tmp_path: Path) -> None:
    """The measured time is that of its coming, not of our looking."""
    floor = FakeFloor()
    floor.observer.record(1.234, "device.lost", device="a")
    outcome = play(tmp_path, floor, CUT)

    assert outcome.ok
    assert only(outcome).measured_s == pytest.approx(1.234)


@pytest.mark.parametrize(
    ("at_s", "kind", "device"), [(2.2, "device.lost", "a"), (1, "device.lost", "b"), (1, "x", "a")]
)
def test_what_comes_late_or_is_another_does_not_pass(tmp_path: Path, at_s: float, kind: str, device: str) -> None:
    """Two tenths too late is too late; another device's record is another thing."""
    floor = FakeFloor()
    floor.observer.record(at_s, kind, device=device)
    outcome = play(tmp_path, floor, CUT)

    assert not outcome.ok
    assert outcome.lasted_s < 4


def test_a_thing_that_was_there_before_does_not_count(tmp_path: Path) -> None:
    """A step looks at what comes after it began; `within_after` looks from another step on."""
    floor = FakeFloor()
    floor.observer.record(0.5, "device.lost", device="a")
    wait = "- {id: first, do: {wait: 1s}}\n- see: {record: device.lost, within: 1s"

    assert not play(tmp_path, floor, wait + "}").ok
    again = FakeFloor()
    again.observer.record(0.5, "device.lost", device="a")
    assert play(tmp_path, again, wait + ", within_after: first}").ok


def test_after_a_failure_nothing_is_done_any_more(tmp_path: Path) -> None:
    """The steps behind it are not reached, and are named so."""
    floor = FakeFloor()
    outcome = play(tmp_path, floor, CUT + "\n- do: {heal: {device: a}}\n  see: {alarm: b}")

    assert [verb for _, verb, _ in floor.did] == ["fault"]
    assert [each.word for each in outcome.results] == ["failed", "not reached"]


def test_what_must_last_must_last(tmp_path: Path) -> None:
    """`for` begins anew when it was not so for a moment."""
    floor = FakeFloor()
    for at_s, state in ((0, "Held"), (1, "Execute"), (1.5, "Held")):
        floor.observer.show(at_s, "machine", {"is": state})
    outcome = play(tmp_path, floor, "- see: {state: machine, with: {is: Held}, for: 2s, within: 3s}")

    assert outcome.ok
    assert only(outcome).measured_s == pytest.approx(1.5, abs=0.05)
    assert floor.clock.s >= 103.5


@pytest.mark.parametrize(("at_s", "ok"), [(0.5, False), (1.5, True)])
def test_never_is_watched_for_its_time(tmp_path: Path, at_s: float, ok: bool) -> None:
    """Inside its time it ends the story; afterwards it is no matter."""
    floor = FakeFloor()
    floor.observer.record(at_s, "check.judged")
    outcome = play(tmp_path, floor, "- never: {record: check.judged, for: 1s}\n- do: {wait: 2s}")

    assert outcome.ok is ok
    assert only(outcome, "never").ok is ok


@pytest.mark.parametrize("at_s", [0.2, 2.9])
def test_never_of_a_scenario_is_watched_to_its_end(tmp_path: Path, at_s: float) -> None:
    """In every step and between them."""
    floor = FakeFloor()
    floor.observer.record(at_s, "gateway.started")
    outcome = play(
        tmp_path, floor, "- do: {wait: 1s}\n- {after: 1s, do: {wait: 1s}}", "never: {record: gateway.started}"
    )

    assert [each.word for each in outcome.results] == ["failed"]


def test_what_cannot_be_done_fails_with_its_words(tmp_path: Path) -> None:
    """A refusal of the line is the result, not a traceback."""
    floor = FakeFloor()
    floor.refuses["fault"] = "no fault 'cut'; it has silent"
    outcome = play(tmp_path, floor, CUT)

    assert only(outcome, "do").said == "no fault 'cut'; it has silent"


def test_steps_keep_their_times(tmp_path: Path) -> None:
    """`after` counts from the step before, `at` from the story's beginning, `times` repeats, `when` waits."""
    floor = FakeFloor()
    floor.observer.record(6.0, "check.due")
    steps = """- {after: 1s, do: {heal: {device: a}}}
- {at: 3s, times: 2, do: [{heal: {device: b}}, {wait: 500ms}]}
- {when: {record: check.due, within: 10s}, do: {heal: {device: c}}}"""
    outcome = play(tmp_path, floor, steps)

    assert outcome.ok
    did = [(at_s, words.device) for at_s, _, words in floor.did]
    assert [name for _, name in did] == ["a", "b", "b", "c"]
    assert [at_s for at_s, _ in did] == pytest.approx([1.0, 3.0, 3.5, 6.0], abs=0.1)


def test_saved_words_are_used(tmp_path: Path) -> None:
    """What was seen has a name from then on; the same field of another thing can be compared with it."""
    floor = FakeFloor()
    floor.observer.record(0.1, "halt.confirmed", halt="h1", version=1)
    floor.observer.record(0.5, "halt.confirmed", halt="h1", version=2)
    steps = """- see: {record: halt.confirmed, save: latch}
- see: {record: halt.confirmed, with: {halt: $latch.halt, version: {above: $latch.version}}}"""

    assert play(tmp_path, floor, steps).ok


def test_a_count_is_exact(tmp_path: Path) -> None:
    """`count: 0` is none, `count: 1` is not two."""
    for count, ok in ((0, False), (1, False), (2, True), ("{at_least: 3}", False)):
        floor = FakeFloor()
        floor.observer.record(0.1, "device.lost")
        floor.observer.record(0.2, "device.lost")
        sees = f"{{record: device.lost, within_after: a, within: 2s, count: {count}}}"
        steps = f"- {{id: a, do: {{wait: 1s}}}}\n- see: {sees}"

        assert play(tmp_path, floor, steps).ok is ok, count


def test_bad_quality_is_never_a_number(tmp_path: Path) -> None:
    """A tag with a reason has no value; a value has no reason."""
    for bad, sees, ok in (
        ("sensor open", "bad: open", True),
        ("sensor open", "is: {above: 0}", False),
        ("", "is: {above: 0}", True),
        ("", "bad: open", False),
    ):
        floor = FakeFloor()
        floor.observer.scan(0.5, "oil/cel", 62.0, bad)

        assert play(tmp_path, floor, f"- see: {{telemetry: oil/cel, {sees}, within: 1s}}").ok is ok, (bad, sees)


def test_faults_are_on_the_timeline_as_long_as_they_last(tmp_path: Path) -> None:
    """From the fault to its healing; what nobody healed lasts to the end."""
    floor = FakeFloor()
    steps = """- do: [{fault: {device: a, name: cut}}, {fault: {device: b, name: cut}}, {wait: 2s}]
- do: [{heal: {device: a}}, {wait: 1s}]"""
    strokes = {each.text: each for each in play(tmp_path, floor, steps).strokes if each.lane == "faults"}

    assert strokes["a cut"].until_s == pytest.approx(2.0, abs=0.05)
    assert strokes["b cut"].until_s == pytest.approx(3.0, abs=0.05)
