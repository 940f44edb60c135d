"""What the checks of a batch say of the process: records in, figures out, as plain data.  Pure.

The rooms batch (what was measured) and rules (what it says) know nothing of each other; here they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from gateway.batch.measured import Counted, Measured, measured
from gateway.batch.records import Log, Payload
from gateway.model import Json
from gateway.rules.spc.limits import Estimator
from gateway.rules.spc.study import Study, share_bound, study

ESTIMATORS: Final[Mapping[Estimator, str]] = {
    "pooled": "pooled s / c4",
    "moving-range": "mean moving range / d2",
    "range": "mean range / d2",
    "deviation": "mean s / c4",
    "given": "given",
}
_GROUPED: Final = "only groups were weighed together: nothing is known of single units"

Charts = Mapping[str, tuple[str, str | None]]
"""A chart's rule -> the sampling rule it follows, and of which characteristic (None: its only one)."""


def capabilities(records: Sequence[Payload], charts: Charts) -> Json:
    """`{"variables": [...], "attributes": [...]}`: a row for each characteristic of each rule, figures as text."""
    log = Log(records)
    variables, attributes = measured(log)
    return {
        "variables": [_variable(each, _heard(log, each, charts)) for each in variables],
        "attributes": [_attribute(each) for each in attributes],
    }


def _heard(log: Log, one: Measured, charts: Charts) -> list[str]:
    """What the line's own charts of it said while the batch ran."""
    names = {name for name, (rule, what) in charts.items() if rule == one.rule and what in (None, one.name)}
    raised = [record for record in log.of("alarm.raised") if record["body"]["alarm"] in names]
    return [f"chart {record['body']['alarm']}: {record['body']['text']}" for record in raised]


def _variable(one: Measured, heard: list[str]) -> Json:
    low, high = (None if end is None else float(end) for end in (one.low, one.high))
    found = study([[float(value) for value in group] for group in one.groups], low, high, heard)
    return {
        "rule": one.rule,
        "plan": one.plan,
        "characteristic": one.name,
        "unit": one.unit,
        "limits": one.limits,
        "low": _text(one.low),
        "high": _text(one.high),
        "values": str(found.values),
        "subgroups": str(found.groups),
        "mean": _figure(found.mean, one),
        "s_overall": _figure(found.overall, one),
        "s_within": _figure(found.within.sigma if found.within else None, one),
        "estimator": ESTIMATORS[found.within.estimator] if found.within else "",
        **_indices(found, single=one.single),
        "signals": list(found.signals),
        "each": [f"{value:f}" for group in one.groups for value in group],
    }


def _indices(found: Study, *, single: bool) -> dict[str, Json]:
    """Cp, Cpk, Pp, Ppk with the reason why one is not shown."""
    no_cp, no_pp = (found.no_cp, found.no_pp) if single else (_GROUPED, _GROUPED)
    told = found.capability
    cp, cpk = (told.cp, told.cpk) if told and not no_cp else (None, None)
    pp, ppk = (told.pp, told.ppk) if told and not no_pp else (None, None)
    return {
        "cp": _index(cp),
        "cpk": _index(cpk),
        "no_cp": no_cp,
        "pp": _index(pp),
        "ppk": _index(ppk),
        "ppk_at_least": _index(found.bound if ppk is not None else None),
        "no_pp": no_pp,
    }


def _attribute(one: Counted) -> Json:
    return {
        "rule": one.rule,
        "plan": one.plan,
        "characteristic": one.name,
        "units": str(one.units),
        "defects": str(one.defects),
        "percent": f"{100 * one.defects / one.units:.3g}",
        "percent_at_most": f"{100 * share_bound(one.defects, one.units):.3g}",
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _index(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _figure(value: float | None, one: Measured) -> str | None:
    """One place more than was measured: a mean of many is finer than each."""
    if value is None:
        return None
    exponents = [each.as_tuple().exponent for group in one.groups for each in group]
    places = max(-exponent for exponent in exponents if isinstance(exponent, int))
    return f"{value:.{max(0, places) + 1}f}"
