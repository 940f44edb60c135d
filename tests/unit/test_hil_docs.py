"""What the manual says of scenarios is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from gateway.hil import lines, target
from gateway.hil.hands import _VERBS
from gateway.hil.look import _PLACES
from gateway.hil.scenario import Step, load
from gateway.hil.sights import PLACES
from gateway.hil.verbs import Do

DOCS = Path(__file__).parents[2] / "docs"


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_scenarios", DOCS / "make_scenarios.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh() -> None:
    """Tables and examples are those that the models and files make now: else run `python docs/make_scenarios.py`."""
    text = (DOCS / "scenarios.md").read_text("utf-8")

    assert text == _maker().page(text)


def test_every_word_can_be_done_and_seen() -> None:
    """No verb without a hand, no place without a look; each has its row and its sentence."""
    text = (DOCS / "scenarios.md").read_text("utf-8")

    assert set(_VERBS) | {"wait"} == set(Do.model_fields)
    assert set(_PLACES) == set(PLACES)
    for word in (*Do.model_fields, *PLACES):
        assert re.search(rf"^\| `{word}` \|.*[\w)`]\. \|$", text, re.MULTILINE), word


def test_every_word_of_a_step_is_told() -> None:
    """The table of a step has all its keys."""
    text = (DOCS / "scenarios.md").read_text("utf-8")

    assert [name for name in Step.model_fields if f"| `{name}` |" not in text] == []


def test_the_examples_can_be_played(tmp_path: Path) -> None:
    """The site's scenario and the line's file are read as they stand; the target's secrets are put beside it."""
    assert load(DOCS / "hil" / "cables.yaml").scenario.real
    assert lines.load(DOCS.parent / "tests" / "scenarios" / "lines" / "floor.yaml").recipes
    for name in ("hil.password", "tom.password", "console.token"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "hil.yaml").write_text((DOCS / "hil" / "hil.yaml").read_text("utf-8"))
    read = target.load(tmp_path / "hil.yaml")

    assert read.people["tom"].password_file == tmp_path / "tom.password"
    assert read.relays["balance"]["cut"].on
