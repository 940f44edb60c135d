"""The batch the line runs: its recipe, the rules compiled for it, and its counting.

The lifecycle itself is pure (`gateway.batch`); this is where its drafts meet the journal and its facts the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import structlog

from gateway.batch import complete as completeness
from gateway.batch import lifecycle
from gateway.batch.counts import CountEntry, Counters
from gateway.batch.lifecycle import Batch, BatchState
from gateway.batch.order import accept, facts, parse
from gateway.config import Settings, recipe_hash
from gateway.errors import Refused
from gateway.journal import Journal, body_of
from gateway.model import CheckState, Draft, Json, Principal, Sample, Scan, Value
from gateway.recipe import Recipe
from gateway.rules.base import Judge, RuleConfig, RuleContext
from gateway.rules.engine import Engine
from gateway.store.evidence import Evidence
from gateway.world import World

log = structlog.get_logger()

KEEP_EVERY_NS: Final = 2_000_000_000
"""Counts alone are kept this often: after a crash the machine's own counter says what was made meanwhile."""
PLOTS: Final = 12
"""Curves a report shows at most."""
OPEN_STATES: Final = (BatchState.RUNNING, BatchState.COMPLETE)


class Run:
    """Batches by number, the open one, and the engine that judges for it."""

    def __init__(self, settings: Settings, journal: Journal, evidence: Evidence, world: World) -> None:
        self.batches: dict[str, Batch] = {}
        self.engine = Engine({}, settings.tagsets.values())
        self._settings = settings
        self._journal = journal
        self._evidence = evidence
        self._world = world
        self._recipes: dict[str, Recipe] = {}
        """By hash: the recipe a batch was ordered with stays its recipe, whatever the file says later."""
        self._configs: dict[str, RuleConfig] = {}
        self._judges: dict[str, Judge] = {}
        self._tags: dict[str, tuple[str, int]] = {}
        self._seen: dict[str, Value] = {}
        self._kept_ns = 0
        for role, name in settings.gateway.counters.items():
            device, tag = name.split("/", 1)
            self._tags[role] = (device, settings.tagsets[device].index[tag])
        self.watched = frozenset(device for device, _ in self._tags.values())

    # -- what others ask -------------------------------------------------------------------------

    @property
    def current(self) -> Batch | None:
        """The open batch: running, or complete and not closed yet."""
        return next((batch for batch in self.batches.values() if batch.state in OPEN_STATES), None)

    @property
    def running(self) -> str | None:
        """The number of the batch that records belong to now."""
        batch = self.current
        return batch.number if batch else None

    @property
    def producing(self) -> str | None:
        """The number of the batch that is being made now."""
        batch = self.current
        return batch.number if batch and batch.state is BatchState.RUNNING else None

    def is_sampling(self, rule: str) -> bool:
        config = self._configs.get(rule)
        return config is not None and config.kind == "sampling"

    def recipe_of(self, number: str) -> Recipe:
        return self._recipes[self._batch(number).recipe_hash]

    def plotted(self, number: str) -> list[str]:
        """Tags that this batch's limit rules watch: what the report draws."""
        batch, recipe = self._batch(number), self.recipe_of(number)
        configs = self._settings.build_rules(recipe, facts(batch.order, recipe)).values()
        return sorted({name for config in configs if config.kind == "limit" for name in config.inputs()})[:PLOTS]

    def _batch(self, number: str) -> Batch:
        if number not in self.batches:
            known = ", ".join(self.batches) or "none"
            raise Refused("no_such_batch", f"there is no batch {number!r}; known: {known}")
        return self.batches[number]

    # -- start of the process --------------------------------------------------------------------

    def restore(self) -> None:
        """Batches and rule states of the last run; the running batch keeps the recipe it began with."""
        for digest, document in self._evidence.load_state("recipe").items():
            self._recipes[digest] = Recipe.model_validate(document)
        for number, document in self._evidence.load_state("batch").items():
            self.batches[number] = lifecycle.from_json(document)
        self._compile(self._evidence.load_state("rule"))
        self._refuse_changed_recipe()
        self._show()

    def _refuse_changed_recipe(self) -> None:
        """A recipe file edited during a batch changes nothing for that batch, and is said."""
        batch = self.current
        if batch is None:
            return
        file = self._settings.recipes().get(batch.recipe_id)
        if file is None or recipe_hash(file) == batch.recipe_hash:
            return
        text = (
            f"the file of recipe {batch.recipe_id} changed during batch {batch.number}; refused: the batch goes on "
            f"with {batch.recipe}"
        )
        self._journal.note("recipe.refused", {"text": text, "file_hash": recipe_hash(file)}, batch=batch.number)
        log.warning("recipe change refused", text=text)

    def _compile(self, states: Mapping[str, Json]) -> None:
        """The engine for what is open now.  A rule that did not change keeps its judge, and so its state."""
        batch = self.current
        producing = batch if batch is not None and batch.state is BatchState.RUNNING else None
        recipe = self._recipes[producing.recipe_hash] if producing else None
        known = facts(producing.order, recipe) if producing and recipe else None
        configs = self._settings.build_rules(recipe, known)
        context = RuleContext(
            tagsets=self._settings.tagsets,
            periods_s={name: config.period_s for name, config in self._settings.devices.items()},
            batch=producing.number if producing else None,
            tray_size=recipe.tray_size if recipe else 100,
            verification_units=recipe.verification_units if recipe else 5,
        )
        judges = {
            name: self._judges[name]
            if self._configs.get(name) == config and not config.needs_batch
            else config.build(name, context)
            for name, config in configs.items()
        }
        self._configs, self._judges = dict(configs), judges
        self.engine = Engine(judges, self._settings.tagsets.values())
        if states:
            self.engine.load({name: state for name, state in states.items() if name in judges})
        recipe_name = producing.recipe if producing else None
        self._evidence.context.update(config=self._settings.hash, rules=self._settings.rules_hash, recipe=recipe_name)

    # -- the life of a batch ---------------------------------------------------------------------

    def order(self, document: Mapping[str, Json], by: str) -> Json:
        """An order becomes a planned batch, bound to the recipe as its file says it now."""
        order = parse(document)
        recipes = self._settings.recipes()
        name = order.recipe.split("@")[0]
        if name not in recipes:
            raise Refused("no_such_recipe", f"the line has no recipe {name!r}; it has {', '.join(recipes) or 'none'}")
        if order.batch in self.batches:
            return self._repeated(self.batches[order.batch], order.model_dump(mode="json"))
        recipe = recipes[name]
        now_ns = self._world.time_ns()
        accept(order, recipe, datetime.fromtimestamp(now_ns / 1e9, tz=UTC).date())
        digest = recipe_hash(recipe)
        self._recipes[digest] = recipe
        self._journal.keep("recipe", digest, recipe.model_dump(mode="json", by_alias=True))
        batch, drafts = lifecycle.planned(order, recipe, digest, now_ns)
        self._put(batch, drafts)
        return {"batch": batch.number, "state": batch.state.value, "recipe": batch.recipe, "by": by}

    @staticmethod
    def _repeated(batch: Batch, document: Json) -> Json:
        """The MES may send an order again after a lost answer: the same one changes nothing."""
        if batch.order.model_dump(mode="json") != document:
            raise Refused("batch_exists", f"batch {batch.number} exists with another order")
        return {"batch": batch.number, "state": batch.state.value, "recipe": batch.recipe, "repeated": True}

    def sign(self, number: str, step: str, who: Principal, comment: str) -> Json:
        batch = self._batch(number)
        changed, drafts = lifecycle.sign(batch, self.recipe_of(number), step, who, "", self._world.time_ns(), comment)
        self._put(changed, drafts)
        return {"batch": number, "step": step, "state": changed.state.value}

    def start(self, number: str, who: Principal) -> Json:
        """Counting and judging begin.  Refused while another batch is open, or the recipe's file has changed."""
        batch = self._batch(number)
        other = self.current
        if other is not None and other.number != number:
            raise Refused("line_occupied", f"batch {other.number} is {other.state.value}; close it first")
        file = self._settings.recipes().get(batch.recipe_id)
        if file is None or recipe_hash(file) != batch.recipe_hash:
            raise Refused(
                "recipe_changed", f"recipe {batch.recipe_id} changed since the order; abort this batch and order again"
            )
        counters = self._counters()
        changed, drafts = lifecycle.start(batch, self.recipe_of(number), who.name, counters, self._world.time_ns())
        self._put(changed, drafts)
        self._compile({})
        return {"batch": number, "state": changed.state.value}

    def enter(  # one count: batch, what, how much, who, why
        self, number: str, name: str, value: Decimal, unit: str, who: Principal, comment: str, corrects: str | None
    ) -> Json:
        batch = self._batch(number)
        entry = CountEntry(name, value, unit, comment, int(corrects) if corrects else None)
        changed, drafts = lifecycle.entered(batch, self.recipe_of(number), entry, who, self._world.time_ns())
        self._put(changed, drafts)
        return dict(drafts[-1].body)

    def complete(self, number: str, who: Principal) -> Json:
        """Counting and judging end; everything is reconciled."""
        batch = self._batch(number)
        changed, drafts = lifecycle.complete(
            batch, self.recipe_of(number), who.name, self._counters(), self._world.time_ns()
        )
        self._give_up_open_checks(number)
        self._put(changed, drafts)
        for rule in self._judges:
            self._journal.keep("rule", rule, None)
        self._compile({})
        return dict(drafts[-1].body)

    def _give_up_open_checks(self, number: str) -> None:
        """A check that is open when the batch ends was not done: that stands in the record."""
        for check in self.engine.checks():
            if check.state in (CheckState.DUE, CheckState.TAKEN):
                body = {**body_of(check), "state": CheckState.MISSED.value, "text": "open when the batch was completed"}
                self._journal.note("check.missed", body, batch=number)
        self._journal.board.set("checks", {})

    def close(self, number: str, disposition: str, reason: str, records: Sequence[Json], who: Principal) -> Json:
        """QA's disposition, against what the record says is missing; one reason covers what was found."""
        batch = self._batch(number)
        found = completeness.findings(records)
        changed, drafts = lifecycle.close(
            batch,
            self.recipe_of(number),
            disposition,
            who,
            found,
            self._world.time_ns(),
            reasons={"*": reason} if reason else {},
            comment=reason,
        )
        self._put(changed, drafts)
        return dict(drafts[-1].body)

    def abort(self, number: str, reason: str, who: Principal) -> Json:
        changed, drafts = lifecycle.abort(self._batch(number), who.name, reason, self._world.time_ns())
        self._put(changed, drafts)
        self._compile({})
        return {"batch": number, "state": changed.state.value}

    def dispose_tray(self, number: str, tray: str, disposition: str, reason: str, who: Principal) -> Json:
        changed, drafts = lifecycle.dispose_tray(self._batch(number), tray, disposition, who, reason)
        self._put(changed, drafts)
        return dict(drafts[-1].body)

    def suspect(self, trays: Sequence[str], why: str) -> None:
        batch = self.current
        if batch is not None:
            changed, drafts = lifecycle.suspect(batch, trays, why)
            self._put(changed, drafts)

    def weighed(self, sample: Sample) -> None:
        """A judged weighing goes into the mean that the oil equation needs."""
        batch = self.current
        if batch is not None:
            self.batches[batch.number] = lifecycle.weighed(batch, self._recipes[batch.recipe_hash], sample)

    # -- counting --------------------------------------------------------------------------------

    def count(self, scan: Scan) -> None:
        """Counters of the machines, as their scans bring them; a bad value is never a count."""
        for role, (device, at) in self._tags.items():
            if device == scan.tagset.device and scan.values[at] is not None:
                self._seen[role] = scan.values[at]
        batch = self.current
        if batch is None or batch.state is not BatchState.RUNNING:
            return
        tray, position = self._seen.get("tray"), self._integer("position")
        name = str(tray) if tray else None
        changed, drafts = lifecycle.counted(batch, self._counters(), name, scan.time_ns, position)
        if drafts or (changed is not batch and scan.time_ns - self._kept_ns > KEEP_EVERY_NS):
            self._kept_ns = scan.time_ns
            self._put(changed, drafts)
        elif changed is not batch:
            self.batches[batch.number] = changed
            self._show()

    def _counters(self) -> Counters:
        return Counters(
            units=self._integer("units"),
            rejects=self._integer("rejects"),
            labels=self._integer("labels"),
            labels_damaged=self._integer("labels_damaged"),
        )

    def _integer(self, role: str) -> int | None:
        value = self._seen.get(role)
        return int(value) if isinstance(value, (int, float, Decimal)) else None

    def _put(self, batch: Batch, drafts: Sequence[Draft]) -> None:
        self.batches[batch.number] = batch
        self._journal.add(drafts)
        self._journal.keep("batch", batch.number, lifecycle.to_json(batch))
        self._show()

    def _show(self) -> None:
        for number, batch in self.batches.items():
            if batch.state in (BatchState.CLOSED, BatchState.ABORTED):
                continue
            self._journal.board.set("batch", self._summary(number, batch))

    def _summary(self, number: str, batch: Batch) -> Json:
        recipe = self._recipes[batch.recipe_hash]
        steps = recipe.before_close if batch.state is BatchState.COMPLETE else recipe.before_start
        return {
            "batch": number,
            "order": batch.order.order,
            "sku": batch.order.sku,
            "recipe": batch.recipe,
            "state": batch.state.value,
            "ordered": batch.order.quantity,
            "units": batch.units,
            "rejects": batch.rejects,
            "labels": batch.labels,
            "tray": batch.tray.id if batch.tray else None,
            "suspect": [tray.id for tray in batch.trays if tray.suspect],
            "unsigned": [
                {"step": step.id, "text": step.text, "meaning": meaning, "role": role}
                for step, meaning, role in lifecycle.missing_signatures(batch, steps)
            ],
        }
