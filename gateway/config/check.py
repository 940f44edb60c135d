"""Checks across the configuration: what each piece says of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from gateway import units
from gateway.config.alarms import alarm_design
from gateway.config.explain import hint
from gateway.config.gates import gates
from gateway.config.lines import lines
from gateway.config.model import SPECIMEN_BATCH, RawRule, Settings, resolve_rule
from gateway.config.patterns import NUMBERS, looked_at, members
from gateway.config.worst import rows_of
from gateway.config.yaml import Where
from gateway.drivers.base import DriverConfig
from gateway.errors import Problem
from gateway.model import Json, TagSpec
from gateway.recipe import Plan, Recipe, Window
from gateway.rules.base import RuleConfig
from gateway.sinks.base import SinkConfig
from gateway.units import duration_text

_WAIVES: Final = ("waive", "allow_")
"""Keys under which drivers and sinks take the reason why a rule of safety does not hold here."""


def cross(settings: Settings, recipes: Mapping[str, Recipe], broken: Iterable[str] = ()) -> list[Problem]:
    """Problems and warnings across the whole; `broken` are devices that are there but did not validate."""
    opaque = set(broken)
    found = [
        *lines(settings),
        *alarm_design(settings),
        *_waivers(settings),
        *_machine(settings),
        *_counters(settings, opaque),
        *_scan_points(settings, opaque),
        *gates(settings, recipes),
    ]
    for rule in settings.rules.values():
        seen: set[tuple[int, int, str, str]] = set()
        for problem in _rule(settings, rule, recipes, opaque):
            key = (problem.line, problem.column, problem.where, problem.message)
            if key not in seen:  # the same for each recipe: said once
                seen.add(key)
                found.append(problem)
    return found


def _rule(settings: Settings, rule: RawRule, recipes: Mapping[str, Recipe], opaque: set[str]) -> Iterator[Problem]:
    """One rule, tried with every recipe there is."""
    candidates: list[Recipe | None] = [*recipes.values()] or [None]
    if not rule.needs("recipe") and not rule.model.needs_batch:
        candidates = candidates[:1]
    for recipe in candidates:
        config, problems = resolve_rule(rule, settings.document, recipe, SPECIMEN_BATCH)
        yield from problems
        if config is None and not problems:
            text = "there is no recipe to try this rule with; put one into gateway.recipes"
            yield settings.document.problem(rule.where, text, key=True, level="warning")
        if config is not None:
            yield from _whole(settings, rule, config, recipe, opaque, recipes.values())


def _whole(
    settings: Settings,
    rule: RawRule,
    config: RuleConfig,
    recipe: Recipe | None,
    opaque: set[str],
    recipes: Iterable[Recipe],
) -> Iterator[Problem]:
    """One rule as it will judge."""
    yield from _halts(settings, rule, config, opaque)
    yield from _deadline(settings, rule, config)
    each = looked_at(config, settings.tagsets)
    if not each and not opaque:
        yield settings.document.problem((*rule.where, "input"), "no device or tag matches this pattern")
    misfits = [
        *(problem for names in each for problem in _inputs(settings, rule, names, opaque)),
        *_followed(settings, rule, config, recipes),
        *_windows(settings, rule, config, each),
    ]
    yield from misfits
    if each and not misfits:
        _, first = next(members(rule.name, config, settings.tagsets))
        yield from _compiles(settings, rule, first, recipe, opaque)


def _place(settings: Settings, rule: RawRule, word: str) -> Where:
    """Where the rule writes this value, or this key; the rule itself if nowhere."""
    for where, scalar in settings.document.scalars(rule.where):
        if scalar == word:
            return where
        if word in where[2:]:
            return where[: where.index(word, 2) + 1]
    return rule.where


def _inputs(settings: Settings, rule: RawRule, names: Sequence[str], opaque: set[str]) -> Iterator[Problem]:
    for name in names:
        if _spec(settings, name) is None:
            yield from _tag(settings, _place(settings, rule, name), name, opaque)


def _followed(settings: Settings, rule: RawRule, config: RuleConfig, recipes: Iterable[Recipe]) -> Iterator[Problem]:
    """A chart follows a sampling rule there is, and one whose checks it can plot."""
    sampling = [name for name, other in settings.rules.items() if other.kind == "sampling"]
    for name in (*config.rules(), *getattr(config, "anew_after", ())):
        if name not in sampling:
            text = f"no sampling rule is called {name!r}{hint(name, sampling)}"
            yield settings.document.problem(_place(settings, rule, name), text)
    misfit: Callable[[Plan], str] | None = getattr(config, "misfit", None)
    for name in config.rules():
        for plan in _plans(settings, settings.rules.get(name), recipes):
            text = misfit(plan) if misfit is not None else ""
            if text:
                yield settings.document.problem(_place(settings, rule, name), text)


def _plans(settings: Settings, rule: RawRule | None, recipes: Iterable[Recipe]) -> Iterator[Plan]:
    """What a sampling rule checks by, with each recipe."""
    candidates: list[Recipe | None] = [*recipes] or [None]
    for recipe in candidates:
        config = resolve_rule(rule, settings.document, recipe, SPECIMEN_BATCH)[0] if rule is not None else None
        plan = getattr(config, "plan", None)
        if isinstance(plan, Plan):
            yield plan


def _counters(settings: Settings, opaque: set[str]) -> Iterator[Problem]:
    """What the batch counts must be tags, not whole devices."""
    for meaning, name in settings.gateway.counters.items():
        where: Where = ("gateway", "counters", meaning)
        if "/" not in name:
            yield settings.document.problem(where, f"{name!r} names no tag; write device/tag")
        else:
            yield from _tag(settings, where, name, opaque)


def _scan_points(settings: Settings, opaque: set[str]) -> Iterator[Problem]:
    """What is scanned must be tags, too."""
    for point, config in settings.gateway.scans.items():
        for key, name in config.tags.items():
            where: Where = ("gateway", "scans", point, key)
            if "/" not in name:
                yield settings.document.problem(where, f"{name!r} names no tag; write device/tag")
            else:
                yield from _tag(settings, where, name, opaque)


def _tag(settings: Settings, where: Where, name: str, opaque: set[str]) -> Iterator[Problem]:
    device, slash, tag = name.partition("/")
    if device in opaque:
        return
    if device not in settings.tagsets:
        known = set(settings.tagsets) | opaque
        yield settings.document.problem(where, f"there is no device {device!r}{hint(device, known)}")
    elif slash and tag not in settings.tagsets[device].index:
        tags = settings.tagsets[device].tags
        yield settings.document.problem(where, f"device {device} has no tag {tag!r}{hint(tag, tags)}")


def _halts(settings: Settings, rule: RawRule, config: RuleConfig, opaque: set[str]) -> Iterator[Problem]:
    for name in config.halt:
        if name in opaque:
            continue
        where = _place(settings, rule, name)
        device = settings.devices.get(name)
        able = [other for other, candidate in settings.devices.items() if candidate.haltable()]
        if device is None:
            yield settings.document.problem(where, f"there is no device {name!r} to halt{hint(name, able)}")
        elif not device.haltable():
            can = f"; these can: {', '.join(sorted(able))}" if able else "; no device here can"
            text = f"device {name} (driver {device.driver}) has no way to be halted{can}"
            yield settings.document.problem(where, text)


def _windows(settings: Settings, rule: RawRule, config: RuleConfig, each: Sequence[Sequence[str]]) -> Iterator[Problem]:
    """Limits and the tag they judge must speak of the same kind of quantity."""
    judging = tuple(_judging(config))
    well: set[tuple[str, str]] = set()
    for names in each if judging else ():
        spec = _spec(settings, names[0]) if len(names) == 1 else None
        if spec is None or (spec.unit, spec.kind) in well:
            continue  # a rule over several tags says itself which window goes with which: see `_compiles`
        misfits = [
            problem
            for way, window in judging
            for problem in _window(settings, (*rule.where, way), window, names[0], spec)
        ]
        if not misfits:
            well.add((spec.unit, spec.kind))
        yield from misfits


def _window(settings: Settings, where: Where, window: Window, name: str, spec: TagSpec) -> Iterator[Problem]:
    try:
        units.linear(spec.unit, window.unit)
    except ValueError as error:
        at_unit: Where = (*where, "unit")
        text = f"{name} is in {spec.unit}, the limits are in {window.unit}: {error}"
        yield settings.document.problem(at_unit if settings.document.get(at_unit) is not None else where, text)
    if spec.kind not in NUMBERS:
        yield settings.document.problem(where, f"{name} is {spec.kind}; limits need a number")


def _judging(config: RuleConfig) -> Iterator[tuple[str, Window]]:
    """Windows that judge the rule's input, with the key that brought them."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Window):
            yield field.alias or name, value
        elif isinstance(value, Plan):
            for characteristic in value.characteristics:
                if characteristic.source == "weighing" and characteristic.window is not None:
                    yield field.alias or name, characteristic.window


def _spec(settings: Settings, name: str) -> TagSpec | None:
    device, _, tag = name.partition("/")
    tagset = settings.tagsets.get(device)
    return tagset.specs[tagset.index[tag]] if tagset is not None and tag in tagset.index else None


def _compiles(
    settings: Settings, rule: RawRule, config: RuleConfig, recipe: Recipe | None, opaque: set[str]
) -> Iterator[Problem]:
    """The rule's own word: what it cannot be built with, it says with a ValueError."""
    if any(name.partition("/")[0] in opaque for name in config.inputs()):
        return
    try:
        config.build(rule.name, settings.rule_context(recipe, str(SPECIMEN_BATCH["number"])))
    except ValueError as error:
        yield settings.document.problem(rule.where, str(error), key=True)


def _deadline(settings: Settings, rule: RawRule, config: RuleConfig) -> Iterator[Problem]:
    if config.deadline_s is not None and not (config.halt and config.inputs()):
        why = "it judges checks, and a check takes its own time" if config.halt else "there is no device to halt"
        text = f"promises a time until a machine is held, but {why}: leave it out"
        yield settings.document.problem((*rule.where, "deadline"), text)
    for row in rows_of(settings, rule.name, config):
        if not row.kept and row.deadline_s is not None:
            text = (
                f"cannot promise {duration_text(row.deadline_s)} from {row.measures} to {row.halts} held: {row.sum}; "
                "shorten the period or the budgets, or promise less"
            )
            yield settings.document.problem((*rule.where, "deadline"), text)


def _waivers(settings: Settings) -> Iterator[Problem]:
    """What was given up on purpose is said at every start."""
    console = settings.gateway.console
    if console.waiver:
        where: Where = ("gateway", "console", "waiver")
        text = f"waived: the console listens on {console.host}: {console.waiver}"
        yield settings.document.problem(where, text, level="waiver")
    for section, name, config in _configs(settings):
        written = list(_waives(settings.document.get((section, name)), (section, name)))
        place = written[0] if written else (section, name)
        own = getattr(config, "waivers", None)
        texts = own() if own else [f"{way[-1]}: {settings.document.get(way)}" for way in written]
        for text in texts:
            yield settings.document.problem(place, f"waived: {text}", level="waiver")


def _waives(data: Json, where: Where, depth: int = 2) -> Iterator[Where]:
    """Keys that waive something, of the entry itself and of the mappings in it."""
    for key, value in data.items():
        if isinstance(value, dict) and depth > 1:
            yield from _waives(value, (*where, key), depth - 1)
        elif key.startswith(_WAIVES) and value:
            yield (*where, key)


def _configs(settings: Settings) -> Iterator[tuple[str, str, DriverConfig | SinkConfig]]:
    yield from (("devices", name, config) for name, config in settings.devices.items())
    yield from (("sinks", name, config) for name, config in settings.sinks.items())


def _machine(settings: Settings) -> Iterator[Problem]:
    """What the driver sees missing on this machine now: it may come, so it is a warning."""
    for section, name, config in _configs(settings):
        preflight = getattr(config, "preflight", None)
        for text in preflight() if preflight else ():
            yield settings.document.problem((section, name, "url"), text, level="warning")
