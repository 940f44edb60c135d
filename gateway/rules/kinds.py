"""The built-in rule kinds: the word in the file -> where its configuration stands; imported when a file names it.

Third parties come by the entry point group `linegate.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUILT_IN: Final[Mapping[str, str]] = {
    "limit": "gateway.rules.limit:LimitConfig",
    "stale": "gateway.rules.stale:StaleConfig",
    "sampling": "gateway.rules.sampling:SamplingConfig",
    "match": "gateway.rules.match:MatchConfig",
    "spc": "gateway.rules.spc.rule:SpcConfig",
    "condition": "gateway.rules.condition:ConditionConfig",
}
