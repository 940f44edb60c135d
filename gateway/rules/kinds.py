"""The built-in rule kinds, in one plain tuple.  Third parties come by the entry point group `linegate.rules`."""

from __future__ import annotations

from gateway.rules.base import RuleConfig

BUILT_IN: tuple[type[RuleConfig], ...] = ()
