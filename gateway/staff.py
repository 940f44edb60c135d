"""People come, change and go: each change is a record, known to the next start, and ends the sessions it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.errors import Refused
from gateway.journal import Journal
from gateway.model import Json
from gateway.people import PERSON, People, Person, rights


class Staff:
    """The people file, with its record.  Nobody is ever taken out of it: who left is disabled."""

    def __init__(self, people: People, journal: Journal) -> None:
        self.changed: list[Callable[[str], None]] = []
        """Told the name of each person who was changed, once that is in force."""
        self._people, self._journal = people, journal

    async def add(self, by: str, name: str, full_name: str, roles: Iterable[str], password: str, until: Json) -> Json:
        """A new person, by an admin; recorded without the password.  Refused as `People.add`."""
        return self._noted(await self._people.add(name, full_name, roles, password, until), by)

    async def add_first(
        self, token: str, name: str, full_name: str, roles: Iterable[str], password: str, until: Json
    ) -> Json:
        """The first one, by the token of the first run.  Refused as `People.add_first`."""
        person = self._people.add_first(token, name, full_name, password, roles=roles, qualified_until=until)
        return self._noted(await person, "first run")

    async def change(self, by: str, name: str, reason: str, **new: Any) -> Json:
        """What is given of `People.change`, by an admin, for a reason.  Refused `reason_missing`, and as it."""
        if not any(letter.isalpha() for letter in reason):
            raise Refused("reason_missing", f"say why {name} is changed, in words: it is recorded")
        before, after = await self._people.change(name, **new)
        was = {key: value for key, value in _said(before).items() if _said(after)[key] != value}
        return self._noted(after, by, before=was, reason=reason, password="password" in new)

    async def renew_password(self, name: str, password: str) -> Json:
        """One's own.  Refused as `People.change`."""
        _, after = await self._people.change(name, password=password)
        return self._noted(after, name, password=True)

    def all(self) -> list[Json]:
        """Everybody, without secrets, by name; `over`: the qualification is."""
        everybody = sorted(self._people, key=lambda each: each.name)
        return [{**_said(person), "over": self._people.is_over(person)} for person in everybody]

    def _noted(self, person: Person, by: str, **more: Json) -> Json:
        body = {**_said(person), **more}
        self._journal.note("people.changed", body, batch=None, by=by)
        self._journal.keep(PERSON, person.name, rights(person))
        for tell in self.changed:
            tell(person.name)
        return body


def _said(person: Person) -> dict[str, Json]:
    until = person.qualified_until
    return {
        "person": person.name,
        "full_name": person.full_name,
        "roles": sorted(person.roles),
        "qualified_until": str(until) if until else None,
        "disabled": person.disabled,
    }
