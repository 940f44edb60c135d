"""`linegate check --explain`: every rule in plain language, as it judges with each recipe, to be reviewed like code.

By the device it halts: what can stop a machine stands together.  Then what only tells, then derived tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any, Final

from gateway.config.derived import Virtual
from gateway.config.model import SPECIMEN_BATCH, RawRule, Settings, resolve_rule
from gateway.config.patterns import matching
from gateway.config.worst import until_told, worst_case
from gateway.derive.base import DerivedConfig
from gateway.derive.expr import ExprConfig
from gateway.derive.rate import RateConfig
from gateway.derive.time_above import TimeAboveConfig
from gateway.derive.unchanged import UnchangedConfig
from gateway.derive.viscosity import ViscosityConfig
from gateway.model import Json
from gateway.recipe import Recipe
from gateway.rules.base import RuleConfig
from gateway.rules.explained import explained, listed
from gateway.surroundings import all_alarms, chart, hiding, watched
from gateway.units import duration_text

WIDTH: Final = 110
_TELLS: Final = ""
"""The group of rules that halt nothing."""
_NAMED_BATCH: Final[Mapping[str, Json]] = {name: f"batch.{name}" for name in SPECIMEN_BATCH}
"""What the order brings stands by its name: no specimen is taken for a value."""
_SHOWN: Final = 6


def explanation(settings: Settings) -> str:
    """All of it, as text.  ConfigError: a recipe cannot be read."""
    recipes = list(settings.recipes().values())
    groups: dict[str, list[str]] = {}
    for rule in settings.rules.values():
        text, halted = _rule(settings, rule, recipes)
        for device in halted or (_TELLS,):
            groups.setdefault(device, []).append(text)
    parts: list[str] = []
    for device in [*(each for each in groups if each), *([_TELLS] if _TELLS in groups else [])]:
        parts += [f"Halts {device}" if device else "Halts nothing: warnings and alarms", *groups[device]]
    if settings.derived:
        parts += ["Derived tags", *(_virtual(name, each) for name, each in settings.derived.items())]
    parts += ["All alarms", _wrapped(all_alarms(settings), 2)]
    return "\n\n".join(parts)


# -- rules ---------------------------------------------------------------------------------------------


def _rule(settings: Settings, rule: RawRule, recipes: Sequence[Recipe]) -> tuple[str, tuple[str, ...]]:
    """Its paragraph, and the devices it halts.  What is the same with every recipe is said once."""
    told: list[tuple[str, list[str]]] = []
    halted: dict[str, None] = {}
    for recipe, config in _resolved(settings, rule, recipes):
        halted |= dict.fromkeys(config.halt)
        told.append((recipe.id if recipe else "", list(_sentences(settings, rule, config, recipe))))
    same = [text for text in told[0][1] if all(text in texts for _, texts in told)] if told else []
    by_recipe: dict[str, list[str]] = {}
    for recipe_id, texts in told:
        own = "\n".join(_wrapped(text, 6) for text in texts if text not in same)
        by_recipe.setdefault(own, []).append(recipe_id)
    lines = [f"  {rule.name} ({rule.kind})"]
    for own, ids in by_recipe.items():
        if own:
            lines += [f"    With recipe {listed(ids, 'or')}:", own]
    lines += [_wrapped(text, 4) for text in same]
    if rule.needs("recipe") and len(by_recipe) == 1 and told:
        lines.insert(1, f"    With recipe {listed([each for each, _ in told], 'or')}:")
    if not told:
        given = rule.data.get("halt", ())
        halted = dict.fromkeys([given] if isinstance(given, str) else [str(each) for each in given])
        lines.append("    There is no recipe to explain it with: put one into gateway.recipes.")
    return "\n".join(lines), tuple(halted)


def _resolved(
    settings: Settings, rule: RawRule, recipes: Sequence[Recipe]
) -> Iterator[tuple[Recipe | None, RuleConfig]]:
    """The rule with each recipe; once where it needs none."""
    needs = rule.needs("recipe") or rule.model.needs_batch
    for recipe in recipes if needs else (None,):
        for batch in (_NAMED_BATCH, SPECIMEN_BATCH):  # a kind that wants a number of the batch takes the specimen's
            config, _ = resolve_rule(rule, settings.document, recipe, batch)
            if config is not None:
                yield recipe, config
                break


def _sentences(settings: Settings, rule: RawRule, config: RuleConfig, recipe: Recipe | None) -> Iterator[str]:
    said = explained(config, settings.rule_context(recipe, None))
    yield said.what
    yield from _matches(settings, config)
    yield from chart(settings, config, recipe)
    for text in _reactions(settings, rule, config, recipe):
        yield f"Reaction at worst: {text}"
    yield f"If its input dies: {said.dies} {watched(settings, rule.name, config, recipe)}".rstrip()
    yield from hiding(config)
    if config.needs_batch:
        yield "Judges only while a batch runs."
    if config.text:
        yield f"Says: {config.text.rstrip('.')}."


def _matches(settings: Settings, config: RuleConfig) -> Iterator[str]:
    found = matching(config, settings.tagsets)
    if found is not None:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield f"A rule for each of {len(found)}: {', '.join(found[:_SHOWN])}{more}."


def _reactions(settings: Settings, rule: RawRule, config: RuleConfig, recipe: Recipe | None) -> Iterator[str]:
    """To the machine's own word that it stands; for a rule that halts nothing, until it is told."""
    rows = [row for row in worst_case(settings, recipe) if row.rule == rule.name]
    for row in rows:
        promised = f", promised {duration_text(row.deadline_s)}" if row.deadline_s is not None else ""
        yield f"{row.sum} from {row.measures} until {row.halts} stands{promised}."
    told = None if rows or config.kind == "spc" else until_told(settings, rule.name, config)
    if told is not None:
        yield f"{told.sum} from {told.measures} until it is told."


# -- derived tags --------------------------------------------------------------------------------------


def _virtual(name: str, each: Virtual) -> str:
    devices = sorted({source.tagset.device for source in each.sources.values()})
    when = f"with each scan of {each.on}" if each.on else f"with each scan of {listed(devices, 'or')}"
    lines = [f"  {name}: computed {when}"]
    for tag, config in each.tags.items():
        unit = "" if config.unit == "1" else f", {config.unit}"
        lines.append(_wrapped(f"{name}/{tag} ({config.kind}{unit}): {_derived(config)}", 4))
    lasting = sorted({duration_text(round(source.lasts_ns / 1e9, 6)) for source in each.sources.values()})
    dies = f"If an input is bad, or older than {listed(lasting, 'or')}: a bad value with the input's name and reason."
    return "\n".join((*lines, _wrapped(dies, 4)))


def _derived(config: DerivedConfig) -> str:
    """What is computed."""
    names = config.names()
    match config:
        case ExprConfig():
            where = listed([f"{short} is {full}" for short, full in names.items()], "and")
            return f"{config.expr}, where {where}" + ("; true or false." if config.truth else ".")
        case RateConfig():
            return f"the slope of {config.input} over the last {duration_text(config.over_s)}; anew after a bad value."
        case UnchangedConfig():
            moved = f" by more than {config.by:g}" if config.by else ""
            return f"how long {config.input} has not moved{moved}."
        case TimeAboveConfig():
            since = "in this batch" if config.per == "batch" else "for ever"
            return f"how long {config.input} was above {config.above.value:g} {config.above.unit} {since}."
        case ViscosityConfig():
            return _viscosity(config)
        case _:
            return f"of {listed(list(names.values()), 'and')}."


def _viscosity(config: Any) -> str:
    model = config.model
    by = f" ({model.fitted})" if model.fitted else ""
    seen = listed([config.temperature, *([f"the density {config.density}"] if config.density else [])], "and")
    return (
        f"{config.viscosity} as it would be at {config.at.value:g} {config.at.unit}, by {seen} and "
        f"the model {model.kind}{by}; no value outside {model.low:g} to {model.high:g} Cel, for which it was fitted."
    )


def _wrapped(text: str, indent: int) -> str:
    pad = " " * indent
    return fill(text, WIDTH, initial_indent=pad, subsequent_indent=pad + "  ", break_on_hyphens=False)
