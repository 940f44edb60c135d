"""A rule file as it judges recorded data: what can be judged with this recipe, batch and tags, and what not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from gateway.backtest.taken import Evidence
from gateway.backtest.terms import Busy, Due, Notes, Wish
from gateway.config.derived import Virtual
from gateway.config.model import RawRule, Settings, resolve_rule
from gateway.config.patterns import members
from gateway.derive.deriver import Deriver, watched
from gateway.errors import ConfigError, LinegateError
from gateway.model import Json
from gateway.recipe import Recipe
from gateway.rules.base import Checking, Judge, RuleConfig, RuleContext
from gateway.rules.engine import Engine
from gateway.rules.sampling import SamplingConfig
from gateway.rules.spc.rule import SpcConfig

NUMBER: Final = "replay"
"""Of a batch whose number nobody gave."""
Tags = Mapping[str, frozenset[str]]
"""Device -> tags there is data of."""


class Ruleset(msgspec.Struct, frozen=True):
    """Rules ready to judge."""

    name: str
    settings: Settings
    engine: Engine
    deriver: Deriver | None
    configs: Mapping[str, RuleConfig]
    """By name, patterns expanded: those that judge."""
    left_out: Mapping[str, str]
    """Rule -> why it does not judge."""
    recipe: Recipe | None
    context: RuleContext
    entries: Sequence[Due] = ()
    """What was brought, in the order of time."""
    started_ns: int | None = None
    """When the batch of the entries was started, and completed."""
    ended_ns: int | None = None
    busy: Sequence[Busy] = ()
    judges: Mapping[str, Judge] = {}

    def begun(self) -> Engine:
        """The same rules when the batch of the entries begins: those that judge only in a batch begin with it."""
        judges = {
            name: self.configs[name].build(name, self.context) if self.configs[name].needs_batch else judge
            for name, judge in self.judges.items()
        }
        return Engine(judges, self.settings.tagsets.values())


def paced(settings: Settings, periods_s: Mapping[str, float]) -> Settings:
    """The line's own settings, these devices at these periods."""
    if not periods_s:
        return settings
    devices = {
        name: each.model_copy(update={"period_s": periods_s[name]}) if name in periods_s else each
        for name, each in settings.devices.items()
    }
    return replace(settings, devices=devices, derived=_derived(settings, {n: d.period_s for n, d in devices.items()}))


def _derived(settings: Settings, periods_s: Mapping[str, float]) -> dict[str, Virtual]:
    """Virtual devices that wait for their inputs as long as the data's periods ask for."""
    known, found = dict(periods_s), dict[str, Virtual]()
    for name, each in settings.derived.items():
        sources = {source: watched(source, settings.tagsets, known) for source in each.sources}
        devices = {each.on} if each.on else {source.tagset.device for source in sources.values()}
        known[name] = max(known.get(device, 1.0) for device in devices)
        found[name] = replace(each, sources=sources, period_s=known[name])
    return found


def recipe_of(settings: Settings, wish: Wish, notes: Notes) -> Recipe | None:
    """The one that was asked for, or the only one there is.  LinegateError: there is no such recipe."""
    recipes = settings.recipes()
    if wish.recipe:
        if wish.recipe not in recipes:
            raise LinegateError(f"there is no recipe {wish.recipe!r}; known: {', '.join(sorted(recipes)) or 'none'}")
        return recipes[wish.recipe]
    if len(recipes) == 1:
        (only,) = recipes.values()
        notes.say(f"recipe {only.id}, the only one there is")
        return only
    return None


def ruleset(settings: Settings, tags: Tags, wish: Wish, notes: Notes, found_there: Evidence | None = None) -> Ruleset:
    """What judges this data.  ConfigError: the recipe does not fit; LinegateError: nothing is left to judge.

    `found_there`: what the evidence beside the data holds; its batch's facts and recipe stand where none were given.
    """
    there = found_there or Evidence()
    made_by = str(there.facts.get("recipe", "")).partition("@")[0]
    if not wish.recipe and made_by in settings.recipes():
        wish = msgspec.structs.replace(wish, recipe=made_by)
        notes.say(f"recipe {made_by}, which the batch was made by")
    recipe = recipe_of(settings, wish, notes)
    known = {**there.facts, **wish.batch}
    batch = {"number": NUMBER, **known} if known else None
    sampled = there.rules()
    context = settings.rule_context(recipe, str(batch["number"]) if batch else None)
    judges: dict[str, Judge] = {}
    configs: dict[str, RuleConfig] = {}
    left_out: dict[str, str] = {}
    for rule in settings.rules.values():
        for name, found, why in _resolved(rule, settings, recipe, batch):
            unknown = why or (_unknown(found, settings, tags) if found else "")
            if found is None or unknown:
                left_out[name] = unknown
                continue
            judge = found.build(name, context)
            if isinstance(judge, Checking) and not wish.checks and name not in sampled:
                left_out[name] = "the data hold no takes and entries for it (--checks judges it all the same)"
                continue
            judges[name], configs[name] = judge, found
    left_out |= {n: why for n, c in configs.items() if (why := _lone(c, configs))}
    judges = {name: judge for name, judge in judges.items() if name not in left_out}
    if not judges:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "the file has no rules"
        raise LinegateError(f"{settings.path}: no rule can be judged with this data: {reasons}")
    engine = Engine(judges, settings.tagsets.values())
    deriver = settings.deriver()
    if deriver is not None and there.started_ns is None:
        deriver.begin(context.batch)
    kept = {name: each for name, each in configs.items() if name in judges}
    plans = {name: each for name, each in kept.items() if isinstance(each, SamplingConfig)}
    charts = {name for name, each in kept.items() if isinstance(each, SpcConfig)}
    made = Ruleset(settings.path.name, settings, engine, deriver, kept, left_out, recipe, context)
    brought = {
        "entries": there.entries(plans, charts, settings.periods_s),
        "started_ns": there.started_ns,
        "ended_ns": there.ended_ns,
    }
    return msgspec.structs.replace(made, judges=judges, busy=there.busy, **brought)


def _resolved(
    rule: RawRule, settings: Settings, recipe: Recipe | None, batch: Mapping[str, Json] | None
) -> Iterator[tuple[str, RuleConfig | None, str]]:
    """(name, rule, why not) of each rule that it stands for."""
    if rule.model.needs_batch and batch is None:
        yield rule.name, None, "judges only while a batch runs: give --batch number=..."
        return
    if recipe is None and (rule.needs("recipe") or rule.model.needs_batch):
        yield rule.name, None, "needs a recipe: give --recipe"
        return
    resolved, problems = resolve_rule(rule, settings.document, recipe, batch)
    misfits = [problem for problem in problems if not problem.message.startswith("the batch has no ")]
    if misfits:
        raise ConfigError(misfits)
    if resolved is None:
        facts = {word.removeprefix("batch.") for word in rule.references.values() if word.startswith("batch.")}
        missing = " ".join(f"--batch {fact}=..." for fact in sorted(facts - (batch or {}).keys()))
        yield rule.name, None, f"needs facts of a batch: give {missing}"
        return
    for name, each in members(rule.name, resolved, settings.tagsets):
        yield name, each, ""


def _lone(each: RuleConfig, configs: Mapping[str, RuleConfig]) -> str:
    """Why a chart has nothing to follow."""
    gone = [name for name in each.rules() if name not in configs]
    return f"follows {gone[0]}, which is left out" if gone else ""


def _unknown(found: RuleConfig, settings: Settings, tags: Tags) -> str:
    """What it looks at and there is no data of; empty if there is of all."""
    missing = sorted({real for name in found.inputs() for real in _real(name, settings) if not _there(real, tags)})
    return f"no data of {', '.join(missing)}" if missing else ""


def _real(name: str, settings: Settings) -> Iterator[str]:
    """The measured tags (or devices) behind a name."""
    device, _, tag = name.partition("/")
    virtual = settings.derived.get(device)
    if virtual is None:
        yield name
        return
    for each in (virtual.tags[tag],) if tag in virtual.tags else virtual.tags.values():
        for source in each.names().values():
            yield from _real(source, settings)


def _there(name: str, tags: Tags) -> bool:
    device, slash, tag = name.partition("/")
    return device in tags and (not slash or tag in tags[device])
