"""The verb `clock` of a scenario, and what it is judged by: pauses, scans told apart by number, a clock to step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hil_fakes import FakeClock, FakeEyes, FakeObserver, written

from gateway.errors import ConfigError
from gateway.hil import lines
from gateway.hil.clock import OwnClock
from gateway.hil.eyes import Mark, Observer
from gateway.hil.instructions import instruction
from gateway.hil.look import Look
from gateway.hil.real import CLOCK_RIGHT, Real
from gateway.hil.relays import Relays
from gateway.hil.sights import Sight
from gateway.hil.target import Door, Target
from gateway.hil.verbs import Do

NOW = "import time; print(time.time_ns(), time.monotonic_ns())"


@pytest.mark.parametrize(("said", "seconds"), [("1h", 3600), ("+1h", 3600), ("-2h", -7200), ("-500ms", -0.5)])
def test_a_step_has_a_sign(said: str, seconds: float) -> None:
    """Forward is plain, back has a minus; a model that was read is read again as it stands."""
    do = Do.model_validate({"clock": {"step": said}})
    assert do.words.step == seconds
    assert Do.model_validate(do.model_dump(exclude_unset=True)) == do


@pytest.mark.parametrize("said", ["3600", "--1h", "-", "", "an hour"])
def test_a_step_that_is_none_is_told(tmp_path: Path, said: str) -> None:
    """With file, line and column, and how it is written."""
    with pytest.raises(ConfigError) as told:
        written(tmp_path, f'scenario: a\nsteps:\n  - do: {{clock: {{step: "{said}"}}}}\n')
    assert re.search(r"story\.yaml:3:\d+: .*is not a duration", str(told.value))


def test_a_line_without_a_clock_of_its_own_is_refused(tmp_path: Path) -> None:
    """Before anything starts, at the step's place."""
    loaded = written(tmp_path, "scenario: a\nsteps:\n  - do: {clock: {step: 1h}}\n")
    (problem,) = lines.strangers(loaded)
    assert (problem.line, "own_clock: true" in str(problem)) == (3, True)
    (tmp_path / "line.yaml").write_text("own_clock: true\n")
    assert not [*lines.strangers(written(tmp_path, "line: line.yaml\n" + loaded.path.read_text(), "other"))]


def test_a_person_is_told_which_way() -> None:
    """On a real line somebody sets the clock."""
    target = Target(gateway=Door(mqtt="mqtt://h:1883", path="p"))
    said = [instruction(Do.model_validate({"clock": {"step": step}}), target) for step in ("1h", "-90min")]
    assert [text.split("set its clock ")[1] for text in said] == ["forward by 1h.", "back by 90min."]


class Somebody:
    """Does what is told, at once."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def done(self, text: str, *_: object) -> float:
        self.told.append(text)
        return 1.0


def test_a_person_who_set_the_clock_wrong_sets_it_right_again(tmp_path: Path) -> None:
    """Once, when the scenario is over; and whoever breaks it off is told what is left to do."""
    target = Target(gateway=Door(mqtt="mqtt://h:1883", path="p"))
    prompt: Any = Somebody()
    observer: Any = FakeObserver(FakeClock())
    observer.kinds = lambda kind: [each for each in observer.records.values() if each["kind"] == kind]
    floor = Real(target, prompt, observer, Relays(target))
    step = written(tmp_path, "scenario: a\nsteps:\n  - do: {clock: {step: -2h}}\n").scenario.steps[0]
    floor.do(step.do[0], step, {})
    assert (prompt.told, floor.left()) == ([instruction(step.do[0], target)], CLOCK_RIGHT)
    floor.tidy()
    floor.tidy()
    assert [text.endswith(CLOCK_RIGHT) for text in prompt.told] == [False, True]


def test_a_clock_of_its_own_steps_for_its_process_alone(tmp_path: Path) -> None:
    """Wall clock an hour ahead there and nowhere else; the monotonic one is the computer's."""
    clock = OwnClock(tmp_path)
    clock.step(3600)
    there, here = _now(dict(clock.environment)), _now({})
    assert 0 <= here[0] - (there[0] - 3600 * 10**9) < 60 * 10**9
    assert 0 <= here[1] - there[1] < 60 * 10**9
    clock.set_right()
    assert clock.offset_s == 0
    assert 0 <= _now(dict(clock.environment))[0] - here[0] < 60 * 10**9


def _now(environment: dict[str, str]) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", NOW], env=environment, capture_output=True, text=True, check=True)
    wall, mono = done.stdout.split()
    return int(wall), int(mono)


def test_a_pause_is_measured_here(tmp_path: Path) -> None:
    """From the step's beginning, by when scans came; one that is too long is seen, and too few are no measure."""
    del tmp_path
    clock = FakeClock()
    observer = FakeObserver(clock)
    for number in range(1, 26):
        observer.scan(number * 0.25, "filler/state", 6)
    observer.scan(7.0, "filler/state", 6)
    look = Look(FakeEyes(observer), Mark(100.0), {})
    sight = Sight.model_validate({"pause": "filler", "is": {"below": 0.6}})
    clock.sleep(2)
    assert look.see(sight).said == "only 8 polls came"
    clock.sleep(4)
    assert look.see(sight).ok
    clock.sleep(4)
    assert look.see(sight).said == "0.75 instead of below 0.6"


def test_scans_are_new_by_their_number() -> None:
    """After a clock that was set back they have earlier times, and history still does not count."""
    observer: Any = Observer.__new__(Observer)
    observer.records, observer.arrivals = {}, []
    observer.by_device = {"oven": [_scan(7, 5_000)]}
    mark = Observer.mark(observer, 1.0)
    observer.by_device["oven"] += [_scan(3, 4_000), _scan(9, 2_000), {**_scan(1, 9_000), "boot": "b2"}]
    assert [scan["seq"] for scan in Observer.since(observer, mark, "oven")] == [9, 1]


def _scan(seq: int, time: int) -> dict[str, Any]:
    return {"boot": "b1", "seq": seq, "time": str(time), "values": {}, "came_s": 1.0}
