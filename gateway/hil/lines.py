"""The line a scenario is played on without a target: a configuration, and what the simulators are started with.

config: ../../../config/line.yaml      # from this file's folder; without it the demonstration's own
simulators: {speed: 40, rate: 20, oil_cel: 62}
change:                                # merged into the configuration; null takes something away
  rules:
    oil-hot: {kind: limit, input: reservoir/temperature, limits: {unit: Cel, high: 75}, halt: filler, deadline: 2s}
own_clock: true                        # the gateway's wall clock can be stepped
recipes:                               # the same for recipes, under a new name
  quiet: {from: vape-1g-demo, change: {plans: {five_every: {every: 8h}}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from gateway.config import yaml as config_yaml
from gateway.config.explain import explain, hint
from gateway.config.yaml import Document
from gateway.demo.stage import ROOT
from gateway.errors import ConfigError, LinegateError, Problem
from gateway.hil.matching import Word
from gateway.hil.scenario import Loaded
from gateway.model import Json

RECIPE: Final = "vape-1g-demo"


class Plant(Word):
    """How the simulators are started."""

    speed: float = Field(20.0, gt=0)
    """Plant seconds in a second."""
    rate: float = Field(6.0, gt=0)
    """Units a second."""
    oil_cel: float = 62.0
    proxy: bool = False
    """A fault proxy in every cable: the faults whose names begin with `net_`."""
    seed: int | None = None
    """Dice of the plant; drawn and printed where it is not given."""


class Derived(Word):
    """A recipe made of another."""

    from_: str = Field(RECIPE, alias="from")
    change: dict[str, Json] = Field(default_factory=dict)


class LineFile(Word):
    """The whole file."""

    config: Path | None = None
    simulators: Plant = Plant()
    own_clock: bool = False
    """The gateway has a wall clock of its own, which the verb `clock` steps."""
    change: dict[str, Json] = Field(default_factory=dict)
    recipes: dict[str, Derived] = Field(default_factory=dict)


DEMONSTRATION: Final = LineFile()


def load(path: Path | None) -> LineFile:
    """Read and check it.  ConfigError with file, line and column."""
    if path is None:
        return DEMONSTRATION
    document = config_yaml.read(path)
    if document.problems:
        raise ConfigError(document.problems)
    try:
        found = LineFile.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(explain(error, document, (), LineFile)) from None
    if found.config is None:
        return found
    config = (path.parent / found.config).resolve()
    if not config.is_file():
        raise ConfigError([document.problem(("config",), f"no such file: {found.config}")])
    return found.model_copy(update={"config": config})


def merged(base: Json, change: Json) -> Json:
    """`change` over `base`: mappings go into each other, null takes away, anything else replaces."""
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    result = {key: value for key, value in base.items() if key not in change or change[key] is not None}
    return {**result, **{key: merged(base.get(key), one) for key, one in change.items() if one is not None}}


def write_recipes(line: LineFile, folder: Path) -> None:
    """The recipes that the line makes of others, beside them."""
    for name, derived in line.recipes.items():
        write_recipe(folder, name, derived.from_, derived.change)


def write_recipe(folder: Path, name: str, of: str, change: Mapping[str, Json]) -> None:
    """LinegateError: there is no recipe to make it of."""
    source = folder / f"{of}.yaml"
    if not source.is_file():
        raise LinegateError(f"recipe {name}: there is no recipe {of} in {folder}")
    recipe = merged(config_yaml.read(source).data, {**change, "id": name})
    (folder / f"{name}.yaml").write_text(json.dumps(recipe, indent=1))  # JSON is YAML


def strangers(loaded: Loaded) -> Iterator[Problem]:
    """Devices and tags that a scenario names and its line has not, with their places in the scenario's file."""
    file = load(loaded.line)
    line = _document(file)
    known = line.get("devices", {})
    tagged = {**known, **line.get("derived", {})}
    document = config_yaml.read(loaded.path)
    if not file.own_clock:
        yield from _clockless(loaded, document)
    for where, value in document.scalars(("steps",)):
        if where[-1] == "device" and where[-2] in ("fault", "heal", "key") and value not in known:
            yield document.problem(where, f"the line has no device {value!r}{hint(value, known)}")
        if where[-1] in ("tag", "telemetry") and str(value).partition("/")[0] not in tagged:
            device = str(value).partition("/")[0]
            yield document.problem(
                where, f"{value!r} is no tag of the line: no device {device!r}{hint(device, tagged)}"
            )


def _clockless(loaded: Loaded, document: Document) -> Iterator[Problem]:
    """Steps of a clock that is this computer's own."""
    for number, step in enumerate(loaded.scenario.steps):
        if any(do.verb == "clock" for do in step.do):
            text = "the line's gateway has this computer's clock; write `own_clock: true` in the line's file"
            yield document.problem(("steps", number, "do"), text)


def _document(line: LineFile) -> dict[str, Any]:
    """Its configuration, changed."""
    return dict(merged(config_yaml.read(line.config or ROOT / "config" / "line.yaml").data, line.change))
