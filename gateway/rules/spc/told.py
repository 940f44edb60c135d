"""A chart's terms in words and numbers, for `linegate check --explain`: limits, patterns, what begins anew.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import TYPE_CHECKING

from gateway.rules.spc import limits as lim
from gateway.rules.spc.limits import Limits, Process
from gateway.rules.spc.runs import named

if TYPE_CHECKING:
    from gateway.rules.spc.rule import SpcConfig

_WIDTH = {"xbar-r": "range", "xbar-s": "standard deviation", "i-mr": "moving range"}


def patterns(config: SpcConfig) -> str:
    """What a signal is."""
    if config.chart == "ewma":
        return "the average beyond its limits"
    if config.chart == "cusum":
        return f"a sum above {config.cusum.decision:g} sigma"
    rules = "; ".join(f"{rule.text} ({rule.name})" for rule in named(config.runs))
    width = _WIDTH.get(config.chart)
    return rules + (f"; the {width} beyond its limits" if width else "")


def longest(config: SpcConfig) -> int:
    """Points that its longest pattern takes; 1 for charts with a memory of their own."""
    return 1 if config.chart in ("ewma", "cusum") else max(rule.length for rule in named(config.runs))


def numbers(config: SpcConfig, n: int, unit: str) -> str:
    """The control limits of a subgroup of n, where they are known before the chart was lived with; else nothing."""
    if config.share is not None:
        return f"share of {n} unit{'s' * (n > 1)} {_span(lim.of_share(config.share, n), '')}"
    if config.process is None:
        return ""
    return "; ".join(_numbers(config, Process(config.process.center, config.process.sigma), n, unit))


def _numbers(config: SpcConfig, process: Process, n: int, unit: str) -> Iterator[str]:
    if config.chart == "i-mr":
        yield f"single value {_span(lim.of_mean(process, 1), unit)}"
        yield f"moving range {_span(lim.of_range(process, 2), unit)}"
    elif config.chart == "ewma":
        yield f"average {_span(_settled(config, process, n), unit)}" + _at_first(config)
    elif config.chart == "cusum":
        sigma = process.sigma / sqrt(n)
        yield f"target {process.center:.5g}{unit}, sums of what is beyond {config.cusum.slack * sigma:.3g}{unit} of it"
        yield f"each up to {config.cusum.decision * sigma:.3g}{unit}"
    else:
        yield f"mean of {n}, {_span(lim.of_mean(process, n), unit)}"
        spread = lim.of_range(process, n) if config.chart == "xbar-r" else lim.of_deviation(process, n)
        yield f"{_WIDTH[config.chart]} {_span(spread, unit)}"


def _settled(config: SpcConfig, process: Process, n: int) -> Limits:
    """The asymptotic limits: where the exact ones end."""
    sigma = process.sigma / sqrt(n) * sqrt(config.ewma.weight / (2 - config.ewma.weight))
    most = config.ewma.width * sigma
    return Limits(process.center, sigma, process.center - most, process.center + most)


def _at_first(config: SpcConfig) -> str:
    return ", narrower at first" if config.ewma.limits == "exact" else ""


def _span(limits: Limits, unit: str) -> str:
    if limits.low <= 0 < limits.center:
        return f"up to {limits.high:.4g}{unit}"
    return f"{limits.low:.5g} to {limits.high:.5g}{unit}"
