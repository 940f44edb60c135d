"""One YAML file, plus recipes, to settings that can work.  All problems at once, each with file, line and column.

    settings = load(Path("config/line.yaml"))            # ConfigError: nothing can be started
    settings.build_rules(recipe, {"number": ..., "uid": ...})
    report = check(path)                                 # for `linegate check`: never raises for what is in the file
    schema()                                             # for editors

Kinds are looked up in the built-in tables, then among the entry points `linegate.drivers`, `linegate.rules` and
`linegate.sinks`; they are imported only when a file names them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.config import yaml as config_yaml
from gateway.config.check import cross
from gateway.config.explain import explain, hint
from gateway.config.kinds import House, Kinds
from gateway.config.model import (
    ConsoleConfig,
    GatewayConfig,
    RawRule,
    Settings,
    references,
)
from gateway.config.paths import absolute, as_written
from gateway.config.patterns import named
from gateway.config.profiles import SiteProfiles
from gateway.config.recipes import digest, read_recipe, read_recipes, recipe_hash
from gateway.config.schema import schema
from gateway.config.secrets import Secrets
from gateway.config.worst import Row, worst_case
from gateway.config.yaml import Where
from gateway.drivers.base import DriverConfig
from gateway.drivers.profiles.profile import site
from gateway.errors import ConfigError, Problem
from gateway.model import Json, TagSet
from gateway.recipe import Recipe

if TYPE_CHECKING:
    from gateway.config.derived import Virtual

__all__ = [
    "ConsoleConfig",
    "GatewayConfig",
    "House",
    "Kinds",
    "RawRule",
    "Report",
    "Row",
    "Settings",
    "check",
    "load",
    "read_recipe",
    "recipe_hash",
    "schema",
    "worst_case",
]

_SECTIONS: Final = ("gateway", "devices", "derived", "rules", "sinks")
_NAME: Final = "abcdefghijklmnopqrstuvwxyz0123456789-_"
_NOWHERE: Final = GatewayConfig(id="unknown", path="unknown/unknown")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Report:
    """What `linegate check` shows."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    table: tuple[Row, ...]
    settings: Settings | None
    """None where there are problems."""

    @property
    def ok(self) -> bool:
        return not self.problems


def load(path: Path, *, state_dir: Path | None = None, house: House | None = None) -> Settings:
    """Settings that can work, with warnings in `Settings.warnings`.  ConfigError with every problem there is.

    `state_dir` overrides the file's own, without changing its hash.
    """
    settings, problems, _ = _Reading(path, house or House()).settings(state_dir)
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        raise ConfigError(errors)
    return replace(settings, warnings=tuple(problems))


def check(path: Path, *, house: House | None = None) -> Report:
    """Everything `load` would say, warnings and the worst-case table beside it."""
    settings, problems, recipes = _Reading(path, house or House()).settings(None)
    errors = tuple(problem for problem in problems if problem.level == "error")
    warnings = tuple(problem for problem in problems if problem.level != "error")
    rows = {(row.rule, row.halts): row for recipe in (None, *recipes.values()) for row in worst_case(settings, recipe)}
    return Report(errors, warnings, tuple(rows.values()), None if errors else settings)


class _Reading:
    """One file on its way to settings; gathers problems instead of stopping at the first."""

    def __init__(self, path: Path, house: House) -> None:
        self.path = path
        self.folder = path.absolute().parent
        self.house = house
        self.document = config_yaml.read(path)
        self.secrets = Secrets(path.parent)
        self.profiles = SiteProfiles()
        self.problems: list[Problem] = []
        self.broken: set[str] = set()

    def settings(self, state_dir: Path | None) -> tuple[Settings, list[Problem], dict[str, Recipe]]:
        self._sections()
        written = self._gateway()
        with site(self.folder):
            devices = self._configs("devices", self.house.drivers)
        self.problems += self.profiles.problems
        tagsets = self._tagsets(devices)
        derived = self._derived(devices, tagsets)
        rules = self._rules()
        sinks = self._configs("sinks", self.house.sinks)
        settings = Settings(
            path=self.path,
            gateway=self._placed(written, state_dir),
            devices=devices,
            rules=rules,
            sinks=sinks,
            tagsets=tagsets,
            derived=derived,
            hash=self._hash(written, devices, sinks, tagsets),
            rules_hash=digest(self.secrets.hide(self.document.get(("rules",)) or {})),
            document=self.document,
        )
        recipes = self._recipes(settings, known=written is not _NOWHERE)
        self.problems += cross(settings, recipes, self.broken)
        return settings, self._sorted(), recipes

    def _sorted(self) -> list[Problem]:
        found = [
            replace(problem, message=self.secrets.scrub(problem.message))
            for problem in (*self.document.problems, *self.problems)
        ]
        return sorted(found, key=lambda problem: (problem.file != self.document.name, problem.file, problem.line))

    def _say(self, where: Where, message: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem(where, message, key=key))

    def _sections(self) -> None:
        """Top-level keys; secrets are put in, empty sections become empty mappings."""
        data = self.document.data
        if not isinstance(data, dict):
            self._say((), "should be a mapping with gateway, devices, rules, sinks")
            self.document.data = data = {}
        for key in data:
            if key not in _SECTIONS:
                self._say((key,), f"unknown key{hint(key, _SECTIONS)}", key=True)
        self.secrets.resolve(self.document)
        read = not self.document.problems or bool(data)
        for key in ("gateway", "devices"):
            if read and not data.get(key):
                self._say((key,), "is missing")

    def _section(self, name: str) -> dict[str, Json]:
        """The section's entries that are mappings under a good name."""
        entries = self.document.data.get(name) or {}
        if not isinstance(entries, dict):
            self._say((name,), "should be a mapping of names")
            return {}
        good: dict[str, Json] = {}
        for entry, data in entries.items():
            if not entry or not entry[0].isalnum() or not set(entry) <= set(_NAME):
                self._say((name, entry), "a name is made of a-z, 0-9, - and _", key=True)
            elif not isinstance(data, dict):
                self._say((name, entry), "should be a mapping", key=True)
            else:
                good[entry] = data
            if entry not in good and name in ("devices", "derived"):
                self.broken.add(entry)
        return good

    def _validated(self, where: Where, model: type[M]) -> M | None:
        try:
            return model.model_validate(absolute(self.document.get(where), model, self.folder))
        except ValidationError as error:
            beneath = self.profiles.beneath(self.document.get((*where, "profile")))
            self.problems += explain(error, self.document, where, model, beneath=beneath)
            return None

    def _gateway(self) -> GatewayConfig:
        if not self.document.data.get("gateway"):
            return _NOWHERE
        return self._validated(("gateway",), GatewayConfig) or _NOWHERE

    def _placed(self, written: GatewayConfig, state_dir: Path | None) -> GatewayConfig:
        """Defaults too are meant from the file's own folder."""
        paths = {"state_dir": state_dir or self.folder / written.state_dir, "recipes": self.folder / written.recipes}
        if written.instruments is not None:
            paths["instruments"] = self.folder / written.instruments
        return written.model_copy(update={name: path.resolve() for name, path in paths.items()})

    def _kind(self, where: Where, data: Mapping[str, Json], kinds: Kinds[M]) -> type[M] | None:
        word = data.get(kinds.key)
        if word is None:
            self._say((*where, kinds.key), f"is missing{hint('', kinds.names())}", key=True)
            return None
        try:
            model = kinds.find(str(word))
        except ValueError as error:
            self._say((*where, kinds.key), str(error))
            return None
        if model is None:
            what = "driver" if kinds.key == "driver" else f"kind of {where[0]}".removesuffix("s")
            self._say((*where, kinds.key), f"there is no {what} {word!r}{hint(word, kinds.names())}")
        return model

    def _configs(self, section: str, kinds: Kinds[M]) -> dict[str, M]:
        configs: dict[str, M] = {}
        for name, data in self._section(section).items():
            model = self._kind((section, name), data, kinds)
            self.profiles.look_at(data.get("profile"))
            config = self._validated((section, name), model) if model else None
            if config is not None:
                configs[name] = config
            elif section == "devices":
                self.broken.add(name)
        return configs

    def _tagsets(self, devices: dict[str, DriverConfig]) -> dict[str, TagSet]:
        tagsets: dict[str, TagSet] = {}
        for name, config in list(devices.items()):
            try:
                specs = config.tags()
                twice = {name for name, count in Counter(spec.name for spec in specs).items() if count > 1}
                if not specs or twice:
                    raise ValueError(f"tag {min(twice)!r} is there twice" if twice else "has no tags")
            except ValueError as error:
                self._say(("devices", name), str(error), key=True)
                self.broken.add(name)
                del devices[name]
                continue
            tagsets[name] = TagSet(name, specs)
        return tagsets

    def _derived(self, devices: Mapping[str, DriverConfig], tagsets: dict[str, TagSet]) -> dict[str, Virtual]:
        """Virtual devices; their tags join `tagsets`."""
        entries = self._section("derived")
        if not entries:
            return {}
        from gateway.config.derived import Reading  # noqa: PLC0415  # a line without does not pay for it

        reading = Reading(self.document, tagsets, {name: device.period_s for name, device in devices.items()})
        found = reading.read(entries, self._say)
        self.problems += reading.problems
        self.broken |= entries.keys() - found.keys()
        return found

    def _rules(self) -> dict[str, RawRule]:
        """Rules with their references standing; what the references bring is checked with each recipe."""
        rules: dict[str, RawRule] = {}
        for name, data in self._section("rules").items():
            model = self._kind(("rules", name), data, self.house.rules)
            if model is None:
                continue
            rule = RawRule(name, model, data, references(data))
            if not rule.references or self._shape(rule):
                rules[name] = rule
        return rules

    def _shape(self, rule: RawRule) -> bool:
        """What is wrong whatever the recipe: unknown keys, missing ones."""
        try:
            rule.model.model_validate(rule.data)
        except ValidationError as error:
            skip = [(*rule.where, *way) for way in rule.references]
            found = explain(error, self.document, rule.where, rule.model, skip=skip)
            found = [problem for problem in found if problem.where != config_yaml.dotted(rule.where)]
            self.problems += found
            return not found
        return True

    def _hash(
        self,
        gateway: GatewayConfig,
        devices: Mapping[str, BaseModel],
        sinks: Mapping[str, BaseModel],
        tagsets: Mapping[str, TagSet],
    ) -> str:
        """Everything as validated, defaults included.  Not RFC 8785: at 10,000 tags that alone takes seconds."""
        parts = [gateway.model_dump_json(by_alias=True)]
        for section in (devices, sinks):
            parts += [f"{name} {section[name].model_dump_json(by_alias=True)}" for name in sorted(section)]
        for name in sorted(tagsets):
            parts += [f"{full} {spec.unit} {spec.kind}" for full, spec in named(tagsets[name])]
        parts += [digest(self.secrets.hide(self.document.get((each,)) or {})) for each in ("derived", "rules")]
        text = self.secrets.scrub("\n".join(parts), escaped=True)
        return hashlib.sha256(as_written(text, self.folder).encode()).hexdigest()

    def _recipes(self, settings: Settings, *, known: bool) -> dict[str, Recipe]:
        if not known:
            return {}
        folder = settings.gateway.recipes
        if self.document.get(("gateway", "recipes")) is not None and not folder.is_dir():
            self._say(("gateway", "recipes"), f"there is no folder {self.document.get(('gateway', 'recipes'))}")
        recipes, problems = read_recipes(folder)
        self.problems += problems
        return recipes
