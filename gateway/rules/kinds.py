"""The built-in rule kinds, in one plain tuple.  Third parties come by the entry point group `linegate.rules`."""

from __future__ import annotations

from gateway.rules.base import RuleConfig
from gateway.rules.condition import ConditionConfig
from gateway.rules.limit import LimitConfig
from gateway.rules.match import MatchConfig
from gateway.rules.sampling import SamplingConfig
from gateway.rules.spc.rule import SpcConfig
from gateway.rules.stale import StaleConfig

BUILT_IN: tuple[type[RuleConfig], ...] = (
    LimitConfig,
    StaleConfig,
    SamplingConfig,
    MatchConfig,
    SpcConfig,
    ConditionConfig,
)
