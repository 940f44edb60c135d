"""Who may sign and decide: people are added, never taken away."""

from __future__ import annotations

from gateway.desk import Desk
from gateway.model import Json, Principal
from gateway.window import Frozen


class PersonArguments(Frozen):
    name: str
    full_name: str
    roles: tuple[str, ...]
    password: str
    qualified_until: str | None = None


class FirstPersonArguments(PersonArguments):
    token: str


async def person(desk: Desk, who: Principal, ask: PersonArguments) -> Json:
    return await desk.add_person(who, **ask.model_dump())


async def first(desk: Desk, who: Principal, ask: FirstPersonArguments) -> Json:
    """The first person, by the token that the gateway printed at its first run."""
    del who
    return await desk.add_first_person(**ask.model_dump())
