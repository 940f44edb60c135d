"""Every scenario of the library, on the real processes, judged from outside as an MES and an auditor would."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from gateway.hil.progress import measured
from gateway.hil.results import Outcome
from gateway.hil.scenario import Loaded, load_all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]  # they wait for their turn, and for a machine that is not starved

HERE = Path(__file__).parent
LIBRARY = sorted(load_all([HERE]), key=lambda each: (str(each.line), -each.scenario.takes))
FEWEST = 20


def _listed() -> list[object]:
    return [
        pytest.param(each, id=each.name, marks=[pytest.mark.chaos] if each.scenario.chaos else []) for each in LIBRARY
    ]


def told(outcome: Outcome) -> str:
    """What is read after a failure."""
    lines = [
        f"{each.word:12s} {each.step:10s} {measured(each):>18s}  {each.sentence}"
        + (f": {each.said}" if not each.ok else "")
        for each in outcome.results
    ]
    logs = [f"== {name} ==\n{text}" for name, text in outcome.logs.items()]
    starved = [f"not judged: {outcome.starved}"] if outcome.starved else []
    return "\n".join([f"{outcome.title} ({outcome.file}, {outcome.line})", *starved, *lines, *logs])


@pytest.mark.parametrize("loaded", _listed())
def test_all_that_must_be_seen_is_seen(loaded: Loaded, library: dict[str, Future[Outcome]]) -> None:
    """What the scenario says must be seen was seen in its time, and nothing that must not be."""
    outcome = library[loaded.name].result()

    assert outcome.ok, told(outcome)


def test_the_library_is_a_library() -> None:
    """At least twenty scenarios ship, most of them can be played on a real line, and each says why it is there."""
    assert len(LIBRARY) >= FEWEST
    assert sum(each.scenario.real for each in LIBRARY) >= FEWEST // 2
    assert all(each.scenario.why for each in LIBRARY)
