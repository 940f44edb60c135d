"""Which words may stand as `driver:` and `kind:`: the built-in tables, then the entry points of third parties.

A kind is imported when a file names it, built-in or not: a line that uses one driver does not pay for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from typing import Generic, TypeVar, get_args

from pydantic import BaseModel

from gateway.drivers.base import DriverConfig
from gateway.drivers.kinds import BUILT_IN as DRIVERS
from gateway.rules.base import RuleConfig
from gateway.rules.kinds import BUILT_IN as RULES
from gateway.sinks.base import SinkConfig
from gateway.sinks.kinds import BUILT_IN as SINKS

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Kinds(Generic[M]):
    """The kinds of one section: word in the file -> model."""

    key: str
    """The key that names the kind: `driver` or `kind`."""
    own: tuple[type[M], ...] = ()
    """Models that are at hand."""
    group: str = ""
    """Entry point group of third parties."""
    built_in: Mapping[str, str] = field(default_factory=dict)
    """Word -> where its model stands, `module:class`."""

    @cached_property
    def _at_hand(self) -> dict[str, type[M]]:
        return {word: model for model in self.own for word in _words(model, self.key)}

    @cached_property
    def _ours(self) -> dict[str, metadata.EntryPoint]:
        return {word: metadata.EntryPoint(word, place, "") for word, place in self.built_in.items()}

    @cached_property
    def _others(self) -> dict[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=self.group)} if self.group else {}

    def names(self) -> set[str]:
        return {*self._at_hand, *self._ours, *self._others}

    def find(self, word: str) -> type[M] | None:
        """None if there is no such kind.  ValueError if its package cannot be imported."""
        if word in self._at_hand:
            return self._at_hand[word]
        entry = self._ours.get(word) or self._others.get(word)
        if entry is None:
            return None
        try:
            model: type[M] = entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.key} {word!r} comes from {entry.value}, which cannot be imported: {error}"
            ) from None
        return model

    def all(self) -> tuple[type[M], ...]:
        """Every model there is, imported."""
        words = dict.fromkeys((*self._at_hand, *self._ours, *sorted(self._others)))
        return tuple(dict.fromkeys(model for word in words if (model := self.find(word)) is not None))


def _words(model: type[BaseModel], key: str) -> tuple[str, ...]:
    """The literal words of the model's kind: `Literal["mqtt"]`."""
    return tuple(str(word) for word in get_args(model.model_fields[key].annotation))


@dataclass(frozen=True)
class House:
    """Every kind that may stand in a file."""

    drivers: Kinds[DriverConfig] = field(default_factory=lambda: Kinds("driver", (), "linegate.drivers", DRIVERS))
    rules: Kinds[RuleConfig] = field(default_factory=lambda: Kinds("kind", (), "linegate.rules", RULES))
    sinks: Kinds[SinkConfig] = field(default_factory=lambda: Kinds("kind", (), "linegate.sinks", SINKS))
