"""What a line shows, what was found there, and how the one is held against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.hil.eyes import Mark, Observer
from gateway.hil.matching import Matcher, pick
from gateway.hil.sights import Sight
from gateway.model import Json


class Eyes(Protocol):
    """What a line shows: the simulated one all of it, a real one what can be seen there."""

    @property
    def observer(self) -> Observer:
        """What comes by MQTT."""
        ...

    def truth(self) -> dict[str, Any]:
        """What the simulators know.  LinegateError: there are none."""
        ...

    def machine(self, device: str) -> str:
        """PackML state of a machine, at the machine where that can be seen; empty: not known."""
        ...

    def units(self, first: int = 1) -> dict[int, dict[str, Any]]:
        """What was really made, by unit number of the batch."""
        ...

    def status(self) -> dict[str, Any]:
        """The gateway's own status, by HTTP."""
        ...

    def ended(self) -> dict[str, Any]:
        """`code` and `said` of a second gateway."""
        ...

    def consumer(self) -> Path | None:
        """The reference consumer's database; None: the line has another MES."""
        ...

    def asked(self, sight: Sight, sentence: str) -> Seen | None:
        """A person's word, where nothing can be seen; None: look for yourself."""
        ...

    def verify(self) -> tuple[bool, str]:
        """The batch's evidence bundle, as an auditor sees it."""
        ...


@dataclass
class Seen:
    """What was found."""

    ok: bool
    value: Json = None
    s: float | None = None
    """When it came, monotonic; None: found now."""
    said: str = ""
    """What is there instead."""
    final: bool = False
    """Looking again changes nothing."""


@dataclass
class Glance:
    """One expectation's own memory between two looks."""

    eyes: Eyes
    mark: Mark
    saved: Mapping[str, Json]
    memo: dict[str, Any] = field(default_factory=dict)


def document(look: Glance, sight: Sight, document: Json, at_s: float | None = None) -> Seen:
    """A document that must exist, with these fields."""
    if document is None:
        return Seen(ok=False, said="not there")
    wrong = unlike(document, sight, look.saved)
    return Seen(ok=not wrong, value=document, s=at_s, said=wrong)


def unlike(document: Json, sight: Sight, saved: Mapping[str, Json]) -> str:
    """What of `with` and `is` the document does not meet."""
    for path, match in sight.with_.items():
        if wrong := match.wrong(_field(document, path), saved):
            return f"{path}: {wrong}"
    return sight.is_.wrong(document, saved) if sight.is_ else ""


def _field(document: Json, path: str) -> Json:
    """Of a record: first its body, then what stands around it."""
    if isinstance(document, Mapping) and isinstance(document.get("body"), Mapping):
        inner = pick(document["body"], path)
        return pick(document, path) if inner is None else inner
    return pick(document, path)


def counted(look: Glance, sight: Sight, found: Sequence[Json], came_s: Sequence[float], others: str) -> Seen:
    """Things that happened: so many of them, by default at least one."""
    match = sight.count or _SOME
    wrong = match.wrong(len(found), look.saved)
    value = found[0] if found else None
    said = f"{len(found)} of them" if wrong and found else others
    needed = int(match.at_least or match.equals or 1) if sight.count else 1
    at_s = came_s[min(needed, len(came_s)) - 1] if came_s and not wrong else None
    return Seen(ok=not wrong, value=value, s=at_s, said=said)


_SOME: Final = Matcher(at_least=1)


def flat(record: Mapping[str, Any]) -> dict[str, Json]:
    """A saved record is spoken of without `body.`."""
    return {**record, **record["body"]}
