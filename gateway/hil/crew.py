"""What people do at a line, through the doors of the gateway: the same on a simulated line and on a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from gateway.demo.start import sign
from gateway.errors import LinegateError, Refused
from gateway.model import Json

LOOKS: Final = 20
"""How often somebody looks again because something changed between the look and the word."""


class Person(Protocol):
    """Somebody logged in."""

    def command(self, name: str, /, *, signed: bool = False, **arguments: Json) -> Json: ...

    def status(self) -> dict[str, Json]: ...


class Crew:
    """The people, by the names scenarios give them, and what they do over and over."""

    def __init__(self, people: Mapping[str, Person], roles: Mapping[str, str]) -> None:
        """`roles`: role -> who has it."""
        self._people = people
        self._roles = roles

    def __getitem__(self, name: str) -> Person:
        if name not in self._people:
            raise LinegateError(f"nobody is called {name!r} here; there are {', '.join(self._people)}")
        return self._people[name]

    def status(self) -> dict[str, Any]:
        return dict(next(iter(self._people.values())).status())

    def acknowledge(self, by: str = "tom", alarm: str = "all", comment: str = "seen") -> None:
        """What stands unacknowledged, in the occurrence that is shown."""
        standing = self.status().get("alarms") or {}
        if alarm != "all" and alarm not in standing:
            raise LinegateError(f"alarm {alarm} does not stand; there are {', '.join(standing) or 'none'}")
        for name, each in standing.items():
            if each["state"] in ("unack", "rtn_unack") and alarm in ("all", name):
                occurrence = int(each["occurrence"])
                self[by].command("alarm.acknowledge", alarm=name, occurrence=occurrence, comment=comment)

    def release(self, device: str, reason: str, recalibration: str, by: str = "tom") -> None:
        """Acknowledge what stands and take the latches off; what changed between look and word is looked at again."""
        for left in reversed(range(LOOKS)):
            try:
                self.acknowledge(by)
                self._release(device, reason, recalibration, by)
            except Refused as refusal:
                if not left or refusal.code not in {"changed", "another_occurrence", "not_acknowledged"}:
                    raise
            else:
                return

    def _release(self, device: str, reason: str, recalibration: str, by: str) -> None:
        for halt in (self.status().get("halts") or {}).values():
            if halt["device"] == device:
                facts = {"halt": halt["halt"], "version": halt["version"]}
                self[by].command("halt.release", signed=True, reason=reason, recalibration=recalibration, **facts)

    def sign_all(self, batch: str, step: str = "all") -> None:
        """Whoever may sign what is missing signs it."""
        while missing := (self.status()["batch"].get("unsigned") or []):
            wanted = [each for each in missing if step in ("all", each["step"])]
            if not wanted:
                return
            first = wanted[0]
            who = self[self._roles[first["role"]]]
            sign(who, batch, first["step"])

    def shut(self, batch: str, reason: str) -> dict[str, Any]:
        """Acknowledged, signed, suspect trays rejected, disposed of; answers with the body of `batch.closed`."""
        self.acknowledge()
        self.sign_all(batch)
        quinn = self[self._roles["qa"]]
        for tray in self.status()["batch"].get("suspect") or []:
            words = {"tray": tray, "disposition": "rejected", "reason": reason or "suspect"}
            quinn.command("batch.tray", signed=True, batch=batch, **words)
        closed = {"batch": batch, "disposition": "released", "reason": reason}
        return dict(quinn.command("batch.close", signed=True, **closed))


def refused_with(code: str, act: Callable[[], object]) -> None:
    """Do it; it must be refused with that code.  LinegateError: it was not, or with another."""
    try:
        act()
    except Refused as refusal:
        if refusal.code == code:
            return
        raise LinegateError(f"refused with {refusal.code!r} instead of {code!r}: {refusal}") from refusal
    raise LinegateError(f"it was taken; it should be refused with {code!r}")


def answered(answer: Mapping[str, Any], code: str) -> None:
    """The answer to the MES is the one that was meant."""
    if code and not answer["ok"] and answer.get("code") == code:
        return
    if code or not answer["ok"]:
        wanted = f"refused with {code!r}" if code else "taken"
        raise LinegateError(f"it should be {wanted}; the answer was {dict(answer)}")
