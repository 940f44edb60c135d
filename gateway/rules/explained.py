"""Rules in plain language, one function a kind: what is judged, within which limits, what a dead input means.

A kind of a third party may say it itself by a method `explain(context) -> Said`; else its docstring speaks.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol, runtime_checkable

import msgspec
from pydantic import BaseModel

from gateway.model import Priority
from gateway.plans import Characteristic, Plan, Tare
from gateway.rules.base import RuleConfig, RuleContext
from gateway.rules.condition import ConditionConfig
from gateway.rules.limit import LEAST_BAD_FOR_S, MISSED_PERIODS, LimitConfig
from gateway.rules.match import MatchConfig
from gateway.rules.sampling import SamplingConfig
from gateway.rules.scale import TIMES
from gateway.rules.spc.rule import SpcConfig
from gateway.rules.spc.told import patterns
from gateway.rules.stale import StaleConfig
from gateway.units import duration_text


class Said(msgspec.Struct, frozen=True):
    """One rule in words."""

    what: str
    """What it looks at, within which limits, and what it means to be beyond them."""
    dies: str
    """What happens when its input dies."""


@runtime_checkable
class Explaining(Protocol):
    """A kind of rule that explains itself."""

    def explain(self, context: RuleContext) -> Said: ...


def explained(config: RuleConfig, context: RuleContext) -> Said:
    """The rule in words; `context` for periods and units."""
    if isinstance(config, Explaining):
        return config.explain(context)
    for kind, (say, spoken) in EXPLAINED.items():
        if isinstance(config, kind):
            said = say(config, context)
            return msgspec.structs.replace(said, what=said.what + _also(config, spoken))
    looks = listed(config.inputs(), "and")
    documented = _documented(type(config))
    what = f"{documented} It looks at {looks}." if documented else f"Kind {config.kind}, over {looks}."
    return Said(what, "what its kind says; nothing is known of it here.")


def _documented(kind: type[RuleConfig]) -> str:
    """The first paragraph of its own docstring, else of its module's."""
    own = kind.__dict__.get("__doc__")
    module = sys.modules.get(kind.__module__)
    text = inspect.cleandoc(own or (module.__doc__ if module is not None else None) or "")
    return " ".join(text.partition("\n\n")[0].split())


# -- the kinds -----------------------------------------------------------------------------------------


def _limit(config: LimitConfig, context: RuleContext) -> Said:
    limits, unit = config.limits, config.limits.unit
    severe = _beyond(limits.low, limits.high, unit)
    warned = _beyond(limits.warn_low, limits.warn_high, unit)
    held = f" for {duration_text(config.on_delay_s)}" if config.on_delay_s else ""
    parts = [f"{severe}{held} {_severe(config, 'alarm', config.alarm)}"] if severe else []
    parts += [f"{warned}{held} is a warning ({config.warn})"] if warned else []
    clears = f"{_amount(config.deadband, unit)} inside the limit" if config.deadband else "at the limit itself"
    clears += f" for {duration_text(config.off_delay_s)}" if config.off_delay_s else ""
    target = f" (target {_amount(limits.target, unit)})" if limits.target is not None else ""
    strict = " An uncertain value counts as bad." if config.strict else ""
    what = f"{config.input}{target}: {'; '.join(parts)}. Clears {clears}.{strict}"
    return Said(what, _blind(config, config.patience_s, context))


def _blind(config: LimitConfig | ConditionConfig, patience_s: Callable[[float], float], context: RuleContext) -> str:
    """Of the kinds that have `bad_input` and `bad_for`."""
    if config.bad_input == "ignore":
        return "nothing is said: another rule has to watch it, and what stood goes on standing."
    if _is_pattern(config.input) and config.bad_for_s is None:
        lasting = f"{MISSED_PERIODS} periods of its device (at least {duration_text(LEAST_BAD_FOR_S)})"
    else:
        period_s = context.periods_s.get(config.input.partition("/")[0], 1.0)
        lasting = duration_text(round(patience_s(period_s), 6))
    return f"no good value for {lasting} {_means(config.bad_input, config, config.alarm)}."


def _stale(config: StaleConfig, context: RuleContext) -> Said:
    del context
    word = "warning" if config.severity == "warn" else "alarm"
    good = "good value (uncertain counts as bad)" if config.strict else "good value"
    any_of = "" if "/" in config.input else ", of whichever tag,"
    meaning = _severe(config, word, config.alarm)
    what = f"{config.input}: no {good}{any_of} for {duration_text(config.after_s)} {meaning}. Clears with the next one."
    return Said(what, "that is what it watches for: lost, hung, bad or silent, all count.")


def _condition(config: ConditionConfig, context: RuleContext) -> Said:
    word = "warning" if config.severity == "warn" else "alarm"
    wrong = str(not config.expected).lower()
    held = f" for {duration_text(config.on_delay_s)}" if config.on_delay_s else ""
    off = f" for {duration_text(config.off_delay_s)}" if config.off_delay_s else ""
    what = f"{config.input}: {wrong}{held} {_severe(config, word, config.alarm)}. Clears when it is not so{off}."

    def patience_s(period_s: float) -> float:
        return max(LEAST_BAD_FOR_S, MISSED_PERIODS * period_s) if config.bad_for_s is None else config.bad_for_s

    return Said(what, _blind(config, patience_s, context))


def _match(config: MatchConfig, context: RuleContext) -> Said:
    del context
    wanted = "; ".join(f"{tag} {_wanted(expected)}" for tag, expected in config.expect.items())
    wrong = _severe(config, "alarm", config.alarm)
    what = f"Each time {config.on} counts, the label must say: {wanted}. A label that does not say so {wrong}, at once."
    if config.unseen != "ignore":
        what += f" Labels that went by unread are {_WORDS[config.unseen]} (low)."
    if config.uids is not None:
        own = "has one of its own, none twice" if config.uids.per == "unit" else "carries the package's"
        issued = f", of {config.uids.first} to {config.uids.last}" if config.uids.first is not None else ""
        issued = f", {config.uids.package}" if config.uids.package is not None else issued
        what += f" Its UID in {config.uids.tag} is of a METRC tag's form; each label {own}{issued}."
    if config.trend is not None:
        beyond = _beyond(config.trend.window.low, config.trend.window.high, config.trend.window.unit)
        what += f" The average of {config.trend.tag} (weight {config.trend.weight:g}) {beyond} is a warning (low)."
    if config.read is not None:
        what += f" A read of nothing ({config.read} is false) {_means(config.no_read, config, config.alarm)}."
    unread = wrong if config.bad_input is None else _means(config.bad_input, config, config.alarm)
    return Said(what, f"a field that cannot be read {unread}; while {config.on} itself is bad, no label is judged.")


def _wanted(expected: Any) -> str:
    if expected.window is not None:
        within = _within(expected.window.low, expected.window.high, expected.window.unit)
        warned = _beyond(expected.window.warn_low, expected.window.warn_high, expected.window.unit)
        return within + (f" ({warned} is a warning)" if warned else "")
    value = expected.value
    said = str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"= {said}" + (f" within {expected.tolerance}" if expected.tolerance else "")


def _sampling(config: SamplingConfig, context: RuleContext) -> Said:
    plan = config.plan
    named = f"Plan {plan.name}: " if plan.name else ""
    each = "; ".join(_characteristic(one, config) for one in plan.characteristics)
    units = "unit" if plan.n == 1 else "units"
    fails = _severe(config, "alarm", config.alarm)
    missed = f"halts {listed(config.halt, 'and')}" if config.missed == "halt" else f"is an alarm ({config.alarm})"
    grace = [duration_text(plan.grace_s), *([f"{plan.grace_units} units"] if plan.grace_units else [])]
    what = (
        f"{named}a check of {plan.n} {units} falls due {listed(list(_triggers(plan)), 'and')}: {each}. A check that "
        f"fails {fails}; one not done within {listed(grace, 'or')} {missed}. One that proves neither "
        f"{_means(plan.indeterminate, config, config.alarm)}. After a recalibration the next "
        f"{context.verification_units} units are all checked."
    )
    if config.weight is not None or config.tags:
        what += f" A take lapses where nothing was measured {duration_text(config.take_within_s)} after it."
    if config.running is not None:
        states = listed([str(each) for each in config.running_states], "or")
        what += f" The machine runs while {config.running} is {states}."
    if plan.reweigh:
        what += f" A sample may be weighed again, at most {plan.reweigh} in a check, with a reason."
    if config.scale is not None:
        spread, unit = config.scale.deviation(), config.scale.unit
        what += f" The balance counts with a standard deviation of {_amount(spread, unit)}, and may judge from "
        what += f"{_amount((TIMES * spread).normalize(), unit)} (USP <41>)."
    watched = [name for name in (config.count, config.running, config.tray) if name is not None]
    pan = f"a weight that is bad, or not stable within {duration_text(config.settle_s)}, is recorded and never judged; "
    dies = (pan if config.weight else "") + "the check stays open, and is missed in the end"
    dies += f"; while {listed(watched, 'or')} is bad, nothing falls due by it" if watched else ""
    return Said(what, dies + ".")


def _triggers(plan: Plan) -> Iterator[str]:
    if plan.every_s is not None:
        yield f"every {duration_text(plan.every_s)} of running time"
    if plan.every_units is not None:
        yield f"every {plan.every_units} units"
    if plan.random is not None:
        times = "once" if plan.random.n == 1 else f"{plan.random.n} times"
        yield f"{times} at random in each {plan.random.per}"
    if plan.after:
        yield f"after {listed(plan.after, 'and')}"


def _characteristic(one: Characteristic, config: SamplingConfig) -> str:
    if one.kind == "attribute":
        return f"{one.name} entered, at most {one.accept} with a defect"
    where = {"weighing": f"weighed on {config.weight}", "entry": "entered"}.get(one.source, "")
    where = where or f"from {config.tags.get(one.name, 'its instrument')}"
    assert one.window is not None
    unit = one.window.unit
    sets = [f"{name} {_span(*ends, unit)}" for name, ends in one.sets().items() if ends is not None]
    target = f"target {_amount(one.window.target, unit)}, " if one.window.target is not None else ""
    tared = f", {_tared(one.tare)}" if one.tare is not None else ""
    mean = ""
    if one.mean is not None:
        warned = _beyond(one.mean.warn_low, one.mean.warn_high, unit)
        mean = f", mean {_span(one.mean.low, one.mean.high, unit)}" + (f" ({warned} is a warning)" if warned else "")
    if one.uncertainty is not None:
        mean += f", uncertainty {_amount(one.uncertainty, unit)} (k = 2): nearer to a limit proves neither"
    if one.tare is not None and one.tare.mode == "group":  # it says nothing of each
        return f"{one.name} {where}{tared}, {target}{mean.removeprefix(', ')}"
    fails = f", fails beyond {one.fails_at}" if len(sets) > 1 or one.fails_at != "action" else ""
    return f"{one.name} {where}{tared}, {target}{', '.join(sets)}{mean}{fails}"


def _tared(tare: Tare) -> str:
    if tare.mode == "group":
        return f"{tare.n} together empty and full, of which only the mean is judged"
    if tare.mode == "paired":
        return "each empty and full"
    weight, spread = _amount(tare.weight, tare.unit), _amount(tare.spread, tare.unit)
    return f"less a fixed tare of {weight} (standard deviation {spread})"


def _spc(config: SpcConfig, context: RuleContext) -> Said:
    del context
    word = "warning" if config.severity == "warn" else "alarm"
    if config.of is not None:
        source = f"the checks of {config.of}" + (f", {config.characteristic}" if config.characteristic else "")
        dies = f"a check of {config.of} that has no judged sample makes no point: {config.of} itself says so."
    else:
        several = "a value to a point, each" if config.n == 1 else f"{config.n} values to a point, each"
        source = f"{config.input}, {several} {duration_text(config.every_s)} after the last"
        dies = "a bad or uncertain value makes no point and nothing is said: another rule has to watch the input."
    if config.process is not None:
        limits = f"centre {config.process.center:g}, sigma {config.process.sigma:g}, given"
    elif config.phase is not None:
        limits = f"limits found in phase {config.phase.name!r} over {config.phase.points} points (silent until then), "
        limits += "then frozen"
    else:
        limits = f"usual share {config.share:g}, given"
    terms = ""
    if config.chart == "ewma":
        terms = f", weight {config.ewma.weight:g}, limits at {config.ewma.width:g} sigma ({config.ewma.limits})"
    elif config.chart == "cusum":
        fast = ", sums begin at half of it" if config.cusum.fast else ""
        terms = f", slack {config.cusum.slack:g}, decision {config.cusum.decision:g} sigma{fast}"
    what = f"Chart {config.chart} of {source}: {limits}{terms}. A signal {_severe(config, word, config.alarm)}: "
    what += f"{patterns(config)}. It goes with the next point that completes none."
    anew = dict.fromkeys((*([config.of] if config.of else []), *config.anew_after))
    if anew:
        what += f" A recalibration of {listed(list(anew), 'or')} begins patterns anew; limits stay."
    return Said(what, dies)


EXPLAINED: Final[Mapping[type[RuleConfig], tuple[Callable[[Any, RuleContext], Said], frozenset[str]]]] = {
    LimitConfig: (_limit, frozenset(LimitConfig.model_fields)),
    StaleConfig: (_stale, frozenset(StaleConfig.model_fields)),
    SamplingConfig: (_sampling, frozenset(SamplingConfig.model_fields)),
    MatchConfig: (_match, frozenset(MatchConfig.model_fields)),
    SpcConfig: (_spc, frozenset(SpcConfig.model_fields)),
    ConditionConfig: (_condition, frozenset(ConditionConfig.model_fields)),
}
"""Each built-in kind, and the keys its sentences speak of; a test holds it whole."""


def _also(config: RuleConfig, spoken: frozenset[str]) -> str:
    """Keys that were set and no sentence speaks of: as they were written."""
    more = config.model_fields_set - spoken - RuleConfig.model_fields.keys()
    said = [f"{name} {_written(getattr(config, name))}" for name in sorted(more) if getattr(config, name) is not None]
    return f" Also: {'; '.join(said)}." if said else ""


def _written(value: object) -> str:
    if not isinstance(value, BaseModel):
        return str(value)
    given = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return "{" + ", ".join(f"{key}: {each}" for key, each in given.items()) + "}"


# -- words ---------------------------------------------------------------------------------------------

_WORDS: Final = {"warn": "a warning", "alarm": "an alarm", "halt": "a halt", "ignore": "passed over"}


def listed(words: Sequence[str], last: str) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words) or "nothing"
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _severe(config: RuleConfig, word: str, priority: Priority) -> str:
    if config.halt:
        return f"halts {listed(config.halt, 'and')} ({priority})"
    return f"is {'an' if word[0] in 'aeiou' else 'a'} {word} ({priority})"


def _means(word: str, config: RuleConfig, priority: Priority) -> str:
    """What `bad_input`, `no_read` and their like come to."""
    if word == "halt":
        return f"halts {listed(config.halt, 'and')}" if config.halt else f"is an alarm ({priority})"
    return f"is {_WORDS[word]}" + (f" ({priority})" if word == "alarm" else "")


def _amount(value: Decimal | None, unit: str) -> str:
    said = "none" if value is None else f"{value:f}"
    return said if unit in ("1", "{count}") else f"{said} {unit}"


def _beyond(low: Decimal | None, high: Decimal | None, unit: str) -> str:
    ends = [f"below {_amount(low, unit)}"] if low is not None else []
    ends += [f"above {_amount(high, unit)}"] if high is not None else []
    return " or ".join(ends)


def _span(low: Decimal | None, high: Decimal | None, unit: str) -> str:
    if low is None:
        return f"up to {_amount(high, unit)}"
    if high is None:
        return f"from {_amount(low, unit)}"
    return f"{low} to {_amount(high, unit)}"


def _within(low: Decimal | None, high: Decimal | None, unit: str) -> str:
    return "any" if low is None and high is None else _span(low, high, unit)


def _is_pattern(text: str) -> bool:
    return bool(set(text) & set("*?["))
