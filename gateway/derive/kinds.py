"""The built-in kinds of derived tags, in one plain tuple."""

from __future__ import annotations

from gateway.derive.base import DerivedConfig
from gateway.derive.expr import ExprConfig
from gateway.derive.rate import RateConfig
from gateway.derive.time_above import TimeAboveConfig
from gateway.derive.unchanged import UnchangedConfig
from gateway.derive.viscosity import ViscosityConfig

BUILT_IN: tuple[type[DerivedConfig], ...] = (ExprConfig, RateConfig, UnchangedConfig, TimeAboveConfig, ViscosityConfig)
