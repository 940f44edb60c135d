"""What a configuration is once it was read: `Settings`, its rules with their references, its recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from gateway.config import yaml as config_yaml
from gateway.config.explain import explain, hint
from gateway.config.patterns import members
from gateway.config.recipes import read_recipes
from gateway.config.yaml import Document, Where
from gateway.drivers.base import DriverConfig
from gateway.errors import ConfigError, Problem
from gateway.model import Json, Priority, TagSet
from gateway.recipe import Frozen, Recipe
from gateway.rules.base import RuleConfig, RuleContext
from gateway.sinks.base import SinkConfig
from gateway.units import Duration

if TYPE_CHECKING:
    from gateway.config.derived import Virtual
    from gateway.derive.deriver import Deriver

_REFERENCE: Final = re.compile(r"^(recipe|batch)((?:\.[A-Za-z0-9_-]+)+)$")
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

SPECIMEN_BATCH: Final[Mapping[str, Json]] = {
    "number": "B-2026-0001",
    "order": "WO-0001",
    "sku": "SKU-0001",
    "quantity": 5000,
    "uid": "1A4FF0100000022000000001",
    "uid_first": "1A4FF0100000022000000001",
    "uid_last": "1A4FF0100000022000005000",
    "thc_percent": "80.0",
    "recipe": "any@1",
}
"""What a rule may know of a batch, as `batch.uid`; `linegate check` tries rules with these."""


class ConsoleConfig(Frozen):
    """The page and the HTTP API for the line's own PC."""

    host: str = "127.0.0.1"
    port: int = Field(8377, ge=0, le=65535)
    """0: any free port."""
    waiver: str = ""
    """Why the console may listen beyond this machine: a sentence; shown as a warning at every start."""

    @model_validator(mode="after")
    def _stays_home(self) -> ConsoleConfig:
        if self.host not in LOOPBACK and not self.waiver.strip():
            raise ValueError(f"host {self.host} is not loopback; use 127.0.0.1 behind a proxy, or say why in waiver")
        return self


class ScanPoint(Frozen):
    """A place where materials are scanned: tags of one device, as `scanner/count`."""

    count: str
    """Counts reads: each new one is a scan."""
    code: str
    read: str | None = None
    """Says whether anything was read; a read of nothing is no scan."""
    lot: str | None = None
    """The lot that the code itself names (GS1)."""
    expires: str | None = None
    """The expiry date that the code itself names, ISO."""
    alarm: Priority = Priority.HIGH
    """Of what is not of the batch."""
    again_s: Duration = Field(2.0, alias="again", ge=0)
    """The same code within so long is the same scan."""

    @property
    def tags(self) -> dict[str, str]:
        """Key -> tag."""
        named = {"count": self.count, "code": self.code, "read": self.read, "lot": self.lot, "expires": self.expires}
        return {key: name for key, name in named.items() if name is not None}

    @model_validator(mode="after")
    def _together(self) -> ScanPoint:
        devices = {name.partition("/")[0] for name in self.tags.values()}
        if len(devices) > 1:
            raise ValueError(f"a scan is one device's; these are of {', '.join(sorted(devices))}")
        return self


class AlarmsConfig(Frozen):
    """What holds for all alarms."""

    longest_shelf_s: Duration = Field(8 * 3600.0, alias="longest_shelf", gt=0, le=7 * 86400.0)
    """So long a person may shelve an alarm at most."""
    flapping_from: int = Field(3, ge=2, le=1000)
    """From so many losses of a link within ten minutes on they are told as one episode."""


class GatewayConfig(Frozen):
    """The gateway itself."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="this gateway's name, like line3-gw1")
    path: str = Field(
        pattern=r"^[^/+#$\s][^/+#\s]*(/[^/+#\s]+){1,7}$",
        description="where it stands, as enterprise/site/area/line/cell",
    )
    state_dir: Path = Path("state")
    """Stores, latches, people, keys; relative to the file's own folder."""
    recipes: Path = Path("recipes")
    """Folder of recipe files; relative to the file's own folder."""
    instruments: Path | None = None
    """Register of instruments (docs/gates.md); relative to the file's own folder."""
    console: ConsoleConfig = ConsoleConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    counters: dict[Literal["units", "rejects", "labels", "labels_damaged", "tray", "position"], str] = Field(
        default_factory=dict
    )
    """What the batch counts: meaning -> tag, as `units: filler/units`."""
    scans: dict[str, ScanPoint] = Field(default_factory=dict)
    """Where materials are scanned: each read is compared with the order of the batch, and recorded."""
    telemetry_cap_mb: int = Field(1024, ge=16)
    """Largest telemetry store, MiB; beyond it the oldest batches are shed, each with a record of the gap."""
    store_policy: Literal["hold", "mark"] = "hold"
    """When evidence cannot be written: hold the line (no record, no run), or run on and mark what is missing."""

    @property
    def telemetry_cap_bytes(self) -> int:
        return self.telemetry_cap_mb * 2**20


@dataclass(frozen=True)
class RawRule:
    """A rule as the file has it: its references stand until a recipe and a batch are known."""

    name: str
    model: type[RuleConfig]
    data: Mapping[str, Json]
    references: Mapping[Where, str]
    """Way below the rule -> `recipe.windows.oil_temperature`."""

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def where(self) -> Where:
        return ("rules", self.name)

    def needs(self, what: str) -> bool:
        """Does it refer to the `recipe`, to the `batch`?"""
        return any(reference.startswith(f"{what}.") for reference in self.references.values())


@dataclass(frozen=True)
class Settings:
    """A configuration that can work.  Paths in `gateway` are absolute."""

    path: Path
    gateway: GatewayConfig
    devices: Mapping[str, DriverConfig]
    rules: Mapping[str, RawRule]
    sinks: Mapping[str, SinkConfig]
    tagsets: Mapping[str, TagSet]
    hash: str
    """SHA-256, hex, of all settings as validated and all tags; secrets as references, paths as written."""
    rules_hash: str
    """SHA-256, hex, of the rules' canonical JSON, references standing."""
    document: Document = field(repr=False)
    derived: Mapping[str, Virtual] = field(default_factory=dict)
    """Virtual devices, in the order of the file; their tags are in `tagsets`, too."""
    warnings: tuple[Problem, ...] = ()

    @cached_property
    def periods_s(self) -> Mapping[str, float]:
        virtual = {name: each.period_s for name, each in self.derived.items()}
        return {name: each.period_s for name, each in self.devices.items()} | virtual

    def deriver(self) -> Deriver | None:
        """What computes the derived tags, as new; None where there are none."""
        if not self.derived:
            return None
        from gateway.config.derived import deriver  # noqa: PLC0415  # a line without does not pay for it

        return deriver(self.derived, self.tagsets)

    def heartbeats(self) -> set[str]:
        """Derived tags that only tell how long another one has not moved."""
        virtual = self.derived.items()
        return {f"{name}/{tag}" for name, each in virtual for tag, one in each.tags.items() if one.kind == "unchanged"}

    def measuring(self, device: str) -> set[str]:
        """The real devices a device's values come from: itself, or what a virtual one is computed from."""
        if device not in self.derived:
            return {device}
        sources = {source.tagset.device for source in self.derived[device].sources.values()}
        return {real for source in sources for real in self.measuring(source)}

    def fed_by(self, device: str) -> list[str]:
        """A real device, and the virtual ones that are computed from it."""
        return [device, *(name for name in self.derived if device in self.measuring(name))]

    def sources(self, name: str) -> set[str]:
        """The real devices that a tag comes from; a derived one, from those of its own inputs."""
        device, _, tag = name.partition("/")
        if device not in self.derived:
            return {device}
        one = self.derived[device].tags.get(tag)
        inputs = one.names().values() if one is not None else ()
        return {real for source in inputs for real in self.sources(source)} or self.measuring(device)

    def behind(self, name: str) -> tuple[str, ...]:
        """A tag, what it is computed from, and the devices of these; of a device, itself and that of all its tags."""
        device, slash, tag = name.partition("/")
        if not slash:
            inputs = tuple(self.tagsets[device].names) if device in self.tagsets else ()
        else:
            one = self.derived[device].tags.get(tag) if device in self.derived else None
            inputs = tuple(one.names().values()) if one is not None else ()
        return tuple(dict.fromkeys([name, device, *(each for source in inputs for each in self.behind(source))]))

    def waivers(self) -> tuple[str, ...]:
        """What was given up on purpose, with its place in the file: said at every start."""
        return tuple(f"{warning.where}: {warning.message}" for warning in self.warnings if warning.level == "waiver")

    def recipes(self) -> dict[str, Recipe]:
        """The recipes in the folder as it is now, by id.  ConfigError with every problem of every file."""
        recipes, problems = read_recipes(self.gateway.recipes)
        if problems:
            raise ConfigError(problems)
        return recipes

    def build_rules(self, recipe: Recipe | None, batch: Mapping[str, Json] | None) -> dict[str, RuleConfig]:
        """Rules, references resolved and patterns expanded.  Those that need a recipe or batch not given are left out.

        ConfigError: a reference leads nowhere, or what it leads to does not fit; at the rule's line.
        """
        resolved = self.resolve_rules(recipe, batch)
        return {each: made for name, config in resolved.items() for each, made in members(name, config, self.tagsets)}

    def resolve_rules(self, recipe: Recipe | None, batch: Mapping[str, Json] | None) -> dict[str, RuleConfig]:
        """As `build_rules`, but patterns stay patterns: `members` makes their rules, one at a time."""
        resolved: dict[str, RuleConfig] = {}
        problems: list[Problem] = []
        for rule in self.rules.values():
            config, wrong = resolve_rule(rule, self.document, recipe, batch)
            problems += wrong
            if config is not None:
                resolved[rule.name] = config
        if problems:
            raise ConfigError(problems)
        return resolved

    def rule_context(self, recipe: Recipe | None, batch: str | None) -> RuleContext:
        """What rules may know beside their own configuration; `batch` is its number."""
        if recipe is None:
            return RuleContext(self.tagsets, self.periods_s, batch)
        return RuleContext(self.tagsets, self.periods_s, batch, recipe.tray_size, recipe.verification_units)


def references(data: Json, where: Where = ()) -> dict[Where, str]:
    """Every whole string value below that is a reference."""
    return {
        way: value
        for way, value in config_yaml.scalars(data, where)
        if isinstance(value, str) and _REFERENCE.match(value)
    }


def resolve_rule(
    rule: RawRule, document: Document, recipe: Recipe | None, batch: Mapping[str, Json] | None
) -> tuple[RuleConfig | None, list[Problem]]:
    """The rule for this recipe and batch; (None, []) where it needs one that is None."""
    left_out = (recipe is None and (rule.needs("recipe") or rule.model.needs_batch)) or (
        batch is None and rule.needs("batch")
    )
    if left_out:
        return None, []
    problems: list[Problem] = []
    data = cast("dict[str, Json]", _copy(rule.data))
    for way, reference in rule.references.items():
        try:
            _put(data, way, _follow(reference, recipe, batch))
        except LookupError as error:
            problems.append(document.problem((*rule.where, *way), str(error.args[0])))
    if problems:
        return None, problems
    try:
        return rule.model.model_validate(data), []
    except ValidationError as error:
        with_recipe = f"with recipe {recipe.id}: " if recipe and rule.references else ""
        return None, [
            replace(problem, message=with_recipe + problem.message)
            for problem in explain(error, document, rule.where, rule.model)
        ]


def _follow(reference: str, recipe: Recipe | None, batch: Mapping[str, Json] | None) -> Any:
    root, *steps = reference.split(".")
    value: Any = recipe if root == "recipe" else batch
    name = f"recipe {recipe.id}" if root == "recipe" and recipe else "the batch"
    for depth, step in enumerate(steps):
        known = _known(value)
        if step not in known or known[step] is None:
            has = sorted(key for key, child in known.items() if child is not None)
            raise LookupError(f"{name} has no {'.'.join(steps[: depth + 1])}{hint(step, has)}")
        value = known[step]
    return value


def _known(value: Any) -> Mapping[str, Any]:
    if isinstance(value, BaseModel):
        return {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
    return value if isinstance(value, Mapping) else {}


def _copy(data: Json) -> Json:
    if isinstance(data, Mapping):
        return {key: _copy(child) for key, child in data.items()}
    return [_copy(child) for child in data] if isinstance(data, list) else data


def _put(data: Json, where: Where, value: Any) -> None:
    for step in where[:-1]:
        data = data[step]
    data[where[-1]] = value
