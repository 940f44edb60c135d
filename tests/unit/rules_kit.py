"""Scans and times for the tests of rules.  No clock: a second is what the test says it is."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gateway.model import Fault, Quality, Scan, TagSet, TagSpec, Value
from gateway.rules.base import RuleContext

S = 1_000_000_000
WALL = 1_700_000_000 * S

RESERVOIR = TagSet("reservoir", [TagSpec("temperature", "Cel"), TagSpec("power", "%")])
BALANCE = TagSet("balance", [TagSpec("net", "g", "decimal")])
FILLER = TagSet("filler", [TagSpec("state"), TagSpec("units", "{count}"), TagSpec("tray", kind="text")])
LABELLER = TagSet(
    "labeller",
    [
        TagSpec("labels", "{count}"),
        TagSpec("batch", kind="text"),
        TagSpec("thc", "%"),
        TagSpec("offset", "mm"),
        TagSpec("verified", kind="bool"),
    ],
)
TESTER = TagSet("tester", [TagSpec("torque", "N.m")])
TAGSETS = {each.device: each for each in (RESERVOIR, BALANCE, FILLER, LABELLER, TESTER)}
CONTEXT = RuleContext(TAGSETS, dict.fromkeys(TAGSETS, 0.5), batch="B-1", tray_size=100, verification_units=3)


def bad(reason: str = "timeout") -> Fault:
    return Fault(Quality.BAD, reason)


def uncertain(reason: str = "not stable") -> Fault:
    return Fault(Quality.UNCERTAIN, reason)


def scan(
    tagset: TagSet,
    at_s: float,
    *values: Value,
    faults: Mapping[int, Fault] | None = None,
    raw: bytes | None = None,
) -> Scan:
    at_ns = round(at_s * S)
    return Scan(tagset, 0, WALL + at_ns, at_ns, values, faults or {}, raw=raw)


def grams(text: str) -> Decimal:
    return Decimal(text)
