"""Rule kind `spc`: a control chart over the checks of a sampling rule, or over a tag.

    fill-weight-chart: {kind: spc, of: fill-weight-5, characteristic: net_weight, chart: xbar-s,
                        process: {center: 1.000, sigma: 0.005}, runs: western-electric, severity: warn}
    oil-chart:         {kind: spc, input: reservoir/temperature, every: 30s, n: 5, chart: ewma,
                        phase: {name: setup 2026-11, points: 25}}

A chart watches the process, not the product: it warns of a drift while every unit is still good.  Its limits are
given, or found in a named phase I and then frozen; they are no specification.  Frozen limits, patterns and memories are
kept over restarts and from batch to batch; a recalibration of the rule it follows begins patterns and memories anew.
Other terms make another chart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.errors import Refused
from gateway.model import Entry, Json, Priority, Scan, Severity, TagSet
from gateway.plans import Plan
from gateway.recipe import Frozen
from gateway.rules.base import NEVER_NS, NOTHING, Closure, Names, RuleConfig, RuleContext
from gateway.rules.inputs import S_NS, locate, sentence, unusable
from gateway.rules.spc.chart import Chart, ChartKind, Phase, Point
from gateway.rules.spc.constants import LARGEST_N
from gateway.rules.spc.cusum import CusumTerms
from gateway.rules.spc.ewma import EwmaTerms, Width
from gateway.rules.spc.limits import Process
from gateway.rules.spc.runs import named
from gateway.rules.standard import INDETERMINATE
from gateway.units import Duration
from gateway.verdicts import Check, CheckChange, Finding, Noted, Verdict


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    named(names)
    return names


RunNames = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given, json_schema_input_type=object),
    AfterValidator(_known),
]
"""One name or a list: western-electric, nelson, we1..we4, nelson1..nelson8."""


class ProcessConfig(Frozen):
    """A process as somebody knows it."""

    center: float
    sigma: float = Field(gt=0)


class PhaseConfig(Frozen):
    """A phase I to be lived through."""

    name: str = Field(pattern=r"\S")
    points: int = Field(25, ge=2)


class EwmaConfig(Frozen):
    """Of chart ewma."""

    weight: float = Field(0.2, gt=0, le=1)
    width: float = Field(2.962, gt=0)
    limits: Width = "exact"


class CusumConfig(Frozen):
    """Of chart cusum, in standard deviations."""

    slack: float = Field(0.5, ge=0)
    decision: float = Field(5.0, gt=0)
    fast: bool = False
    """Fast initial response: the sums begin at half the decision interval."""


_FEW: Final = 3
"""Points of a phase that a sentence names."""
_OPEN: Final = 20
"""Half-done checks that are remembered: what a batch left open is judged by nobody."""
_SOURCES: Final = ("a chart of checks: the plan says it", "a chart of a tag")


class SpcConfig(RuleConfig):
    kind: Literal["spc"] = "spc"
    of: str | None = None
    """The sampling rule whose judged checks are the subgroups."""
    characteristic: str | None = None
    """Of which of its characteristics; needed where it has several."""
    input: str | None = None
    """Or the tag whose values make them."""
    every_s: Duration = Field(10.0, alias="every", gt=0)
    """Of a tag: time between two values of a subgroup; values that hang together mislead a chart."""
    n: int = Field(5, ge=1, le=100)
    """Of a tag: values in a subgroup."""
    chart: ChartKind
    process: ProcessConfig | None = None
    share: float | None = Field(None, gt=0, lt=1)
    """Of chart p: the usual share of defects."""
    phase: PhaseConfig | None = None
    runs: RunNames = ("western-electric",)
    """Of the Shewhart charts."""
    ewma: EwmaConfig = EwmaConfig()
    cusum: CusumConfig = CusumConfig()
    anew_after: Names = ()
    """More sampling rules: a recalibration recorded for one of them begins patterns and memories anew, too."""
    severity: Literal["warn", "alarm"] = "warn"
    """What a signal means; a rule with `halt` always halts."""
    alarm: Priority = Priority.LOW

    @model_validator(mode="after")
    def _speaks(self) -> SpcConfig:
        """A key that would do nothing misleads whoever reviews it."""
        idle = {"ewma": self.chart != "ewma", "cusum": self.chart != "cusum", "runs": self.chart in ("ewma", "cusum")}
        idle |= {"every_s": self.input is None, "n": self.input is None, "characteristic": self.of is None}
        for name in sorted(name for name, is_idle in idle.items() if is_idle and name in self.model_fields_set):
            where = f"chart {self.chart}" if name in ("ewma", "cusum", "runs") else _SOURCES[self.of is None]
            raise ValueError(f"`{name.removesuffix('_s')}` means nothing to {where}: leave it out")
        return self

    @model_validator(mode="after")
    def _works(self) -> SpcConfig:
        if (self.of is None) == (self.input is None):
            raise ValueError("give exactly one of `of` (a sampling rule) and `input` (a tag)")
        if self.chart == "p" and self.of is None:
            raise ValueError("a p chart counts defects: it follows the checks of a sampling rule; name it in `of`")
        if self.input is not None and (self.n == 1) != (self.chart == "i-mr") and self.chart not in ("ewma", "cusum"):
            raise ValueError(f"chart {self.chart} does not fit subgroups of {self.n}: i-mr is for 1, xbar-* for more")
        fixed = self.share if self.chart == "p" else self.process
        other = self.process if self.chart == "p" else self.share
        if other is not None or (fixed is None) == (self.phase is None):
            wanted = "share" if self.chart == "p" else "process"
            raise ValueError(f"a chart {self.chart} needs exactly one of `{wanted}` (fixed limits) and `phase` (found)")
        return self

    def inputs(self) -> tuple[str, ...]:
        return (self.input,) if self.input is not None else ()

    def rules(self) -> tuple[str, ...]:
        return (self.of,) if self.of is not None else ()

    def misfit(self, plan: Plan) -> str:
        """Why no check of this plan would ever be a point; empty: each is one."""
        named = {one.name: one for one in plan.characteristics}
        if self.characteristic is not None and self.characteristic not in named:
            return f"plan {plan.name} has no characteristic {self.characteristic!r}; it has: {', '.join(named)}"
        if self.characteristic is None and len(named) > 1:
            return f"plan {plan.name} has several characteristics; name one: characteristic: {next(iter(named))}"
        one = named[self.characteristic or next(iter(named))]
        if self.chart == "p" and one.kind != "attribute":
            return f"{one.name} is measured: chart p counts defects; xbar-*, i-mr, ewma and cusum are for values"
        together = one.kind == "attribute" or (one.tare is not None and one.tare.mode == "group")
        values = 1 if together else plan.n
        if self.chart.startswith("xbar") and not 1 < values <= LARGEST_N:
            return (
                f"a check of plan {plan.name} brings {values} value(s) of {one.name}; chart {self.chart} takes 2 to 100"
            )
        if self.chart == "i-mr" and values > 1:
            return f"a check of plan {plan.name} brings {values} values of {one.name}; chart i-mr takes one: use xbar-*"
        return ""

    def build(self, name: str, context: RuleContext) -> SpcJudge:
        """ValueError: there is no such tag, or it is no number."""
        return SpcJudge(name, self, context)

    def made(self) -> Chart:
        """The chart, as new."""
        process = Process(self.process.center, self.process.sigma) if self.process is not None else self.share
        return Chart(
            self.chart,
            named(self.runs),
            process=process,
            phase=Phase(self.phase.name, self.phase.points) if self.phase is not None else None,
            ewma=EwmaTerms(self.ewma.weight, self.ewma.width, self.ewma.limits),
            cusum=CusumTerms(self.cusum.slack, self.cusum.decision, 0.5 if self.cusum.fast else 0.0),
        )

    def terms(self) -> str:
        """A fingerprint of what the kept state was made with."""
        return hashlib.sha256(
            self.model_dump_json(exclude={"text", "alarm", "severity", "halt", "anew_after"}).encode()
        ).hexdigest()


class SpcJudge:
    """One chart, and how subgroups come to it."""

    def __init__(self, name: str, config: SpcConfig, context: RuleContext) -> None:
        self.name = name
        self.dirty = False
        self.follows = config.of
        self.anew_after = config.anew_after
        self._config = config
        self._chart = config.made()
        self._place = locate(context, config.input) if config.input is not None else None
        if self._place is not None and self._place[0].specs[self._place[1]].kind in ("text", "bool"):
            raise ValueError(f"{config.input} is no number; a chart needs one")
        self._unit = self._place[0].units[self._place[1]] if self._place is not None else "1"
        self._group: list[float] = []
        self._begun: dict[str, bool] = {}
        """Checks that were taken in part -> was there a recalibration since?"""
        self._next_ns = 0
        self._sparse = False
        self._fresh = False
        """A value came that was not sampled yet."""
        self._taken: str | None = None
        """What was sampled last."""
        self._standing: Verdict | None = None
        self._stood = False
        """A signal stood when the last process ended: its alarm does still."""

    # -- subgroups from a tag --------------------------------------------------------------------

    def plan(self, tagset: TagSet) -> Closure | None:
        return self._scan if self._place is not None and self._place[0] is tagset else None

    def _scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        """One value each `every`.  A bad one is none, nor one that only stands: the next good new one is waited for."""
        assert self._place is not None
        self._fresh = self._is_new(scan, self._place[1]) or self._fresh
        if not self._fresh or now_ns < self._next_ns or unusable(scan, self._place[1], strict=True) is not None:
            return NOTHING
        self._fresh, self._taken = False, str(scan.values[self._place[1]])
        self._next_ns = now_ns + round(self._config.every_s * S_NS)
        self._group.append(float(scan.values[self._place[1]]))  # type: ignore[arg-type]
        if len(self._group) < self._config.n:
            return NOTHING
        group, self._group = self._group, []
        return self._add(group, None, f"{self._config.input}", scan.mono_ns)

    def _is_new(self, scan: Scan, place: int) -> bool:
        """Did it come with this scan?  A sparse device repeats all from time to time: the same again is not new."""
        if scan.changed is not None:
            self._sparse = True
            return place in scan.changed
        return not self._sparse or str(scan.values[place]) != self._taken

    # -- subgroups from checks -------------------------------------------------------------------

    def hear(self, change: CheckChange, now_ns: int) -> Sequence[Finding]:
        """A check of the rule it follows was judged.  Begun before a recalibration it is no point."""
        key = f"{change.check.id} {change.check.due_ns}"
        if change.what == "taken" and key not in self._begun:
            self._begun = {**dict(list(self._begun.items())[1 - _OPEN :]), key: False}
            self.dirty = True
        if change.what != "judged":
            return NOTHING
        self.dirty = True
        if self._begun.pop(key, False):
            return NOTHING
        group = self._subgroup(change.check)
        if self._config.chart == "p":
            units = self._looked_at(change.check)
            return self._add(group[:1], units, change.check.id, now_ns) if group and units else NOTHING
        fits = len(group) == 1 if self._config.chart == "i-mr" else len(group) >= self._least()
        if not fits:  # a check that failed at its first sample, or of another size than this chart takes
            return NOTHING
        return self._add(group, None, change.check.id, now_ns)

    def _looked_at(self, check: Check) -> int:
        wanted = self._config.characteristic
        return next((each.units for each in check.asks if wanted in (None, each.name)), 0)

    def _least(self) -> int:
        return 2 if self._config.chart.startswith("xbar") else 1

    def _subgroup(self, check: Check) -> list[float]:
        """The values of its one characteristic that count; one too near to a limit to be judged is measured, too."""
        wanted = self._config.characteristic or (check.asks[0].name if check.asks else "")
        of_it = [each for each in check.samples if each.characteristic == wanted and not each.superseded]
        samples = [each for each in of_it if each.passed is not None or each.verdict == INDETERMINATE]
        if samples:
            self._unit = samples[0].unit
        return [float(each.value) for each in samples if isinstance(each.value, (int, float, Decimal))]

    # -- the chart -------------------------------------------------------------------------------

    def _add(self, group: list[float], n: int | None, source: str, sampled_ns: int) -> Sequence[Finding]:
        self.dirty = True
        try:
            point = self._chart.add(group, n)
        except ValueError as error:  # seven defects counted in five units
            what = f"{self._what()} at {source} cannot be plotted: {error}"
            return (self._stand(Severity.WARNING, what, Point(0, 0, (), ()), sampled_ns),)
        if point.frozen is not None:
            return self._ended(point, sampled_ns)
        if point.signals:
            what = f"{self._what()} at {source}: " + "; ".join(point.signals)
            return (self._stand(self._severity(), what, point, sampled_ns),)
        if self._standing is not None and self._standing.severity is Severity.NORMAL:
            return NOTHING
        return (self._stand(Severity.NORMAL, f"{self._what()}: no signal", point, sampled_ns),)

    def _ended(self, point: Point, sampled_ns: int) -> Sequence[Finding]:
        """Phase I is over.  Limits of a process that was not in control are told as such, and never halt."""
        if not point.unsteady:
            return (self._frozen(point),)
        phase, few = self._config.phase, point.unsteady[:_FEW]
        more = f" and {len(point.unsteady) - len(few)} more" if len(point.unsteady) > len(few) else ""
        text = (
            f"{self._what()}: phase {phase.name if phase else ''} was itself not in control ({'; '.join(few)}{more}); "
        )
        text += (
            "its limits hold, and are too wide or too narrow: find the cause, and live through a phase of another name"
        )
        return (self._frozen(point), self._stand(Severity.WARNING, text, Point(0, 0, (), ()), sampled_ns))

    def _frozen(self, point: Point) -> Noted:
        found = msgspec.to_builtins(point.frozen)
        facts = found if isinstance(found, dict) else {"share": found}
        body = {key: f"{value:.9g}" if isinstance(value, float) else str(value) for key, value in facts.items()}
        body["not_in_control"] = "; ".join(point.unsteady)
        return Noted(self.name, "chart.frozen", {"rule": self.name, "chart": self._config.chart, **body})

    def _what(self) -> str:
        return self._config.input or f"{self._config.of} {self._config.characteristic or ''}".rstrip()

    def _severity(self) -> Severity:
        if self._config.halt:
            return Severity.HALT
        return Severity.WARNING if self._config.severity == "warn" else Severity.ALARM

    def _stand(self, severity: Severity, text: str, point: Point, sampled_ns: int) -> Verdict:
        config, self._stood = self._config, False
        mark = point.marks[0] if point.marks else None
        self._standing = Verdict(
            rule=self.name,
            severity=severity,
            subject=self._what(),
            text=sentence(text, config.text if severity > Severity.NORMAL else ""),
            value=mark.value if mark else None,
            unit=self._unit,
            priority=config.alarm,
            halts=config.halt if severity is Severity.HALT else (),
            sampled_ns=sampled_ns,
            fleeting=severity is Severity.HALT,
        )
        return self._standing

    def heard(self, entry: Entry) -> Sequence[Finding]:
        """The rule it follows, or one of `anew_after`, was recalibrated."""
        if entry.kind != "recalibrated":
            return NOTHING
        self._chart.reset()
        self._group.clear()
        self._begun = dict.fromkeys(self._begun, True)
        self.dirty = True
        if not self._stood and (self._standing is None or self._standing.severity is Severity.NORMAL):
            return NOTHING
        text = f"{self._what()}: begins anew after a recalibration"
        return (self._stand(Severity.NORMAL, text, Point(0, 0, (), ()), 0),)

    # -- the Judge contract ----------------------------------------------------------------------

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del now_ns, wall_ns
        return NOTHING

    def rests_until(self, now_ns: int) -> int:
        """Time alone says nothing here."""
        del now_ns
        return NEVER_NS

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """A recalibration of what a tag's chart watches.  Refused: anything else."""
        del now_ns, wall_ns
        if entry.kind != "recalibrated":
            raise Refused("not_entered", f"rule {self.name} is a chart; it takes no {entry.kind}")
        return self.heard(entry)

    def current(self) -> Verdict | None:
        return self._standing

    def dump(self) -> Json:
        stands = self._stood or (self._standing is not None and self._standing.severity > Severity.NORMAL)
        kept = {"stands": stands, "taken": self._taken, "sparse": self._sparse, "begun": dict(self._begun)}
        return {"terms": self._config.terms(), **kept, **self._chart.dump()}

    def load(self, state: Json) -> None:
        """Goes on where it was, if the terms are the same.  A subgroup of a tag that was not full begins anew."""
        if not state or state["terms"] != self._config.terms():
            return
        self._chart.load(state)
        self._stood, self._sparse = state.get("stands", False), state.get("sparse", False)
        self._taken, self._begun = state.get("taken"), state.get("begun", {})
