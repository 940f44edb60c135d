"""The built-in kinds of derived tags: the word in the file -> where its configuration stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILT_IN: Final[Mapping[str, str]] = {
    "expr": "gateway.derive.expr:ExprConfig",
    "rate": "gateway.derive.rate:RateConfig",
    "unchanged": "gateway.derive.unchanged:UnchangedConfig",
    "time-above": "gateway.derive.time_above:TimeAboveConfig",
    "viscosity": "gateway.derive.viscosity:ViscosityConfig",
}
