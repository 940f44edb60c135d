"""The pictures of the report: every plotted tag and the fill weights on one time axis; histograms.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from gateway.batch.histogram import histogram
from gateway.batch.plots import Dot, Limit, Mark, Point, Span, control, trend
from gateway.batch.records import Log
from gateway.batch.words import Row, stamp, unit
from gateway.model import Json
from gateway.recipe import Recipe, Window


def plots(log: Log, series: Mapping[str, Sequence[Point]], recipe: Recipe, windows: Mapping[str, str]) -> list[Row]:
    """Every series, then the fill-weight chart, on one time axis with halts and alarms at their times.

    What the recipe has a window for comes first: that is what a reviewer looks for.
    """
    if log.run is None:
        return []
    span, held, marks = log.run, _held(log), _marks(log)
    shown: list[Row] = []
    looked_for = {tag: recipe.windows.get(windows.get(tag) or _window_name(tag, recipe)) for tag in series}
    for tag in sorted(series, key=lambda tag: looked_for[tag] is None):
        points, window = series[tag], looked_for[tag]
        title = f"{tag}{f', {unit(window.unit)}' if window else ''}"
        shown.append({"title": title, "svg": trend(title, points, _limits(window), span, halts=held, marks=marks)})
    dots, levels = _weights(log, recipe)
    if levels:
        missed = [
            Mark(int(story.body["due_ns"]), f"{story.check} missed", story.check)
            for story in log.checks
            if story.missed and not story.judged
        ]
        title = "Fill weight, every sample, g"
        svg = control(title, dots, levels, span, halts=held, marks=marks, missed=missed)
        shown.append({"title": title, "svg": svg, "weights": True})
    return shown


def _window_name(tag: str, recipe: Recipe) -> str:
    """The window whose name holds the tag's last word: `reservoir/temperature` -> `oil_temperature`."""
    last = tag.rpartition("/")[2]
    return next((name for name in recipe.windows if last in name), "")


def _limits(window: Window | None) -> list[Limit]:
    if window is None:
        return []
    names = (
        ("low", "limit"), ("warn_low", "warning"), ("target", "target"), ("warn_high", "warning"), ("high", "limit"),
    )  # fmt: skip
    levels = [(getattr(window, name), name, kind) for name, kind in names]
    return [
        Limit(float(value), f"{name.replace('_', ' ')} {value}", kind)
        for value, name, kind in levels
        if value is not None
    ]


def _held(log: Log) -> list[Span]:
    if log.run is None:
        return []
    spans = []
    for number, story in enumerate(log.halts, 1):
        since = story.stamp("judged") or int(story.requested["time"])
        until = int(story.released["time"]) if story.released else log.run[1]
        spans.append(Span(since, until, f"H{number} {story.body['device']} held"))
    return spans


def _marks(log: Log) -> list[Mark]:
    found = []
    for number, story in enumerate(log.alarms, 1):
        if story.raised is not None and log.run and log.run[0] <= int(story.raised["time"]) <= log.run[1]:
            grave = story.body["priority"] in {"high", "critical"}
            found.append(Mark(int(story.raised["time"]), f"A{number}", story.raised["body"]["text"], grave))
    return sorted(found, key=lambda mark: mark.time_ns)


def _weights(log: Log, recipe: Recipe) -> tuple[list[Dot], list[Limit]]:
    """Every judged weighing of the fill, and the limits of each plan that weighs it."""
    levels: list[Limit] = []
    shapes: dict[str, str] = {}
    names: set[str] = set()
    windows: dict[str, Window] = {}
    for plan_name, plan in recipe.plans.items():
        for one in plan.characteristics:
            if one.source == "weighing" and one.window is not None:
                shapes[plan_name] = "circle" if plan.n > 1 else "diamond"
                names.add(one.name)
                windows[plan_name] = one.window
    for plan_name, window in windows.items():
        narrowest = window is min(windows.values(), key=_width)
        levels += _plan_limits(plan_name, window, inner=narrowest and len(windows) > 1)
    levels = list(dict.fromkeys(levels))
    dots = []
    for story in log.checks:
        shape = shapes.get(str(story.body.get("plan", "")).rpartition(".")[2], "circle")
        for sample in story.body.get("samples", ()):
            if sample["characteristic"] in names and sample["passed"] is not None:
                text = f"{story.check}: {sample['value']} {sample['unit']} at {stamp(sample['time_ns'])} UTC"
                dots.append(Dot(int(sample["time_ns"]), float(sample["value"]), shape, not sample["passed"], text))
    return dots, levels


def _width(window: Window) -> Decimal:
    return window.high - window.low if window.high is not None and window.low is not None else Decimal("Infinity")


def _plan_limits(plan: str, window: Window, *, inner: bool) -> Iterable[Limit]:
    """Those of the narrower plan are dashed; the target is said once."""
    if window.target is not None and not inner:
        yield Limit(float(window.target), f"target {window.target}", "target")
    for value in (window.high, window.low):
        if value is not None:
            yield Limit(float(value), f"{value} {plan}", "limit inner" if inner else "limit")


def distributions(rows: Sequence[Mapping[str, Json]]) -> list[Row]:
    """Each variable characteristic with the histogram of its values against its limits."""
    return [{**row, "svg": histogram(_title(row), row["each"], row["low"], row["high"])} for row in rows]


def _title(row: Mapping[str, Json]) -> str:
    return f"{row['rule']} {row['characteristic']}, {unit(row['unit'])}".rstrip(", ")
