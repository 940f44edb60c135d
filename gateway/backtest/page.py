"""A backtest as one self-contained HTML page: what would have been, charts with limits and marks, what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import jinja2
from markupsafe import Markup

from gateway.backtest.compare import Difference
from gateway.backtest.run import Result, watched
from gateway.backtest.story import Episode
from gateway.backtest.terms import stamp
from gateway.batch.plots import Limit, Mark, Span, trend
from gateway.batch.records import lasted
from gateway.model import Severity, TagSpec
from gateway.recipe import Window
from gateway.rules.inputs import bounds, locate, measure

MOST_CHARTS: Final = 60
MOST_NAMED: Final = 24
"""Marks of one chart with a name; of more only the first have one."""
MOST_ROWS: Final = 400
MOST_HELD: Final = 12
"""Halts of one chart drawn as bands."""
_LETTERS: Final = {Severity.WARNING: "w", Severity.ALARM: "a", Severity.HALT: "h"}


def page(results: Sequence[Result], differences: Sequence[Difference] | None) -> str:
    """The page.  Everything that came from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("gateway.backtest"), jinja2.PackageLoader("gateway.batch")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(stamp=_said, lasted=lasted)
    return environment.get_template("backtest.html").render(
        results=[_shown(result) for result in results],
        flow=results[-1].flow,
        recipes=list(dict.fromkeys(f"{each.id}@{each.version}" for one in results if (each := one.rules.recipe))),
        differences=None if differences is None else [_differs(each) for each in differences[:MOST_ROWS]],
        differing=len(differences or ()),
        names=[str(result.rules.settings.path) for result in results],
        most=MOST_ROWS,
    )


def _said(time_ns: int | None) -> str:
    return "" if time_ns is None else stamp(time_ns).replace("T", " ").replace("Z", "")


def _shown(result: Result) -> dict[str, Any]:
    named = _named(result.story.episodes)
    tags = watched(result.rules)
    spoken = {tag for each in result.story.episodes for tag in _tags(result, each)}
    busy = sorted(tags, key=lambda tag: tag not in spoken)
    episodes = [_row(each, label) for each, label in named[:MOST_ROWS]]
    summaries = sorted(result.story.summaries.values(), key=lambda one: one.silent)
    return {
        "name": result.rules.name,
        "batch": result.rules.context.batch,
        "summaries": summaries,
        "totals": {word: sum(getattr(each, word) for each in summaries) for word in ("warned", "alarmed", "halted")},
        "devices": sorted({device for each in summaries for device in each.halts}),
        "left_out": result.rules.left_out,
        "notes": result.notes.texts,
        "episodes": episodes,
        "total": len(named),
        "charts": [_chart(result, tag, named) for tag in busy[:MOST_CHARTS]],
        "uncharted": busy[MOST_CHARTS:],
        "busy_uncharted": not spoken.isdisjoint(busy[MOST_CHARTS:]),
        "seen": result.flow.values,
        "scans": result.flow.scans,
        "verdicts": result.story.verdicts,
        "took_s": result.took_s,
    }


def _named(episodes: Sequence[Episode]) -> list[tuple[Episode, str]]:
    """Each with its short name in charts and table: w1, a2, h3, counted by the worst of it."""
    counts: dict[str, int] = {}
    found: list[tuple[Episode, str]] = []
    for each in sorted(episodes, key=lambda one: one.since_ns):
        letter = _LETTERS[each.worst]
        counts[letter] = counts.get(letter, 0) + 1
        found.append((each, f"{letter}{counts[letter]}"))
    return found


def _row(each: Episode, label: str) -> dict[str, Any]:
    lasting = None if each.until_ns is None else each.until_ns - each.since_ns
    return {
        "label": label,
        "episode": each,
        "severity": each.worst.name.lower(),
        "lasting": "stood at the end" if lasting is None else lasted(lasting) if lasting else "",
    }


def _differs(each: Difference) -> dict[str, Any]:
    return {"since_ns": each.since_ns, "rule": each.rule, "only": each.only, "text": "; ".join(each.words())}


def _tags(result: Result, each: Episode) -> tuple[str, ...]:
    """The tags whose charts an episode belongs into: its subject, else what its rule looks at."""
    if "/" in each.subject:
        return (each.subject,)
    config = result.rules.configs.get(each.rule)
    return config.inputs() if config is not None else ()


def _chart(result: Result, tag: str, named: Sequence[tuple[Episode, str]]) -> dict[str, Any]:
    mine = [(each, label) for each, label in named if tag in _tags(result, each)]
    span = (result.flow.first_ns or 0, result.flow.last_ns)
    points = result.curves.curves[tag].points() if result.curves is not None else []
    limits = list(_limits(result, tag))
    halts = [
        Span(each.raised[Severity.HALT], each.until_ns or span[1], label if len(mine) <= MOST_HELD else "")
        for each, label in mine
        if each.worst is Severity.HALT
    ][:MOST_HELD]
    marks = [
        mark for number, (each, label) in enumerate(mine) for mark in _marks(each, label if number < MOST_NAMED else "")
    ]
    unit = _spec(result, tag).unit
    title = tag if unit in ("1", "{count}") else f"{tag}, {unit}"
    svg = trend(title, points, limits, span, halts=halts, marks=marks)
    return {"title": title, "svg": Markup(svg), "count": len(mine)}  # noqa: S704  # escaped where it is drawn


def _marks(each: Episode, label: str) -> Iterator[Mark]:
    """Where it was warned, alarmed, halted; the worst has the name."""
    for severity, at_ns in sorted(each.raised.items()):
        text = f"{stamp(at_ns)} {each.rule}: {each.text}"
        yield Mark(at_ns, label if severity is each.worst else "", text, grave=severity >= Severity.ALARM)


def _spec(result: Result, tag: str) -> TagSpec:
    tagset, position = locate(result.rules.context, tag)
    return tagset.specs[position]


def _limits(result: Result, tag: str) -> Iterator[Limit]:
    """Of every rule that judges this tag by a window, in the tag's own unit."""
    spec = _spec(result, tag)
    seen: set[tuple[float, str]] = set()
    for config in result.rules.configs.values():
        window = getattr(config, "limits", None)
        if not isinstance(window, Window) or config.inputs() != (tag,):
            continue
        within = bounds(window, spec)
        for name, kind in (
            ("high", "limit"),
            ("warn_high", "warning"),
            ("target", "target"),
            ("warn_low", "warning"),
            ("low", "limit"),
        ):
            value = getattr(within, name)
            if value is not None and (float(value), kind) not in seen:
                seen.add((float(value), kind))
                yield Limit(float(value), f"{name.replace('_', ' ')} {measure(float(value))}", kind)
