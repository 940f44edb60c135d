"""A scenario: what happens, what must be seen, and within what time.  One YAML file, read with line and column.

    scenario: The balance is unplugged and comes back
    batch: {recipe: quiet}
    steps:
      - id: cut
        do: {fault: {device: balance, name: cut}}
        see:
          - {record: device.lost, with: {device: balance}, within: 2s}
      - do: {heal: {device: balance, name: cut}}
        see:
          - {record: device.connected, with: {device: balance}, within: 10s}
    never:
      - {record: gateway.started}

Steps follow each other: a step does what it does, waits until all it must see was seen (or its time is over), and the
next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gateway.config import yaml as config_yaml
from gateway.config.explain import explain, hint
from gateway.config.yaml import Document, Where
from gateway.errors import ConfigError, Problem
from gateway.hil.matching import Word, names_in
from gateway.hil.sights import BLIND, Sight
from gateway.hil.verbs import Do
from gateway.model import Json
from gateway.units import Duration

WITHIN_S = 15.0
"""Where a scenario does not say within what time something must be seen."""


def _listed(value: Json) -> Json:
    """One thing to do need not be a list of one."""
    return value if isinstance(value, list | tuple) else [value]


class See(Sight):
    """Something that must be seen."""

    within: Duration = Field(WITHIN_S, description="how long after the step began it must have been seen")
    within_after: str = ""
    """Another step's id: the time counts from its beginning, and so do records, holds and writes."""
    for_: Duration = Field(0.0, alias="for")
    """It must have been so, without a break, for so long."""
    save: str = ""
    """What was seen gets this name: `$name.field` means it from here on."""
    text: str = ""
    """The sentence of the report; made of the words above where it is missing."""

    def sentence(self) -> str:
        return self.text or str(self)


class Never(Sight):
    """Something that must not be seen: in a step while its time runs, else from the first step to the end."""

    for_: Duration = Field(0.0, alias="for")
    """So long; without it until the step ends."""
    text: str = ""

    def sentence(self) -> str:
        return self.text or f"never: {self}"


class Step(Word):
    """Something that happens, and what must come of it."""

    id: str = ""
    text: str = ""
    """What is told while it happens, and in the report."""
    at: Duration | None = None
    """Not before this time since the story began."""
    after: Duration = 0.0
    """Pause between the step before and this one."""
    when: See | None = None
    """Begins only when this is seen; it fails when it is not."""
    do: Annotated[tuple[Do, ...], BeforeValidator(_listed)] = ()
    times: int = Field(1, ge=1, le=100)
    """All of `do` again and again."""
    see: Annotated[tuple[See, ...], BeforeValidator(_listed)] = ()
    never: Annotated[tuple[Never, ...], BeforeValidator(_listed)] = ()
    tell: str = ""
    """What a person is told to do on a real line, instead of the verb's own sentence."""

    @model_validator(mode="after")
    def _some(self) -> Step:
        if not (self.do or self.see or self.never or self.when):
            raise ValueError("a step does something or sees something: write do, see, never or when")
        return self

    def title(self) -> str:
        if self.text:
            return self.text
        verbs = ", ".join(f"{one.verb} {_said(one.words)}".strip() for one in self.do)
        return verbs or "look"


class Batch(Word):
    """A batch that runs when the story begins."""

    recipe: str
    units: int = Field(5000, ge=1)


class Plot(Word):
    """A tag drawn in the report, with lines at its limits."""

    tag: str
    unit: str = ""
    high: float | None = None
    low: float | None = None
    target: float | None = None


class Scenario(Word):
    """One story."""

    scenario: str = Field(description="its name, a sentence")
    why: str = ""
    """What it shows, and whom it protects."""
    line: str = Field(
        "", description="file of the line it is played on, from this file's folder; empty: the demonstration's"
    )
    batch: Batch | None = None
    chaos: bool = False
    """Long: run by `make chaos`, not by `make test`."""
    real: bool = True
    """Can be played on a real line."""
    takes: Duration = 10.0
    """About how long: the longest begin first when several lines run side by side."""
    plots: tuple[Plot, ...] = ()
    steps: tuple[Step, ...]
    never: Annotated[tuple[Never, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _happens(self) -> Scenario:
        if not self.steps:
            raise ValueError("nothing happens: steps is empty")
        return self


class Loaded(Word):
    """A scenario and where it came from."""

    path: Path
    scenario: Scenario

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def line(self) -> Path | None:
        """The file of its line; None: the demonstration's."""
        return (self.path.parent / self.scenario.line).resolve() if self.scenario.line else None


def load(path: Path) -> Loaded:
    """Read and check one file.  ConfigError with every problem: file, line, column and the nearest right word."""
    document = config_yaml.read(path)
    problems = list(document.problems)
    scenario = None
    if not problems:
        try:
            scenario = Scenario.model_validate(document.data)
        except ValidationError as error:
            problems += explain(error, document, (), Scenario)
    if scenario is not None:
        problems += _told_wrong(scenario, document, path)
    if problems or scenario is None:
        raise ConfigError(problems)
    return Loaded(path=path.resolve(), scenario=scenario)


def load_all(paths: Sequence[Path]) -> list[Loaded]:
    """All files, or all problems of all files at once; a folder means the scenarios in it."""
    found: list[Loaded] = []
    problems: list[Problem] = []
    for path in _files(paths):
        try:
            found.append(load(path))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.yaml"))
        else:
            yield path


def _told_wrong(scenario: Scenario, document: Document, path: Path) -> Iterator[Problem]:
    """What no single part can know: steps and saved names that are not there yet, files that are missing."""
    if scenario.line and not (path.parent / scenario.line).is_file():
        yield document.problem(("line",), f"no such file: {scenario.line}")
    yield from _unwatchable(scenario, document)
    ids: set[str] = set()
    names: set[str] = {"batch", "began"}
    for number, step in enumerate(scenario.steps):
        where: Where = ("steps", number)
        if step.id in ids:
            yield document.problem((*where, "id"), f"{step.id!r} is another step's id")
        if step.id:
            ids.add(step.id)
        yield from _unknown(step.when, (*where, "when"), ids, names, document)
        names |= {step.when.save} if step.when and step.when.save else set()
        for place, one in enumerate(step.do):
            way = (*where, "do") if len(step.do) == 1 else (*where, "do", place)
            yield from _unsaved(one, way, names, document)
        for place, see in enumerate(step.see):
            yield from _unknown(see, (*where, "see", place), ids, names, document)
            names |= {see.save} if see.save else set()
        for place, never in enumerate(step.never):
            yield from _unsaved(never, (*where, "never", place), names, document)


def _unwatchable(scenario: Scenario, document: Document) -> Iterator[Problem]:
    """A person can be asked once what is so, but cannot watch for what must never be."""
    if not scenario.real:
        return
    nevers: list[tuple[Where, Never]] = [(("never", at), one) for at, one in enumerate(scenario.never)]
    for number, step in enumerate(scenario.steps):
        nevers += [(("steps", number, "never", at), one) for at, one in enumerate(step.never)]
    for where, never in nevers:
        if never.place in BLIND:
            said = f"{never.place} can be watched only on a simulated line; say `real: false`"
            yield document.problem((*where, never.place), said)


def _unknown(see: See | None, where: Where, ids: set[str], names: set[str], document: Document) -> Iterator[Problem]:
    if see is None:
        return
    if see.within_after and see.within_after not in ids:
        known = hint(see.within_after, ids)
        yield document.problem((*where, "within_after"), f"no step before has the id {see.within_after!r}{known}")
    yield from _unsaved(see, where, names, document)


def _unsaved(word: Word, where: Where, names: set[str], document: Document) -> Iterator[Problem]:
    for name in sorted(names_in(word) - names):
        yield document.problem(where, f"nothing was saved as {name!r} before{hint(name, names)}")


def _said(words: Any) -> str:
    """The words of a verb in a title: `reservoir, heater_failure`."""
    if not isinstance(words, Word):
        return f"{words:g} s"
    return ", ".join(str(value) for key, value in words if key in words.model_fields_set and value not in ("", {}))
