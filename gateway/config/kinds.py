"""Which words may stand as `driver:` and `kind:`: the built-in tuples, then the entry points of third parties.

Entry points are imported only when a file names them: a line that uses one driver does not pay for the others.
"""

from __future__ import annotations

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
    built_in: tuple[type[M], ...]
    group: str = ""
    """Entry point group of third parties."""

    @cached_property
    def models(self) -> dict[str, type[M]]:
        return {word: model for model in self.built_in for word in _words(model, self.key)}

    @cached_property
    def _others(self) -> dict[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=self.group)} if self.group else {}

    def names(self) -> set[str]:
        return {*self.models, *self._others}

    def find(self, word: str) -> type[M] | None:
        """None if there is no such kind.  ValueError if its package cannot be imported."""
        if word in self.models or word not in self._others:
            return self.models.get(word)
        entry = self._others[word]
        try:
            model: type[M] = entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.key} {word!r} comes from {entry.value}, which cannot be imported: {error}"
            ) from None
        return model

    def all(self) -> tuple[type[M], ...]:
        return (*self.built_in, *(model for name in sorted(self._others) if (model := self.find(name)) is not None))


def _words(model: type[BaseModel], key: str) -> tuple[str, ...]:
    """The literal words of the model's kind: `Literal["mqtt"]`."""
    return tuple(str(word) for word in get_args(model.model_fields[key].annotation))


@dataclass(frozen=True)
class House:
    """Every kind that may stand in a file."""

    drivers: Kinds[DriverConfig] = field(default_factory=lambda: Kinds("driver", DRIVERS, "linegate.drivers"))
    rules: Kinds[RuleConfig] = field(default_factory=lambda: Kinds("kind", RULES, "linegate.rules"))
    sinks: Kinds[SinkConfig] = field(default_factory=lambda: Kinds("kind", SINKS, "linegate.sinks"))
