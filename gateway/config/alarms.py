"""What rules say suppresses their alarms: names that are there, tags that say whether it runs, and no ring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.config.explain import hint
from gateway.config.model import RawRule, Settings
from gateway.errors import Problem

LINK: Final = "link:"
BY: Final = "suppressed_by"
UNLESS: Final = "suppressed_unless"


def alarm_design(settings: Settings) -> Iterator[Problem]:
    """Problems of `suppressed_by` and `suppressed_unless`, each at its place in the file."""
    by = {name: suppressors(rule) for name, rule in settings.rules.items()}
    for name, rule in settings.rules.items():
        for other in by[name]:
            yield from _named(settings, rule, other, by)
        yield from _tag(settings, rule)


def suppressors(rule: RawRule) -> tuple[str, ...]:
    """One name or a list of them; anything else the rule's own model refuses."""
    given = rule.data.get(BY, ())
    names = (given,) if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    return tuple(name for name in names if isinstance(name, str))


def _named(settings: Settings, rule: RawRule, other: str, by: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    where = (*rule.where, BY)
    if other.startswith(LINK):
        device = other.removeprefix(LINK)
        if device not in settings.devices:
            text = f"there is no device {device!r} whose link could be lost{hint(device, settings.devices)}"
            yield settings.document.problem(where, text)
    elif other not in settings.rules:
        text = f"there is no rule {other!r}{hint(other, settings.rules)}; of a device's link write link:DEVICE"
        yield settings.document.problem(where, text)
    elif rule.name in _all_above(other, by):
        text = f"{rule.name} is suppressed by {other}, and {other} by {rule.name}: then neither is ever shown"
        yield settings.document.problem(where, text)


def _all_above(name: str, by: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Itself, what suppresses it, what suppresses that, and so on."""
    found: set[str] = set()
    left = [name]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += by.get(each, ())
    return found


def _tag(settings: Settings, rule: RawRule) -> Iterator[Problem]:
    name = rule.data.get(UNLESS)
    if not isinstance(name, str):
        return
    device, _, tag = name.partition("/")
    tagset = settings.tagsets.get(device)
    where = (*rule.where, UNLESS)
    if tagset is None:
        yield settings.document.problem(where, f"there is no device {device!r}{hint(device, settings.tagsets)}")
    elif tag not in tagset.index:
        yield settings.document.problem(where, f"device {device} has no tag {tag!r}{hint(tag, tagset.tags)}")
    elif tagset.specs[tagset.index[tag]].kind not in ("bool", "number"):
        text = f"{name} says neither true or false nor a state's number"
        yield settings.document.problem(where, text)
