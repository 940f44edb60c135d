"""The section `derived`: virtual devices whose tags are computed from others.

    derived:
      oil:
        on: viscometer            # computed when this one is scanned; without it on each scan of any source
        tags:
          viscosity_60: {kind: viscosity, ...}

Read in the order of the file: a later one may look at an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from pydantic import ValidationError

from gateway.config.explain import explain, hint
from gateway.config.kinds import Kinds
from gateway.config.yaml import Document, Where
from gateway.derive.base import DerivedConfig
from gateway.derive.deriver import Deriver, VirtualDevice, Watched, watched
from gateway.derive.kinds import BUILT_IN
from gateway.errors import Problem
from gateway.model import Json, TagSet

KINDS: Final[Kinds[DerivedConfig]] = Kinds("kind", built_in=BUILT_IN)

Say = Callable[..., None]
"""`say(where, message, key=False)`."""


@dataclass(frozen=True)
class Virtual:
    """One virtual device, as it can work."""

    tagset: TagSet
    on: str | None
    tags: Mapping[str, DerivedConfig]
    sources: Mapping[str, Watched]
    period_s: float
    """Time between its scans, about."""

    def build(self) -> VirtualDevice:
        made = [(config, config.build(_units(config, self.sources))) for config in self.tags.values()]
        return VirtualDevice(self.tagset, made, self.sources)


def deriver(virtuals: Mapping[str, Virtual], tagsets: Mapping[str, TagSet]) -> Deriver:
    """All of them, as new."""
    return Deriver({name: (each.build(), each.on) for name, each in virtuals.items()}, tagsets.values())


class Reading:
    """The section on its way to virtual devices; `tagsets` and `periods_s` grow with each."""

    def __init__(self, document: Document, tagsets: dict[str, TagSet], periods_s: Mapping[str, float]) -> None:
        self._document = document
        self._tagsets = tagsets
        self._periods_s = dict(periods_s)
        self.problems: list[Problem] = []

    def read(self, entries: Mapping[str, Json], say: Say) -> dict[str, Virtual]:
        found: dict[str, Virtual] = {}
        for name, data in entries.items():
            where: Where = ("derived", name)
            if name in self._tagsets:
                say(where, f"{name} is a device already; give it another name", key=True)
                continue
            made = self._one(name, data, say)
            if made is not None:
                found[name] = made
                self._tagsets[name] = made.tagset
                self._periods_s[name] = made.period_s
        return found

    def _one(self, name: str, data: Json, say: Say) -> Virtual | None:
        where: Where = ("derived", name)
        for key in data:
            if key not in ("on", "tags"):
                say((*where, key), f"unknown key{hint(key, ('on', 'tags'))}", key=True)
                return None
        given = data.get("tags")
        if not isinstance(given, dict) or not given:
            say((*where, "tags") if "tags" in data else where, "needs tags: a mapping of names", key=True)
            return None
        tags = {tag: config for tag in given if (config := self._tag((*where, "tags", tag), given[tag], say))}
        sources = dict(self._sources((*where, "tags"), tags, say))
        if len(tags) < len(given) or not self._fits((*where, "tags"), tags, sources, say):
            return None
        devices = {source.tagset.device for source in sources.values()}
        on = data.get("on")
        if on is not None and on not in devices:
            say((*where, "on"), f"none of its tags looks at {on!r}{hint(on, devices)}")
            return None
        period_s = max(self._periods_s.get(device, 1.0) for device in ([on] if on else devices))
        specs = [config.spec(tag) for tag, config in tags.items()]
        return Virtual(TagSet(name, specs), on, tags, sources, period_s)

    def _tag(self, where: Where, data: Json, say: Say) -> DerivedConfig | None:
        word = data.get("kind") if isinstance(data, dict) else None
        model = KINDS.find(str(word))
        if model is None:
            place = (*where, "kind") if word is not None else where
            say(place, f"there is no derived kind {word!r}{hint(word or '', KINDS.names())}", key=word is None)
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.problems += explain(error, self._document, where, model)
            return None

    def _sources(self, where: Where, tags: Mapping[str, DerivedConfig], say: Say) -> Iterator[tuple[str, Watched]]:
        for tag, config in tags.items():
            for source in config.names().values():
                try:
                    yield source, watched(source, self._tagsets, self._periods_s)
                except ValueError as error:
                    say(self._place((*where, tag), source), str(error) + self._near(source))

    def _near(self, source: str) -> str:
        """What was meant, where there is one like it."""
        there = [name for tagset in self._tagsets.values() for name in tagset.names]
        near = get_close_matches(source, there, 1)
        return f"; did you mean {near[0]!r}?" if near and source not in there else ""

    def _place(self, where: Where, word: str) -> Where:
        return next((at for at, scalar in self._document.scalars(where) if scalar == word), where)

    def _fits(self, where: Where, tags: Mapping[str, DerivedConfig], sources: Mapping[str, Watched], say: Say) -> bool:
        """Are all sources there, and do the units go together?"""
        good = True
        for tag, config in tags.items():
            if not set(config.names().values()) <= sources.keys():
                good = False
                continue
            try:
                config.build(_units(config, sources))
            except ValueError as error:
                say((*where, tag), str(error), key=True)
                good = False
        return good


def _units(config: DerivedConfig, sources: Mapping[str, Watched]) -> dict[str, str]:
    """Name in the derivation -> unit of the tag."""
    places = {name: sources[source] for name, source in config.names().items()}
    return {name: place.tagset.units[place.position] for name, place in places.items()}
