"""What a row of the table of commands is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.desk import Desk
from gateway.model import Json, Principal
from gateway.window import Frozen

ANYONE: Final[frozenset[str]] = frozenset()
HTTP: Final = frozenset({"http"})
BOTH: Final = frozenset({"http", "mqtt"})
FLOOR: Final = frozenset({"operator", "technician", "supervisor"})
ALL_OF_US: Final = FLOOR | {"maintenance", "qa"}
STARTS: Final = frozenset({"operator", "supervisor"})
DECIDES: Final = frozenset({"supervisor", "qa"})
UPKEEP: Final = frozenset({"maintenance"})


class NoArguments(Frozen):
    """None."""


class BatchArguments(Frozen):
    batch: str


A = TypeVar("A", bound=Frozen)


@dataclass(frozen=True)
class Command(Generic[A]):
    """One thing that may be asked."""

    name: str
    arguments: type[A]
    run: Callable[[Desk, Principal, A], Awaitable[Json]]
    roles: frozenset[str] = ANYONE
    """Any one of them suffices; empty: whoever came through the door."""
    doors: frozenset[str] = HTTP
    signed: bool = False
    """Name and password in this very request, and a qualification that has not run out."""
    ever: bool = False
    """Signed after the qualification, too: nobody could renew one otherwise."""
    changes: bool = True
    """False: it only shows something, and is answered also while nothing can be recorded."""
