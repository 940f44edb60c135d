"""Gates at the line: facts gathered from machines, people and register; shown, recorded where they block, overridden.

Setpoints are watched on while the batch runs: a change is a record with the old and the new value, and an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from gateway.batch import gates, lifecycle, rolls
from gateway.batch.counts import CountEntry
from gateway.batch.gates import Facts, Field, Gate, Seen
from gateway.batch.lifecycle import Batch, BatchState
from gateway.batch.state import OPEN
from gateway.config.model import Settings
from gateway.errors import Refused
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.line.clock import WallClock
from gateway.line.instruments import Instruments
from gateway.line.labels import Labels
from gateway.line.rolls import Rolls
from gateway.model import Json, Principal, Priority, Quality, Scan, Severity
from gateway.people import People
from gateway.recipe import Recipe
from gateway.verdicts import Verdict
from gateway.world import World

LOOK_NS: Final = 1_000_000_000
"""Gates are looked at this often, and shown where they changed."""
SETPOINT: Final = "setpoint:"
"""Begins the names of these alarms."""
WAITING: Final = (BatchState.PLANNED, BatchState.READY)


class Gates:
    """The only place that knows whether a batch may start."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        alarms: Alarms,
        journal: Journal,
        people: People,
        world: World,
        latest: Mapping[str, Scan],
        unrecorded: Callable[[], str],
        checks: Mapping[str, Json],
        demand: Callable[[Verdict], None],
        clock: WallClock,
        identities: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.instruments = Instruments(settings, run, alarms, journal, world, latest, checks, identities)
        self.labels = Labels(settings, run, latest)
        self._run, self._alarms, self._journal, self._people, self._world = run, alarms, journal, people, world
        self._latest, self._unrecorded, self._clock = latest, unrecorded, clock
        self._rolls = Rolls(run, alarms, journal, self.labels.applicators, demand)
        self._looked_ns = 0

    # -- what stands -----------------------------------------------------------------------------

    def of(self, number: str, starts: str = "") -> tuple[Gate, ...]:
        """Every gate of a batch, now.  Refused: no_such_batch."""
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        return gates.gates(batch, recipe, self._facts(batch, recipe, starts), self._world.time_ns())

    def show(self, number: str) -> Json:
        """For people: the gates with what stands in their way."""
        self.instruments.look()
        found = self.of(number)
        return {"batch": number, "open": not gates.blocked(found), "gates": gates.bodies(found)}

    def _facts(self, batch: Batch, recipe: Recipe, starts: str) -> Facts:
        names = {starts, *(one.person for one in batch.signatures)} - {""}
        return Facts(
            readings={tag: self._seen(tag) for tag in recipe.setpoints},
            instruments=self.instruments.standings(),
            register=self.instruments.trouble,
            people={name: self._standing(name) for name in names},
            starts=starts,
            label=self.labels.read(batch.number) if recipe.label is not None else None,
            unread=self.labels.unread,
            clock=self._world.clock(),
            until_ns=self._clock.until_ns,
            unrecorded=self._unrecorded(),
        )

    def _seen(self, tag: str) -> Seen:
        device, _, name = tag.partition("/")
        scan = self._latest.get(device)
        if scan is None:
            return Seen(None, "1", f"{device} was never seen")
        at = scan.tagset.index.get(name)
        if at is None:
            return Seen(None, "1", f"{device} has no tag {name}")
        fault = scan.faults.get(at)
        trouble = fault.reason if fault is not None else "" if scan.values[at] is not None else "no value"
        return Seen(scan.values[at], scan.tagset.units[at], trouble)

    def _standing(self, name: str) -> tuple[frozenset[str], str]:
        person = self._people.get(name)
        try:
            self._people.may_sign(name)
        except Refused as refusal:
            return (person.roles if person else frozenset()), str(refusal)
        return (person.roles if person else frozenset()), ""

    # -- what people do --------------------------------------------------------------------------

    def start(self, number: str, who: Principal) -> Json:
        """Start the batch; a gate in the way is a record, and refuses `gates_blocked`."""
        self.instruments.look()
        batch, found = self._run.batch(number), self.of(number, who.name)
        if batch.state in WAITING and gates.blocked(found):
            draft, refusal = gates.refusal(batch, found, who.name, self._world.time_ns())
            self._journal.add((draft,))
            if batch.state is BatchState.READY:
                raise refusal  # else the start itself names the signatures that are missing
        set_to = {tag: _said(self._seen(tag)) for tag in self._run.recipe_of(number).setpoints}
        return self._run.start(number, who, found, set_to, self._latest.values())

    def override(self, number: str, name: str, reason: str, who: Principal) -> Json:
        """Open a gate all the same.  Refused: no_such_gate, and what `open_gate` refuses."""
        self.instruments.look()
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        found = {gate.name: gate for gate in self.of(number)}
        gate = next((one for one in found.values() if one.name == name), None)
        if gate is None:
            raise Refused("no_such_gate", f"recipe {batch.recipe_id} has no gate {name!r}; it has {', '.join(found)}")
        rule = recipe.asked(self.instruments.names)[gate.name]
        changed, drafts = lifecycle.open_gate(batch, recipe, gate, rule, who, reason, self._world.time_ns())
        self._run.put(changed, drafts)
        if gate.name == "clock":
            self._clock.believe()
        self._look()
        return dict(drafts[-1].body)

    def sign(self, number: str, step: str, who: Principal, comment: str) -> Json:
        """A signature; under a label it holds what was read on it."""
        label: tuple[Field, ...] | None = self.labels.read(number)
        answer = self._run.sign(number, step, who, comment, label)
        self._look()
        return answer

    def check(self, name: str, value: Decimal | None, unit: str, comment: str, who: Principal) -> Json:
        """The daily check of an instrument, by a person whose qualification has not run out."""
        self._people.may_sign(who.name)
        answer = self.instruments.check(name, value, unit, comment, who)
        self._look()
        return answer

    # -- labels ----------------------------------------------------------------------------------

    def enter(self, number: str, entry: CountEntry, who: Principal) -> Json:
        """A count by a person; labels that do not reconcile then hold applicator or batch."""
        answer = self._run.enter(number, entry, who)
        self._rolls.reconciled(number)
        return answer

    def load_roll(self, number: str, roll: str, lot: str, labels: Decimal, who: Principal) -> Json:
        """A roll of labels goes onto the applicator."""
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        others = [one for one in self._run.batches.values() if one.number != number and one.spent]
        rolls.refuse_elsewhere(roll, labels, [(one.number, one.tally, one.state in OPEN) for one in others])
        changed, drafts = lifecycle.load_roll(batch, recipe, roll, lot, labels, who, self._world.time_ns())
        self._run.put(changed, drafts)
        self._rolls.reconciled(number)
        return dict(drafts[0].body)

    def complete(self, number: str, who: Principal) -> Json:
        """Counting ends; what does not reconcile is said at once."""
        answer = self._run.complete(number, who)
        self._rolls.reconciled(number)
        return answer

    # -- watching --------------------------------------------------------------------------------

    def watch(self, scan: Scan) -> None:
        """A scan came by: setpoints of the running batch, and once a second all gates."""
        batch = self._run.current
        if batch is not None and batch.state is BatchState.RUNNING and batch.setpoints:
            self._follow(batch, scan)
        if scan.mono_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = scan.mono_ns
            self._look()
            self._journal.commit()

    def _follow(self, batch: Batch, scan: Scan) -> None:
        device = scan.tagset.device
        recipe = self._run.recipe_of(batch.number)
        tags = [tag for tag in recipe.setpoints if tag.partition("/")[0] == device]
        changed = {}
        for tag in tags:
            seen = self._seen_in(scan, tag)
            said = _said(seen)
            if not seen.trouble and batch.setpoints.get(tag) != said:
                changed[tag] = (batch.setpoints.get(tag, ""), said)
        if not changed:
            return
        wrong = [one for tag in tags for one in gates.deviation(tag, recipe.setpoints[tag], self._seen_in(scan, tag))]
        off = [one.text for one in wrong if not one.key.endswith("=?")]
        if not off and f"{SETPOINT}{device}" in self._alarms.standing:
            off = [one.text for one in wrong]  # what was off before it went blind is not right again
        for tag, (before, after) in changed.items():
            self._note(batch, recipe, tag, before, after, self._seen_in(scan, tag))
        now = {**batch.setpoints, **{tag: after for tag, (_, after) in changed.items()}}
        self._run.put(msgspec.structs.replace(batch, setpoints=now), ())
        self._alarm(device, off, [f"{tag} was changed from {a} to {b}" for tag, (a, b) in changed.items() if a])
        self._journal.commit()

    @staticmethod
    def _seen_in(scan: Scan, tag: str) -> Seen:
        at = scan.tagset.index[tag.partition("/")[2]]
        fault = scan.faults.get(at)
        trouble = "" if scan.values[at] is not None else "no value"
        if fault is not None and fault.quality is Quality.BAD:
            trouble = fault.reason
        return Seen(scan.values[at], scan.tagset.units[at], trouble)

    def _note(self, batch: Batch, recipe: Recipe, tag: str, before: str, after: str, seen: Seen) -> None:
        wanted = recipe.setpoints[tag]
        wrong = list(gates.deviation(tag, wanted, seen))
        if not before and not wrong:
            return  # read for the first time, and it is the recipe's
        what = f"was changed from {before} to" if before else "could not be read at the start, and is"
        within = f" within {wanted.tolerance:f}" if wanted.tolerance else ""
        body: dict[str, Json] = {
            "tag": tag,
            "before": before,
            "after": after,
            "unit": seen.unit,
            "recipe": f"{wanted.wanted}{within}",
            "recipe_unit": wanted.unit,
            "ok": not wrong,
            "text": f"{tag} {what} {after} {seen.unit}"
            + (f"; {wrong[0].text}" if wrong else ", which is what the recipe says"),
        }
        self._journal.note("setpoint.changed", body, batch=batch.number)

    def _alarm(self, device: str, off: list[str], said: list[str]) -> None:
        """Stands while a setpoint is not the recipe's; a change within its tolerance is told once."""
        name = f"{SETPOINT}{device}"
        if off:
            text = "; ".join((*said, *off))
            self._alarms.take(Verdict(name, Severity.ALARM, device, text, priority=Priority.HIGH))
            return
        self._alarms.take(Verdict(name, Severity.NORMAL, device, ""))
        if said:
            told = Verdict(name, Severity.ALARM, device, "; ".join(said), priority=Priority.MEDIUM, fleeting=True)
            self._alarms.take(told)

    def _end_setpoints(self) -> None:
        """What machines are set to is their own affair again once the batch is over."""
        if self._run.producing is None:
            for name in [name for name in self._alarms.names() if name.startswith(SETPOINT)]:
                self._alarms.stand(name, "")

    def _look(self) -> None:
        """On the board: the gates of the batch that waits, or of the one that runs."""
        self._rolls.watch()
        self.instruments.watch()
        self._rolls.end()
        self._end_setpoints()
        waiting = [batch for batch in self._run.batches.values() if batch.state in WAITING]
        batch = self._run.current or (waiting[-1] if waiting else None)
        if batch is None or batch.state not in (*WAITING, BatchState.RUNNING):
            if self._journal.board.get("gates") is not None:
                self._journal.board.set("gates", None)
            return
        found = self.of(batch.number)
        shown = {"batch": batch.number, "open": not gates.blocked(found), "gates": gates.bodies(found)}
        self._journal.board.set("gates", shown)


def _said(seen: Seen) -> str:
    """A setpoint as text; empty where it cannot be read."""
    if seen.trouble or seen.value is None:
        return ""
    if isinstance(seen.value, float):
        return f"{seen.value:.7g}"
    return str(seen.value)
