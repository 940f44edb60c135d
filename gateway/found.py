"""What the files were like at the start: whatever is not as it was left is a record and an alarm."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from gateway.journal import Journal
from gateway.line.line import Line
from gateway.model import Json, Lane
from gateway.people import PERSON, People, rights
from gateway.store.evidence import Evidence
from gateway.store.latches import LatchFile
from gateway.store.telemetry import Telemetry
from gateway.witness import as_text

log = structlog.get_logger()

GONE: Final = (
    "the ledger and its checkpoint are gone, and there is a latch file of an earlier run: a new ledger was begun. What "
    "the old one said is with the MES and in exported bundles"
)


class Found:
    """Of one start."""

    def __init__(self, evidence: Evidence, telemetry: Telemetry, latch_file: LatchFile, people: People) -> None:
        self._evidence = evidence
        self._telemetry = telemetry
        self._latch_file = latch_file
        self._people = people

    def latches(self) -> Mapping[str, Json] | None:
        """What the latch file says; None where it is gone: it is there from before the first record on."""
        latches = self._latch_file.read()
        if not self._latch_file.missing:
            return latches
        if self._evidence.size or self._evidence.quarantined:
            return None
        with contextlib.suppress(OSError):  # written again with the first latch, and then it is told
            self._latch_file.write({})
        return {}

    def tell(self, journal: Journal, line: Line, batch: str | None) -> None:
        """Once `latches` was read."""
        for store, facts in self._damaged():
            body = {"store": store, **as_text(facts)}
            journal.note("store.quarantined", body, batch=batch, lane=Lane.ALARMS)
            told = "; ".join(f"{key} {value}" for key, value in body.items() if value)
            line.alarms.tell(f"gateway:{store}", f"a store was damaged: {told}")
        for store, text in self._different():
            journal.note("store.differs", {"store": store, "text": text}, batch=batch, lane=Lane.ALARMS)
            line.alarms.tell(f"gateway:{store}-differs", text)
            log.error("a file is not as it was left", store=store, text=text)
        self._keep_people(journal)

    def _keep_people(self, journal: Journal) -> None:
        """What the next start compares with."""
        known, now = self._evidence.load_state(PERSON), {one.name: rights(one) for one in self._people}
        for name in known.keys() | now.keys():
            if known.get(name) != now.get(name):
                journal.keep(PERSON, name, now.get(name))

    def _damaged(self) -> list[tuple[str, Mapping[str, Json]]]:
        """Files that were put aside, and what is known of each."""
        found: list[tuple[str, Mapping[str, Json]]] = []
        if self._evidence.quarantined:
            found.append(("evidence", msgspec.to_builtins(self._evidence.quarantined)))
        texts = [
            ("telemetry", self._telemetry_damage()),
            ("latches", self._latch_file.damaged),
            *(("people", note) for note in self._people.notes),
        ]
        return found + [(store, {"text": text}) for store, text in texts if text]

    def _telemetry_damage(self) -> str:
        if self._telemetry.fresh and self._evidence.size and not self._telemetry.quarantined:
            return "the file is gone; a new one was begun, what no sink had confirmed is lost"
        return self._telemetry.quarantined

    def _different(self) -> list[tuple[str, str]]:
        """Files that are sound in themselves, and not the ones that we left."""
        found = [("checkpoint", self._evidence.beside)] if self._evidence.beside else []
        if self._evidence.began and not self._latch_file.missing:
            found.append(("evidence", GONE))
        people = self._people_changed()
        return [*found, ("people", people)] if people else found

    def _people_changed(self) -> str:
        """Who came, went, or may do something else, behind our back.  The ledger knows whom we added, and as what."""
        known, now = self._evidence.load_state(PERSON), {one.name: rights(one) for one in self._people}
        if not known:
            return ""
        told = [f"{name} is gone" for name in sorted(known.keys() - now.keys())]
        told += [f"{name} is new ({_said(now[name])})" for name in sorted(now.keys() - known.keys())]
        told += [
            f"{name} was {_said(known[name])} and is {_said(now[name])}"
            for name in sorted(known.keys() & now.keys())
            if known[name] != now[name]
        ]
        return f"the people file was changed while the gateway was down: {'; '.join(told)}" if told else ""


def _said(facts: Json) -> str:
    roles = ", ".join(facts["roles"]) or "nothing"
    until = f" until {facts['until']}" if facts["until"] else ""
    return f"{roles}{until}{' (disabled)' if facts['disabled'] else ''}"
