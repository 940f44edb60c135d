"""Who may sign and decide: people are added and changed, never taken away."""

from __future__ import annotations

from gateway.commands.base import NoArguments
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


class ChangeArguments(Frozen):
    """What is not given stays as it is; `qualified_until: null` takes the end of the qualification away."""

    name: str
    reason: str = ""
    full_name: str = ""
    roles: tuple[str, ...] = ()
    password: str = ""
    qualified_until: str | None = None
    disabled: bool = False


class PasswordArguments(Frozen):
    password: str


async def person(desk: Desk, who: Principal, ask: PersonArguments) -> Json:
    return await desk.staff.add(who.name, ask.name, ask.full_name, ask.roles, ask.password, ask.qualified_until)


async def first(desk: Desk, who: Principal, ask: FirstPersonArguments) -> Json:
    """The first person, by the token that the gateway printed at its first run."""
    del who
    return await desk.staff.add_first(ask.token, ask.name, ask.full_name, ask.roles, ask.password, ask.qualified_until)


async def change(desk: Desk, who: Principal, ask: ChangeArguments) -> Json:
    """Another role, a renewed qualification, a new password, or gone: by an admin, for a reason."""
    new = ask.model_dump(exclude_unset=True, exclude={"name", "reason"})
    return await desk.staff.change(who.name, ask.name, ask.reason, **new)


async def password(desk: Desk, who: Principal, ask: PasswordArguments) -> Json:
    """One's own password, by who gives the old one with it."""
    return await desk.staff.renew_password(who.name, ask.password)


async def people(desk: Desk, who: Principal, ask: NoArguments) -> Json:
    """Who is known here, as what, and until when."""
    del who, ask
    return desk.staff.all()
