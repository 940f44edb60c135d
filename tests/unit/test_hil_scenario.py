"""A scenario's file: what is read, and what is said of what cannot be played."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.hil.scenario import load, load_all
from tests.unit.hil_fakes import written

HEAD = "scenario: x\n"


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        written(folder, text)
    return [str(problem) for problem in error.value.problems]


def test_a_story_is_read(tmp_path: Path) -> None:
    """Verbs, places, durations and matchers are what the words say; one thing needs no list."""
    text = (
        HEAD + "steps:\n- do: {fault: {device: a, name: cut}}\n  see: {record: device.lost, with: {n: 3}, within: 2s}\n"
    )
    (step,) = written(tmp_path, text).scenario.steps

    assert step.do[0].verb == "fault"
    assert step.see[0].within == 2.0
    assert step.see[0].with_["n"].equals == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "- do: {falt: {device: a, name: cut}}",
            "story.yaml:3:8: steps[0].do.falt: unknown key; did you mean 'fault'?",
        ),
        ("- do: completed", "story.yaml:3:3: steps[0].do: unknown key; did you mean 'complete'?"),
        ("- do: {fault: {device: a}}", "story.yaml:3:8: steps[0].do.fault.name: is missing"),
        ("- see: {record: device.lots}", "'device.lots'; did you mean 'device.lost'?"),
        ("- see: {recrd: device.lost}", "story.yaml:3:9: steps[0].see.recrd: unknown key; did you mean 'record'?"),
        ("- see: {alarm: a, within: 2}", "2 is not a duration; write a number with ms, s, min, h or d, like 500ms"),
        ("- see: {alarm: a, halt: b}", "one place to look at, not alarm, halt; there are record, alarm,"),
        ("- see: {alarm: a, count: 2}", "only record, holds, writes can be counted"),
        ("- see: {alarm: a, with: {n: {abov: 3}}}", "steps[0].see.with.n.abov: unknown key; did you mean 'above'?"),
        ("- see: {alarm: a, with: {n: {}}}", "says nothing; write above, below"),
        ("- after: 3s", "story.yaml:3:3: steps[0]: a step does something or sees something"),
        ("- see: {alarm: a, within_after: hot}", "steps[0].see[0].within_after: no step before has the id 'hot'"),
        ("- see: {alarm: a, with: {n: $gone.n}}", "nothing was saved as 'gone' before"),
        ("- do: {fault: {device: a, name: b}, heal: {device: a}}", "one verb, not fault, heal; several things to do"),
        ("- never: {truth: plant.units}", "truth can be watched only on a simulated line; say `real: false`"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    """File, line, column, the way into the file, and the nearest right word."""
    (problem,) = problems(tmp_path, f"{HEAD}steps:\n{line}\n")

    assert said in problem
    assert problem.startswith("story.yaml:3:")


def test_ids_and_names_are_known_only_afterwards(tmp_path: Path) -> None:
    """A name saved in a later step is not there yet; an id twice is one too many."""
    text = HEAD + ("steps:\n- {id: a, see: {state: s, with: {n: $late}}}\n- {id: a, see: {state: s, save: late}}\n")

    assert problems(tmp_path, text) == [
        "story.yaml:3:11: steps[0].see[0]: nothing was saved as 'late' before; known: batch, began",
        "story.yaml:4:8: steps[1].id: 'a' is another step's id",
    ]


def test_a_line_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The file of the line is looked for before anything is started."""
    (problem,) = problems(tmp_path, HEAD + "line: no.yaml\nsteps:\n- see: {alarm: a}\n")

    assert problem == "story.yaml:2:7: line: no such file: no.yaml"


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    """Nobody mends one file to hear of the next; garbage is a problem and no traceback."""
    for name, text in (("a", "scenario: 1\n"), ("b", "\t- {"), ("c", "\x00")):
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError) as error:
        load_all([tmp_path])

    assert {problem.file for problem in error.value.problems} == {"a.yaml", "b.yaml", "c.yaml", "d.yaml"}
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.yaml")
