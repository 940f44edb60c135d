"""What a rule's explanation has to say of other parts of the line: who watches its input, what hides its alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.config.model import SPECIMEN_BATCH, Settings, resolve_rule
from gateway.config.patterns import looked_at
from gateway.config.worst import until_told
from gateway.model import Json
from gateway.plans import Plan
from gateway.recipe import Recipe
from gateway.rules.base import RuleConfig
from gateway.rules.explained import listed
from gateway.rules.match import MatchConfig
from gateway.rules.sampling import SamplingConfig
from gateway.rules.spc.rule import SpcConfig
from gateway.rules.spc.told import longest, numbers
from gateway.units import duration_text

LINK = "link:"
_SILENT = ("ignore", None)
"""What `bad_input` says where a rule itself is silent about a dead input."""


# -- the alarm -----------------------------------------------------------------------------------------


def hiding(config: RuleConfig) -> Iterator[str]:
    """What makes its alarm stay, and what suppresses it by design."""
    if config.latched:
        yield "Its alarm latches: it stands until it was acknowledged and reset, also when the condition is gone."
    if config.suppressed_by:
        yield f"Its alarm is recorded and not shown while {_causes(config.suppressed_by)}."
    if config.suppressed_unless is not None:
        states = listed([str(state) for state in config.suppressed_unless_states], "or")
        yield f"Its alarm is recorded and not shown unless {config.suppressed_unless} is true, or {states}."
    if config.halt and (config.suppressed_by or config.suppressed_unless):
        yield f"That hides no halt: {listed(config.halt, 'and')} is held all the same, and then the alarm is shown."


def _causes(names: Sequence[str]) -> str:
    """`oil-temperature or oil-viscosity stands, or filler is away`."""
    rules = listed([name for name in names if not name.startswith(LINK)], "or")
    away = listed([name.removeprefix(LINK) for name in names if name.startswith(LINK)], "or")
    said = [f"{rules} stands"] if any(not name.startswith(LINK) for name in names) else []
    return ", or ".join([*said, *([f"{away} is away"] if any(name.startswith(LINK) for name in names) else [])])


def all_alarms(settings: Settings) -> str:
    """What holds for every alarm of the line."""
    longest_s = duration_text(settings.gateway.alarms.longest_shelf_s)
    return (
        "A lost link is an alarm of its own, link:DEVICE, and suppresses what rules say of the input that is missing "
        "by it. An input that is dead for another reason is alarmed once, by the first rule that says so: what else is "
        f"blind by it is recorded and not shown. A person may shelve an alarm for at most {longest_s}, maintenance may "
        "take one out of service: each with name and reason, on record. Whatever hides an alarm, "
        "it is judged on, and no halt is ever hidden."
    )


# -- its input -----------------------------------------------------------------------------------------


def watched(settings: Settings, name: str, config: RuleConfig, recipe: Recipe | None) -> str:
    """Which other rules speak when the input dies, where this one is silent; nothing where it speaks itself.

    A rule that watches a whole device (`stale`) is content with any good value of it: of one dead tag it says nothing.
    """
    if config.kind == "stale" or getattr(config, "bad_input", None) not in _SILENT or not config.inputs():
        return ""
    wanted = _measured(settings, config) & _unsaid(settings, config)
    speaking = {other: each for other, each in _others(settings, name, recipe) if _speaks(each)}
    single = {other: _measured(settings, each) & wanted for other, each in speaking.items() if not _is_whole(each)}
    whole = {other: _devices(settings, each) for other, each in speaking.items() if _is_whole(each)}
    told = set().union(*single.values())
    return " ".join(_watching(wanted, [other for other, tags in single.items() if tags], whole, told))


def _watching(wanted: set[str], single: Sequence[str], whole: Mapping[str, set[str]], told: set[str]) -> Iterator[str]:
    """Who speaks of single tags, who of whole devices, and of what nobody does."""
    if single:
        yield f"Watched by {listed(single, 'and')}."
    devices = {tag.partition("/")[0] for tag in wanted}
    for other, seen in whole.items():
        if seen & devices:
            yield f"Watched by {other}, if all of {listed(sorted(seen & devices), 'and')} is dead."
    covered = set().union(*whole.values())
    alone = sorted(tag for tag in wanted - told if tag.partition("/")[0] in covered)
    if alone:
        yield f"If only {listed(alone, 'or')} is dead, no other rule says so."
    lost = sorted({tag.partition("/")[0] for tag in wanted - told} - covered)
    if lost:
        yield f"Of {listed(lost, 'and')} only a lost link is told."


def _measured(settings: Settings, config: RuleConfig) -> set[str]:
    """The tags of real devices that it looks at, itself or through derived ones."""
    seen = {tag for tags in looked_at(config, settings.tagsets) for tag in tags}
    names = {name for tag in seen for name in settings.behind(tag) if "/" in name}
    return {name for name in names if name.partition("/")[0] in settings.devices}


def _unsaid(settings: Settings, config: RuleConfig) -> set[str]:
    """Of its tags, those whose death it does not tell itself: a weight that is missing makes a missed check."""
    if isinstance(config, MatchConfig):
        return {config.on}
    if isinstance(config, SamplingConfig):
        return {name for name in (config.count, config.running, config.tray) if name is not None}
    return _measured(settings, config)


def _is_whole(config: RuleConfig) -> bool:
    return config.kind == "stale" and all("/" not in name for name in config.inputs())


def _others(settings: Settings, name: str, recipe: Recipe | None) -> Iterator[tuple[str, RuleConfig]]:
    for rule in settings.rules.values():
        config, _ = resolve_rule(rule, settings.document, recipe, SPECIMEN_BATCH)
        if config is not None and rule.name != name:
            yield rule.name, config


def _speaks(config: RuleConfig) -> bool:
    """Does it say anything when an input dies?"""
    return config.kind == "stale" or getattr(config, "bad_input", "ignore") not in _SILENT


def _devices(settings: Settings, config: RuleConfig) -> set[str]:
    """The real devices it looks at."""
    seen = {tag for tags in looked_at(config, settings.tagsets) for tag in tags}
    return {device for tag in seen for device in settings.sources(tag)}


# -- charts --------------------------------------------------------------------------------------------


def chart(settings: Settings, config: RuleConfig, recipe: Recipe | None) -> Iterator[str]:
    """A chart's limits in numbers, and how soon it can speak."""
    if not isinstance(config, SpcConfig):
        return
    followed = _followed(settings, config.of, recipe)
    n = config.n if followed is None else followed.plan.n
    told = numbers(config, n, _unit(settings, config, followed))
    if told:
        sizes = "" if config.of is None or config.chart == "i-mr" else " A subgroup of another size has its own limits."
        yield f"Control limits: {told}.{sizes}"
    patterns = longest(config)
    several = f"; its longest pattern takes {patterns} points" if patterns > 1 else ""
    if followed is not None:
        yield f"Speaks at worst: with the judgement of the check that makes the point, {_due(followed.plan)}{several}."
    elif config.input is not None:
        row = until_told(settings, "", config)
        after = f"{row.sum} after the last value of a point" if row is not None else "with the last value of a point"
        yield f"Speaks at worst: {after}, and a point takes {duration_text(config.every_s * config.n)}{several}."


def _followed(settings: Settings, name: str | None, recipe: Recipe | None) -> SamplingConfig | None:
    rule = settings.rules.get(name) if name is not None else None
    if rule is None:
        return None
    for each in (recipe, *settings.recipes().values()):
        config, _ = resolve_rule(rule, settings.document, each, SPECIMEN_BATCH)
        if isinstance(config, SamplingConfig):
            return config
    return None


def _due(plan: Plan) -> str:
    waits = [duration_text(plan.grace_s), *([f"{plan.grace_units} units"] if plan.grace_units else [])]
    return f"which has {listed(waits, 'or')} from when it fell due"


def _unit(settings: Settings, config: SpcConfig, followed: SamplingConfig | None) -> str:
    code: Json = "1"
    if followed is not None:
        named = [one for one in followed.plan.characteristics if config.characteristic in (None, one.name)]
        code = named[0].window.unit if named and named[0].window is not None else "1"
    elif config.input is not None:
        device, _, tag = config.input.partition("/")
        tagset = settings.tagsets[device]
        code = tagset.units[tagset.index[tag]]
    return "" if code in ("1", "{count}") else f" {code}"
