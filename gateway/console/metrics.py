"""The alarms as Prometheus metrics, in the text format.  Counts begin with the gateway's own start."""

from __future__ import annotations

import asyncio
from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.alarms import HIDDEN, AlarmState
from gateway.alarms.stats import DAY_NS
from gateway.line.alarms import Alarms
from gateway.model import Priority


class AlarmMetrics:
    """Asked at each scrape: nothing is kept twice."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def text(self, now_ns: int) -> bytes:
        """The page of `GET /metrics`; `now_ns`: wall clock, Unix ns."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page([*self._counters(), *self._gauges(now_ns)]))
        return generate_latest(registry)

    def _counters(self) -> list[Metric]:
        meter = self._alarms.meter
        raised = CounterMetricFamily("linegate_alarms_raised", "Alarms shown as raised.", labels=["priority"])
        for priority in Priority:
            raised.add_metric([priority.value], meter.raised[priority])
        flood = CounterMetricFamily("linegate_alarm_flood_seconds", "Time in flood.", value=meter.flood_s(_mono_ns()))
        return [raised, flood]

    def _gauges(self, now_ns: int) -> list[Metric]:
        alarms, meter = self._alarms, self._alarms.meter
        labels = ["state", "priority"]
        standing = GaugeMetricFamily("linegate_alarms_standing", "Alarms that are shown.", labels=labels)
        for (state, priority), count in Counter((a.state, a.priority) for a in alarms.standing.values()).items():
            standing.add_metric([state.value, priority.value], count)
        hidden = GaugeMetricFamily("linegate_alarms_hidden", "Alarms that are judged and not shown.", labels=["state"])
        counted = Counter(alarm.state for alarm in alarms.hidden.values())
        counted[AlarmState.SUPPRESSED] += len(alarms.dependents)
        for each in sorted(HIDDEN):
            hidden.add_metric([each.value], counted[each])
        stale = sum(now_ns - alarm.raised_ns > DAY_NS for alarm in alarms.standing.values())
        mono_ns = _mono_ns()
        last = meter.last_10min(mono_ns)
        numbers = {
            "linegate_alarms_last_10min": ("Raised in the last ten minutes.", last),
            "linegate_alarms_last_hour": ("Raised in the last hour.", meter.last_hour(mono_ns)),
            "linegate_alarm_flood": ("1 while more come than a person can answer.", int(meter.floods.on is not None)),
            "linegate_alarms_chattering": ("Raised three times or more in the last minute.", meter.chattering(mono_ns)),
            "linegate_alarms_stale": ("Have stood for more than a day.", stale),
        }
        plain = [GaugeMetricFamily(name, text, value=value) for name, (text, value) in numbers.items()]
        return [standing, hidden, *plain]


def _mono_ns() -> int:
    return round(asyncio.get_running_loop().time() * 1e9)


class _Page:
    """What a registry wants to be given."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
