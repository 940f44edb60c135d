"""The batch the line runs: its recipe, the rules compiled for it, and its counting.

The lifecycle itself is pure (`gateway.batch`); this is where its drafts meet the journal and its facts the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import structlog

from gateway.batch import holds, lifecycle
from gateway.batch.board import summary
from gateway.batch.complete import Finding
from gateway.batch.counts import CountEntry
from gateway.batch.gates import Field, Gate
from gateway.batch.lifecycle import Batch, BatchState
from gateway.batch.order import accept, facts, parse, refuse_used
from gateway.config.reading import Settings, recipe_hash
from gateway.errors import Refused
from gateway.journal import Journal, body_of
from gateway.line.beginning import alarms_then, note_absent
from gateway.line.counts import Counts
from gateway.line.rules import Rules
from gateway.model import Draft, Json, Principal, Scan
from gateway.recipe import Recipe
from gateway.rules.engine import Engine
from gateway.rules.work import REQUEST
from gateway.store.evidence import Evidence
from gateway.verdicts import CheckState, Sample
from gateway.world import World

log = structlog.get_logger()

KEEP_EVERY_NS: Final = 2_000_000_000
"""Counts alone are kept this often: after a crash the machine's own counter says what was made meanwhile."""
LONGEST_NUMBER: Final = 64
PLOTS: Final = 12
"""Curves a report shows at most."""
OPEN_STATES: Final = (BatchState.RUNNING, BatchState.COMPLETE)
Setpoints = Mapping[str, str]
NONE: Final[Setpoints] = MappingProxyType({})


class Run:
    """Batches by number, the open one, and the engine that judges for it."""

    def __init__(self, settings: Settings, journal: Journal, evidence: Evidence, world: World) -> None:
        self.batches: dict[str, Batch] = {}
        self.rules = Rules(settings)
        self.on_dropped: Callable[[Collection[str], str], None] = lambda *_: None
        """Told of rules that judge no longer, and of the batch that ended with them."""
        self._settings = settings
        self._journal = journal
        self._evidence = evidence
        self._world = world
        self._recipes: dict[str, Recipe] = {}
        """By hash: the recipe a batch was ordered with stays its recipe, whatever the file says later."""
        self._counts = Counts(settings)
        self._kept_ns = 0
        self._open: Batch | None = None
        self._waiting: dict[str, None] = {}
        """Planned or ready, in the order they came."""
        self._shown = ""
        """The batch that was changed last."""
        self.watched, self.counters = self._counts.devices, self._counts.places

    # -- what others ask -------------------------------------------------------------------------

    @property
    def current(self) -> Batch | None:
        """The open batch: running, or complete and not closed yet."""
        return self._open

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

    @property
    def engine(self) -> Engine:
        """What judges now."""
        return self.rules.engine

    def recipe_of(self, number: str) -> Recipe:
        return self._recipes[self.batch(number).recipe_hash]

    def plotted(self, number: str) -> list[str]:
        """Tags that this batch's limit rules watch: what the report draws.  How long a heartbeat stood is no curve."""
        batch, recipe = self.batch(number), self.recipe_of(number)
        configs = self._settings.build_rules(recipe, facts(batch.order, recipe)).values()
        watched = {name for config in configs if config.kind == "limit" for name in config.inputs()}
        return sorted(watched - self._settings.heartbeats())[:PLOTS]

    def batch(self, number: str) -> Batch:
        """Refused: no_such_batch."""
        if number not in self.batches:
            known = ", ".join(self.batches) or "none"
            raise Refused("no_such_batch", f"there is no batch {number!r}; known: {known}")
        return self.batches[number]

    # -- start of the process --------------------------------------------------------------------

    def restore(self) -> None:
        """Batches and rule states of the last run; the running batch keeps the recipe it began with."""
        for digest, document in self._evidence.load_state("recipe").items():
            self._recipes[digest] = Recipe.model_validate(document)
        batches = [lifecycle.from_json(document) for document in self._evidence.load_state("batch").values()]
        for batch in sorted(batches, key=lambda each: each.planned_ns):
            self._know(batch)
        self.rules.load_derived(self._evidence.load_state("derived"))
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

    def _compile(self, states: Mapping[str, Json] | None = None, *, ended: str = "") -> None:
        """The engine for what is open now.  What rules kept that begin anew or are gone is forgotten."""
        batch = self.current
        producing = batch if batch is not None and batch.state is BatchState.RUNNING else None
        recipe = self._recipes[producing.recipe_hash] if producing else None
        older = self.rules.engine
        fresh, gone = self.rules.compile(producing, recipe, states)
        self.rules.engine.take_over(older)
        for rule in fresh:
            self._journal.keep("rule", rule, None)
        recipe_name = producing.recipe if producing else None
        self._evidence.context.update(config=self._settings.hash, rules=self._settings.rules_hash, recipe=recipe_name)
        if gone:
            self.on_dropped(gone, ended)

    # -- the life of a batch ---------------------------------------------------------------------

    def order(self, document: Mapping[str, Json], by: str) -> Json:
        """An order becomes a planned batch, bound to the recipe as its file says it now."""
        order = parse(document)
        if not order.batch.strip() or len(order.batch) > LONGEST_NUMBER or not order.batch.isprintable():
            raise Refused("bad_order", f"a batch number is 1 to {LONGEST_NUMBER} printable characters")
        recipes = self._settings.recipes()
        name = order.recipe.split("@")[0]
        if name not in recipes:
            raise Refused("no_such_recipe", f"the line has no recipe {name!r}; it has {', '.join(recipes) or 'none'}")
        if order.batch in self.batches:
            return self._repeated(self.batches[order.batch], order.model_dump(mode="json"))
        recipe = recipes[name]
        self._refuse_recipe_in_use(recipe)
        now_ns = self._world.time_ns()
        accept(order, recipe, datetime.fromtimestamp(now_ns / 1e9, tz=UTC).date())
        refuse_used(order, (each.order for each in self.batches.values() if each.spent))
        digest = recipe_hash(recipe)
        self._recipes[digest] = recipe
        self._journal.keep("recipe", digest, recipe.model_dump(mode="json", by_alias=True))
        batch, drafts = lifecycle.planned(order, recipe, digest, now_ns)
        self.put(batch, drafts)
        return {"batch": batch.number, "state": batch.state.value, "recipe": batch.recipe, "by": by}

    def _refuse_recipe_in_use(self, recipe: Recipe) -> None:
        """A recipe that changed while a batch runs on it is nobody's until that batch is closed."""
        batch = self.current
        if batch is not None and batch.recipe_id == recipe.id and batch.recipe_hash != recipe_hash(recipe):
            raise Refused(
                "recipe_changed",
                f"the file of recipe {recipe.id} changed during batch {batch.number}, which goes on as ordered; put "
                "the file back, or close that batch first",
            )

    @staticmethod
    def _repeated(batch: Batch, document: Json) -> Json:
        """The MES may send an order again after a lost answer: the same one changes nothing."""
        if batch.order.model_dump(mode="json") != document:
            raise Refused("batch_exists", f"batch {batch.number} exists with another order")
        return {"batch": batch.number, "state": batch.state.value, "recipe": batch.recipe, "repeated": True}

    def sign(self, number: str, step: str, who: Principal, comment: str, label: Sequence[Field] | None = None) -> Json:
        batch, recipe = self.batch(number), self.recipe_of(number)
        changed, drafts = lifecycle.sign(batch, recipe, step, who, "", self._world.time_ns(), comment, label)
        self.put(changed, drafts)
        return {"batch": number, "step": step, "state": changed.state.value}

    def start(  # the batch, by whom, the gates, what the machines are set to, what they showed last
        self,
        number: str,
        who: Principal,
        stood: Sequence[Gate] = (),
        setpoints: Setpoints = NONE,
        seen: Collection[Scan] = (),
    ) -> Json:
        """Counting and judging begin.  Refused while another batch is open, or the recipe's file has changed."""
        batch = self.batch(number)
        other = self.current
        if other is not None and other.number != number:
            raise Refused("line_occupied", f"batch {other.number} is {other.state.value}; close it first")
        file = self._settings.recipes().get(batch.recipe_id)
        if file is None or recipe_hash(file) != batch.recipe_hash:
            raise Refused(
                "recipe_changed", f"recipe {batch.recipe_id} changed since the order; abort this batch and order again"
            )
        counters, recipe, now_ns = self._counts.counters, self.recipe_of(number), self._world.time_ns()
        alarms = alarms_then(self._journal.board)
        changed, drafts = lifecycle.start(batch, recipe, who.name, counters, now_ns, stood, setpoints, alarms)
        self.put(changed, drafts)
        note_absent(self._journal, self._settings.devices, number)
        self._compile()
        self.engine.begin(seen)
        for rule, state in self.engine.changed().items():  # with the record of the start: a kill -9 forgets neither
            self._journal.keep("rule", rule, state)
        return {"batch": number, "state": changed.state.value}

    def enter(self, number: str, entry: CountEntry, who: Principal) -> Json:
        """A count or quantity by a person."""
        batch = self.batch(number)
        changed, drafts = lifecycle.entered(batch, self.recipe_of(number), entry, who, self._world.time_ns())
        self.put(changed, drafts)
        return dict(drafts[-1].body)

    def complete(self, number: str, who: Principal) -> Json:
        """Counting and judging end; everything is reconciled."""
        batch = self.batch(number)
        counters, now_ns = self._counts.counters, self._world.time_ns()
        lifecycle.complete(batch, self.recipe_of(number), who.name, counters, now_ns)  # refused before anything is said
        self._give_up_open_checks(number, "completed")
        changed, drafts = lifecycle.complete(self.batch(number), self.recipe_of(number), who.name, counters, now_ns)
        self.put(changed, drafts)
        self._compile(ended=number)
        return dict(drafts[-1].body)

    def _give_up_open_checks(self, number: str, end: str) -> None:
        """A check that is open when the batch ends was not done: so says the record, and what it was of is held."""
        held: set[str] = set()
        for check in self.engine.checks():
            if check.state in (CheckState.DUE, CheckState.TAKEN):
                text = f"open when the batch was {end}"
                suspects = list(self.engine.suspects(check)) if check.why != REQUEST else []
                body = {**body_of(check), "state": CheckState.MISSED.value, "text": text, "suspects": suspects}
                self._journal.note("check.missed", body, batch=number)
                if suspects:
                    self.suspect(suspects, f"check {check.id} ({check.plan}) was missed: {text}")
                    held.update(suspects)
        for verdict, trays in self.engine.unproven():
            more = [tray for tray in trays if tray not in held]
            self.suspect(more, f"filled after check {verdict.subject} was not passed, and no good one followed")
        self._journal.board.set("checks", {})

    def close(  # the batch, the word on it, why, what was found, by whom
        self, number: str, disposition: str, reasons: Mapping[str, str], found: Sequence[Finding], who: Principal
    ) -> Json:
        """QA's disposition, against what the record says is missing; `*` is the reason for what has none of its own."""
        batch = self.batch(number)
        changed, drafts = lifecycle.close(
            batch,
            self.recipe_of(number),
            disposition,
            who,
            found,
            self._world.time_ns(),
            reasons=reasons,
            comment=reasons.get("*", ""),
        )
        self.put(changed, drafts)
        return dict(drafts[-1].body)

    def abort(self, number: str, reason: str, who: Principal) -> Json:
        batch = self.batch(number)
        now_ns = self._world.time_ns()
        lifecycle.abort(batch, who.name, reason, now_ns)  # refused before anything is said
        if batch.state is BatchState.RUNNING:
            self._give_up_open_checks(number, "aborted")
        changed, drafts = lifecycle.abort(self.batch(number), who.name, reason, now_ns)
        self.put(changed, drafts)
        self._compile(ended=number)
        return {"batch": number, "state": changed.state.value}

    def dispose_tray(self, number: str, tray: str, disposition: str, reason: str, who: Principal) -> Json:
        changed, drafts = lifecycle.dispose_tray(self.batch(number), tray, disposition, who, reason)
        self.put(changed, drafts)
        return dict(drafts[-1].body)

    def suspect(self, trays: Sequence[str], why: str) -> None:
        batch = self.current
        if batch is not None:
            changed, drafts = lifecycle.suspect(batch, trays, why)
            self._journal.add(holds.awaited(batch, trays, why))
            self.put(changed, drafts)

    def weighed(self, sample: Sample) -> None:
        """A judged weighing goes into the mean that the oil equation needs."""
        batch = self.current
        if batch is not None:
            self.put(lifecycle.weighed(batch, self._recipes[batch.recipe_hash], sample), ())

    # -- counting --------------------------------------------------------------------------------

    def count(self, scan: Scan) -> None:
        """Counters of the machines, as their scans bring them; a bad value is never a count."""
        counts = self._counts
        counts.see(scan)
        batch = self.current
        if batch is None or batch.state is not BatchState.RUNNING:
            return
        changed, drafts = lifecycle.counted(
            batch, counts.counters, counts.tray, scan.time_ns, counts.position, counts.since
        )
        if drafts or (changed is not batch and scan.time_ns - self._kept_ns > KEEP_EVERY_NS):
            self._kept_ns = scan.time_ns
            self.put(changed, drafts)
        elif changed is not batch:
            self._know(changed)
            self._show()

    def put(self, batch: Batch, drafts: Sequence[Draft]) -> None:
        """The batch as it is now, and the records of it."""
        self._know(batch)
        self._journal.add((*drafts, *holds.records(drafts)))
        self._journal.keep("batch", batch.number, lifecycle.to_json(batch))
        self._show()

    def _know(self, batch: Batch) -> None:
        number, self._shown = batch.number, batch.number
        self.batches[number] = batch
        self._waiting.pop(number, None)
        if batch.state in OPEN_STATES:
            self._open = batch
            return
        if self._open is not None and self._open.number == number:
            self._open = None
        if batch.state not in lifecycle.OVER:
            self._waiting[number] = None

    def _show(self) -> None:
        """On the board: the open batch; else the one that came last and waits; else the last one, as it ended."""
        waiting = list(self._waiting)
        shown = self.running or (waiting[-1] if waiting else self._shown)
        if shown:
            others = [number for number in waiting if number != shown]
            batch = self.batches[shown]
            recipe = self._recipes[batch.recipe_hash]
            self._journal.board.set("batch", {**summary(batch, recipe), "waiting": others})
