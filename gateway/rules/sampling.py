"""Rule kind `sampling`: the checks of a plan fall due, are taken, are judged, or are missed.

    fill-weight: {kind: sampling, plan: recipe.plans.every_100, weight: balance/net, count: filler/units,
                  running: filler/state, tray: filler/tray, halt: filler, missed: alarm}

Due by running time, at each n-th unit of the batch, at random, after a start, a stop, an adjustment or the release of
a halt.  A take binds the next stable weight or the next value of an instrument, an entry brings the rest.  Exactly at a
limit passes; nearer to it than the uncertainty of the measurement is indeterminate, never passed; the first sample that
fails ends the check and halts at once.  After a recorded recalibration the next units are all weighed (verification)
before the plan goes on; checks that fall due meanwhile wait their turn.  docs/plans.md has it all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from gateway.model import Priority
from gateway.plans import Plan
from gateway.rules.base import RuleConfig, RuleContext
from gateway.rules.sampling_judge import EXECUTE, SamplingJudge, plan_hash
from gateway.rules.scale import Scale
from gateway.rules.standard import standard
from gateway.units import Duration

__all__ = ["SamplingConfig", "SamplingJudge", "plan_hash"]


class SamplingConfig(RuleConfig):
    needs_batch = True

    kind: Literal["sampling"] = "sampling"
    plan: Plan
    weight: str | None = None
    """The balance's tag, where a characteristic is weighed."""
    scale: Scale | None = None
    """What is known of that balance: who cannot judge so little is refused (USP <41>)."""
    tags: Mapping[str, str] = Field(default_factory=dict)
    """Characteristic -> the instrument's tag, for those with `source: tag`."""
    count: str | None = None
    """The machine's unit counter."""
    running: str | None = None
    """The machine's state; without it the machine counts as running as long as the batch does."""
    running_states: tuple[int, ...] = EXECUTE
    """PackML Execute."""
    tray: str | None = None
    """The tray in the machine; without it trays are counted by their size."""
    secret: str = Field("", repr=False)
    """Known to QA alone, by reference: without it who knows the manual can compute where random checks fall."""
    missed: Literal["alarm", "halt"] = "alarm"
    """What a check means that was not done in time."""
    alarm: Priority = Priority.HIGH
    settle_s: Duration = Field(5.0, alias="settle", gt=0)
    """A reading that is not stable for so long is recorded as one that was never judged."""
    take_within_s: Duration = Field(120.0, alias="take_within", gt=0)
    """A take lapses if no weight follows it."""

    @model_validator(mode="after")
    def _works(self) -> SamplingConfig:
        weighed = [each.name for each in self.plan.characteristics if each.source == "weighing"]
        if weighed and self.weight is None:
            raise ValueError(f"{weighed[0]} is weighed: name the balance's tag in `weight`")
        measured = {each.name for each in self.plan.characteristics if each.source == "tag"}
        if measured != set(self.tags):
            odd = ", ".join(sorted(measured ^ set(self.tags)))
            raise ValueError(f"`tags` names the instrument's tag of each characteristic with source tag; see {odd}")
        by_random = self.plan.random is not None and self.plan.random.per_units is not None
        if (self.plan.every_units is not None or by_random) and self.count is None:
            raise ValueError("the plan counts units: name the counter's tag in `count`")
        if self.plan.grace_units is not None and self.count is None:
            raise ValueError("the plan's grace counts units: name the counter's tag in `count`")
        if "stop" in self.plan.after and self.running is None:
            raise ValueError("the plan checks after a stop: name the machine's state in `running`, to see it stop")
        if self.missed == "halt" and not self.halt:
            raise ValueError("missed is halt, but there is no device to halt: name it in `halt`")
        names = [each.name for each in self.plan.characteristics]
        if len(set(names)) != len(names):
            raise ValueError("two characteristics of the plan have the same name")
        return self

    @model_validator(mode="after")
    def _weighable(self) -> SamplingConfig:
        """The scale can judge what the plan weighs, by what is known of it when the batch starts."""
        for each in self.plan.characteristics:
            if self.scale is None or each.source != "weighing":
                continue
            why = self.scale.unfit(standard(each, None))
            if why:
                raise ValueError(why)
        return self

    def inputs(self) -> tuple[str, ...]:
        named = (self.weight, self.count, self.running, self.tray, *self.tags.values())
        return tuple(name for name in named if name is not None)

    def build(self, name: str, context: RuleContext) -> SamplingJudge:
        """ValueError: no such tag, or the plan's limits do not fit the balance."""
        return SamplingJudge(name, self, context)
