"""The rules that judge now: compiled for the batch that is being made, or for the line alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from gateway.batch.lifecycle import Batch
from gateway.batch.order import facts
from gateway.config.patterns import matches
from gateway.config.reading import Settings
from gateway.model import Json, TagSet
from gateway.plans import Plan
from gateway.recipe import Recipe
from gateway.rules.base import Judge, RuleConfig, RuleContext
from gateway.rules.engine import Engine
from gateway.rules.pan import Pan
from gateway.rules.sampling import SamplingConfig, SamplingJudge
from gateway.rules.spc.rule import SpcJudge


class Rules:
    """The engine and the judges in it.  A rule that a new batch does not change keeps its judge, and so its state."""

    def __init__(self, settings: Settings) -> None:
        self.engine = Engine({}, settings.tagsets.values())
        self.deriver = settings.deriver()
        """What computes the derived tags; None where there are none."""
        self._kept_derived: dict[str, Json] = {}
        self._settings = settings
        self._behind: dict[str, tuple[str, ...]] = {}
        self._configs: dict[str, RuleConfig] = {}
        """As written, patterns standing."""
        self._members: dict[str, dict[str, Judge]] = {}
        """By the name of the rule as written; of a pattern, one judge for each tag."""
        self._written: dict[str, str] = {}
        """Rule that a pattern made -> the pattern's own name."""
        self._made_for: dict[str, Counter[str]] = {}
        """Pattern -> device -> how many rules; of those asked for."""
        self._sampling: dict[str, RuleConfig] = {}
        self.scales: dict[str, tuple[str, str]] = {}
        """Balance -> its repeatability as last found, and the unit."""
        self._judges: dict[str, Judge] = {}
        self.suppressible: tuple[RuleConfig, ...] = ()
        """Rules whose alarm something may suppress by configuration."""

    @property
    def configs(self) -> Collection[RuleConfig]:
        """Of the rules that judge now, as written."""
        return self._configs.values()

    @property
    def devices(self) -> Collection[str]:
        """The real ones."""
        return self._settings.devices

    @property
    def tagsets(self) -> Mapping[str, TagSet]:
        return self._settings.tagsets

    @property
    def longest_shelf_s(self) -> float:
        return self._settings.gateway.alarms.longest_shelf_s

    @property
    def flapping_from(self) -> int:
        return self._settings.gateway.alarms.flapping_from

    def measuring(self, device: str) -> set[str]:
        """The real devices that a device's values come from."""
        return self._settings.measuring(device)

    def behind(self, name: str) -> tuple[str, ...]:
        """A tag, what it is computed from, and the devices of these; of a device, all of that of each of its tags."""
        if name not in self._behind:
            self._behind[name] = self._settings.behind(name)
        return self._behind[name]

    def period_s(self, device: str) -> float:
        return self._settings.periods_s.get(device, 1.0)

    def config_of(self, rule: str) -> RuleConfig | None:
        """Of a rule that judges now; of one that a pattern made, the pattern's."""
        return self._configs.get(self._written.get(rule, rule))

    def written(self, rule: str) -> str:
        """Its name as written, of a rule that a pattern made."""
        return self._written.get(rule, rule)

    def made_for(self, written: str, device: str) -> int:
        """How many rules that name made for a device; 1 of a rule that is no pattern."""
        made = self._members.get(written, {})
        if written in made:
            return 1
        if written not in self._made_for:
            at = (tagset.device for judge in made.values() if (tagset := getattr(judge, "tagset", None)) is not None)
            self._made_for[written] = Counter(at)
        return self._made_for[written][device]

    def names_of(self, name: str) -> Collection[str]:
        """The rules that a rule as written is: itself, or those its pattern made."""
        return self._members.get(name, (name,))

    def __contains__(self, rule: object) -> bool:
        return rule in self._judges

    def is_sampling(self, rule: str) -> bool:
        return rule in self._sampling

    def is_chart(self, rule: str) -> bool:
        return isinstance(self._judges.get(rule), SpcJudge)

    def sampling(self, device: str = "") -> list[str]:
        """Sampling rules that judge now and look at this device; empty: all of them."""
        looking = ((rule, config.inputs()) for rule, config in self._sampling.items())
        return [rule for rule, tags in looking if not device or any(tag.startswith(f"{device}/") for tag in tags)]

    def knows_scale(self, rule: str, device: str) -> bool:
        """Does this sampling rule weigh on that balance, and know it?"""
        config = self._sampling[rule]
        return (
            isinstance(config, SamplingConfig)
            and config.scale is not None
            and config.weight is not None
            and config.weight.startswith(f"{device}/")
        )

    def weighing_on(self, device: str) -> list[tuple[str, Plan, Pan]]:
        """The sampling rules that weigh on this balance now: what they want, and its pan as they see it."""
        found = []
        for rule, config in self._sampling.items():
            judge = self._judges.get(rule)
            if isinstance(judge, SamplingJudge) and judge.pan is not None and judge.pan.tagset.device == device:
                assert isinstance(config, SamplingConfig)
                found.append((rule, config.plan, judge.pan))
        return found

    def load_derived(self, states: Mapping[str, Json]) -> None:
        """What derived tags remembered at the last stop."""
        if self.deriver is not None:
            self.deriver.load(states)
            self._kept_derived = self.deriver.dump()

    def changed_derived(self) -> dict[str, Json]:
        """State by virtual device, of those that changed since this was last asked."""
        if self.deriver is None:
            return {}
        states = self.deriver.dump()
        old, self._kept_derived = self._kept_derived, states
        changed = {name: state for name, state in states.items() if old.get(name) != state}
        return changed | {name: None for name in old if name not in states}

    def compile(
        self, batch: Batch | None, recipe: Recipe | None, states: Mapping[str, Json] | None = None
    ) -> tuple[list[str], list[str]]:
        """Judge for this batch from now on, or for the line alone; `states` of an earlier run are taken up.

        Returns the rules that begin anew or are gone (their kept state means nothing any more), and of these the gone.
        Raises ConfigError where the recipe does not fit the line.
        """
        if self.deriver is not None:
            self.deriver.begin(batch.number if batch else None)
        known = facts(batch.order, recipe) if batch and recipe else None
        configs = self._settings.resolve_rules(recipe, known)
        context = self._settings.rule_context(recipe, batch.number if batch else None)
        context = msgspec.structs.replace(context, scales=dict(self.scales))
        made = {name: self._made(name, config, context) for name, config in configs.items()}
        judges = {name: judge for group in made.values() for name, judge in group.items()}
        old, self._configs, self._members, self._judges = self._judges, configs, made, judges
        self._made_for = {}
        self._written = {each: name for name, group in made.items() if name not in group for each in group}
        self.suppressible = tuple(each for each in configs.values() if each.suppressed_by or each.suppressed_unless)
        self._sampling = {
            rule: config for name, config in configs.items() if config.kind == "sampling" for rule in made[name]
        }
        self.engine = Engine(judges, self._settings.tagsets.values())
        self.engine.load({name: state for name, state in (states or {}).items() if name in judges})
        fresh = [name for name, judge in old.items() if judges.get(name) is not judge]
        return fresh, [name for name in fresh if name not in judges]

    def _made(self, name: str, config: RuleConfig, context: RuleContext) -> dict[str, Judge]:
        """The judges there are, where the rule says what it said; new ones elsewhere."""
        if self._configs.get(name) == config and not config.needs_batch:
            return self._members[name]
        found = matches(name, config, self._settings.tagsets)
        return {name: config.build(name, context)} if found is None else dict(config.build_each(found, context))
