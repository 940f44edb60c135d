"""From what was observed to lanes and curves: alarms, halts and records beside the steps and faults of the player."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gateway.batch.plots import Limit
from gateway.hil.eyes import Observer
from gateway.hil.results import Drawn, Outcome, Stroke
from gateway.hil.scenario import Plot

LANES = ("steps", "faults", "alarms", "halts", "records")
_QUIET = ("telemetry.root", "weighing.recorded", "batch.tray")
"""Kinds that would crowd the lane of records: drawn without their name."""


class Played(Protocol):
    """What of a player is needed."""

    zero_s: float
    ended_s: float


def observe(outcome: Outcome, player: Played, observer: Observer, plots: Sequence[Plot]) -> None:
    """Put what came by MQTT while it was played onto the outcome's timeline."""
    end_s = max(0.0, player.ended_s - player.zero_s)
    records = [
        (observer.came_s[index] - player.zero_s, record)
        for index, record in sorted(dict(observer.records).items())
        if player.zero_s <= observer.came_s.get(index, 0.0) <= player.ended_s
    ]
    outcome.strokes += _spans(records, "alarms", "alarm.raised", "alarm.cleared", "alarm", end_s)
    outcome.strokes += _spans(records, "halts", "halt.requested", "halt.released", "halt", end_s)
    outcome.strokes += [
        Stroke("records", s, s, record["kind"], _grave(record["kind"]))
        for s, record in records
        if record["kind"] not in _QUIET
    ]
    outcome.drawn = [drawn(plot, observer, player.zero_s, end_s) for plot in plots]


def _grave(kind: str) -> bool:
    return kind.startswith("halt.") or kind in ("check.failed", "check.missed", "device.lost")


def _spans(
    records: Sequence[tuple[float, dict[str, Any]]], lane: str, first: str, last: str, key: str, end_s: float
) -> list[Stroke]:
    """From the first record of a thing to its last; what stands still is drawn to the end."""
    open_: dict[str, float] = {}
    found: list[Stroke] = []
    for s, record in records:
        name = str(record["body"].get(key, ""))
        if record["kind"] == first:
            open_.setdefault(name, s)
        elif record["kind"] == last and name in open_:
            found.append(Stroke(lane, open_.pop(name), s, name, lane == "halts"))
    return found + [
        Stroke(lane, since_s, max(end_s, since_s), name, lane == "halts") for name, since_s in open_.items()
    ]


def drawn(plot: Plot, observer: Observer, zero_s: float, end_s: float) -> Drawn:
    """A tag's values, by the moment they came; a bad one is a hole."""
    device, _, tag = plot.tag.partition("/")
    points = [
        (round((scan["came_s"] - zero_s) * 1e9), _number(scan["values"].get(tag)))
        for scan in list(observer.by_device.get(device, []))
        if 0.0 <= scan["came_s"] - zero_s <= end_s
    ]
    levels = (("high", plot.high, "limit"), ("low", plot.low, "limit"), ("target", plot.target, "target"))
    limits = [Limit(value, f"{name} {value:g}", kind) for name, value, kind in levels if value is not None]
    unit = f", {plot.unit}" if plot.unit else ""
    return Drawn(f"{plot.tag}{unit}", points, limits)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
