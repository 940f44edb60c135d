"""Patterns in a rule's `input`: one rule for each tag or device that matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from gateway.model import TagSet, TagSpec
from gateway.recipe import Window
from gateway.rules.base import RuleConfig

NUMBERS: Final = ("number", "decimal")
"""Kinds of tags that limits can judge."""


def members(name: str, config: RuleConfig, tagsets: Mapping[str, TagSet]) -> Iterator[tuple[str, RuleConfig]]:
    """A rule whose `input` is a pattern (`*/temperature`, `press-*`) is one rule for each tag or device that matches.

    They are called `name.device.tag`.  Limits look at numbers only: what is text is passed over.
    """
    found = matches(name, config, tagsets)
    if found is None:
        yield name, config
        return
    for each, match in found:
        yield each, config.model_copy(update={"input": match})


def matches(name: str, config: RuleConfig, tagsets: Mapping[str, TagSet]) -> list[tuple[str, str]] | None:
    """(name, input) of each rule a pattern stands for; None for a rule that has none."""
    found = matching(config, tagsets)
    return None if found is None else [(f"{name}.{match.replace('/', '.')}", match) for match in found]


def matching(config: RuleConfig, tagsets: Mapping[str, TagSet]) -> list[str] | None:
    """The inputs a pattern stands for; None for a rule that has none."""
    pattern = getattr(config, "input", None)
    if not isinstance(pattern, str) or not set(pattern) & set("*?["):
        return None
    return _matching(pattern, tagsets, numbers=any(isinstance(value, Window) for _, value in config))


def looked_at(config: RuleConfig, tagsets: Mapping[str, TagSet]) -> list[tuple[str, ...]]:
    """The inputs of a rule; of a pattern, those of each rule it stands for."""
    found = matching(config, tagsets)
    if found is None:
        return [config.inputs()]
    plain = not found or config.model_copy(update={"input": found[0]}).inputs() == (found[0],)
    return [(name,) if plain else config.model_copy(update={"input": name}).inputs() for name in found]


def named(tagset: TagSet) -> Iterator[tuple[str, TagSpec]]:
    """`device/tag` and its specification."""
    return zip(tagset.names, tagset.specs, strict=True)


def _matching(pattern: str, tagsets: Mapping[str, TagSet], *, numbers: bool) -> list[str]:
    device, slash, tag = pattern.partition("/")
    devices = [tagset for name, tagset in tagsets.items() if fnmatchcase(name, device)]
    if not slash:
        return [tagset.device for tagset in devices]
    return [
        full
        for tagset in devices
        for full, spec in named(tagset)
        if fnmatchcase(spec.name, tag) and (spec.kind in NUMBERS or not numbers)
    ]
