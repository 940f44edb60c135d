"""What commands act on: the line, the batch, people and evidence, on one desk."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from gateway.alarms.stats import Tally, document
from gateway.batch.complete import findings
from gateway.batch.report import ReportData, render
from gateway.capability import Charts, capabilities
from gateway.config.model import RawRule
from gateway.config.reading import Settings
from gateway.errors import Refused
from gateway.glance import NOTE, Glance
from gateway.journal import Journal
from gateway.line.balances import Balances
from gateway.line.batch import Run
from gateway.line.gates import Gates
from gateway.line.line import Line
from gateway.line.scans import Scans
from gateway.model import Identity, Json, Lane, Principal
from gateway.people import People
from gateway.staff import Staff
from gateway.store.evidence import Evidence
from gateway.store.telemetry import Telemetry
from gateway.world import World

GUESSING: Final = "gateway:logins"
LONGEST_NAME: Final = 150
"""Of a folder: file systems take 255 bytes."""


class Desk:
    """Hands the commands what they need; does what takes longer than a call."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        line: Line,
        run: Run,
        journal: Journal,
        people: People,
        evidence: Evidence,
        telemetry: Telemetry,
        world: World,
        workers: Executor,
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.line = line
        self.run = run
        self.journal = journal
        self.people = people
        self.staff = Staff(people, journal)
        self.scans = Scans(settings, run, line.alarms, journal, world)
        self.gates = Gates(
            settings,
            run,
            line.alarms,
            journal,
            people,
            world,
            line.latest,
            lambda: line.unrecorded,
            evidence.load_state("instrument"),
            line.demand,
            line.clock,
            line.identities,
        )
        self.balances = Balances(settings, run, journal, line.latest, line.commit)
        line.live.append(self.gates.watch)
        self.glance = Glance(journal.board, self._about, line.latest)
        self._evidence = evidence
        self._telemetry = telemetry
        self._world = world
        self._workers = workers

    def _about(self) -> dict[str, Json]:
        """The gateway itself, for who looks at the line."""
        return {
            "id": self.identity.gateway_id,
            "version": self.identity.version,
            "boot": self.identity.boot_id,
            "ledger": self._evidence.ledger_id,
            "records": self._evidence.size,
            "note": NOTE,
        }

    # -- people ----------------------------------------------------------------------------------

    async def authenticate(self, name: str, password: str) -> Principal:
        """Raises Refused `bad_login` or `too_many_attempts`; who guesses on and on is an alarm (21 CFR 11.300(d))."""
        try:
            person = await self.people.authenticate(name, password)
        except Refused as refusal:
            if refusal.code == "too_many_attempts" and self.line.alarms.is_acknowledged(GUESSING):
                self.line.alarms.tell(GUESSING, f"somebody tries passwords: {refusal}")
                self.line.commit()
            raise
        return Principal(person.name, frozenset(person.roles), "http", person.full_name)

    def sign(self, batch: str, step: str, who: Principal, comment: str) -> Json:
        """A signature, by a person whose qualification has not run out."""
        self.people.may_sign(who.name)
        return self.gates.sign(batch, step, who, comment)

    def open_gate(self, batch: str, gate: str, reason: str, who: Principal) -> Json:
        """A gate opened all the same, by a person whose qualification has not run out."""
        self.people.may_sign(who.name)
        return self.gates.override(batch, gate, reason, who)

    # -- the record ------------------------------------------------------------------------------

    def records_now(self) -> None:
        """Refused `not_recorded` while the evidence store takes nothing: what cannot be recorded is not done."""
        if self.line.unrecorded:
            raise Refused("not_recorded", f"nothing can be recorded now, so nothing is done: {self.line.unrecorded}")

    async def recorded(self) -> None:
        """Wait until everything so far is durable; a halt just ordered goes first.  StoreError if it cannot be."""
        await self.line.settled()
        await self.journal.durable()

    def refused(self, command: str, who: Principal, refusal: Refused) -> None:
        """A command that was not carried out is a record too, where a person or the MES stood behind it."""
        if not who.name:
            return
        body = {"command": command, "door": who.door, "code": refusal.code, "text": str(refusal)}
        self.journal.note("command.refused", body, batch=self.run.running, by=who.name)
        self.journal.commit()

    # -- what takes longer -----------------------------------------------------------------------

    async def close(self, batch: str, disposition: str, reasons: Mapping[str, str], who: Principal) -> Json:
        """Disposition, against the findings of the record as it stands, by a person who may still sign.

        What changed while it was read (a count, a tray) is read again: nobody has given a reason for it yet.
        """
        while True:
            seen = self.run.batch(batch)
            await self.journal.durable()
            records = await self.records(batch)
            # 20,000 records take 0.14 s: not on the loop that judges
            found = await asyncio.get_running_loop().run_in_executor(self._workers, findings, records)
            self.people.may_sign(who.name)
            if self.run.batch(batch) is seen:
                return self.run.close(batch, disposition, reasons, found, who)

    def dispose_tray(self, batch: str, tray: str, disposition: str, reason: str, who: Principal) -> Json:
        """A word on a tray, by a person whose qualification has not run out."""
        self.people.may_sign(who.name)
        return self.run.dispose_tray(batch, tray, disposition, reason, who)

    def now_ns(self) -> int:
        """Wall clock, Unix ns."""
        return self._world.time_ns()

    async def alarm_stats(self, from_ns: int, to_ns: int) -> Json:
        """The figures of the alarms between two times (wall clock, Unix ns), counted from the records."""
        await self.journal.durable()
        tally, after = Tally(from_ns, to_ns), -1
        for first in await self._evidence.read(-1, 1):
            tally.cut(first.time_ns, self.now_ns() + 1)
        while chunk := await self._evidence.read(after, 1000, lanes=(Lane.ALARMS,)):
            for record in chunk:
                if record.kind.startswith("alarm."):
                    tally.take(record.kind, msgspec.json.decode(record.payload)["body"], record.time_ns)
            after = chunk[-1].index
            await asyncio.sleep(0)
        return document(tally.figures())

    async def records(self, batch: str) -> list[dict[str, Json]]:
        """Every record of the batch, in order, as documents."""
        found: list[dict[str, Json]] = []
        after = -1
        while True:
            chunk = await self._evidence.read(after, 1000, batch=batch)
            found += [{**msgspec.json.decode(record.payload), "hash": record.hash.hex()} for record in chunk]
            if len(chunk) < 1000:
                return found
            after = chunk[-1].index

    async def export(self, batch: str) -> dict[str, str]:
        """Write report and bundle; answers with their paths."""
        recipe = self.run.recipe_of(batch)
        await self.journal.durable()
        await self._evidence.sign_checkpoint(f"export of {batch}")
        folder = Path(self.settings.gateway.state_dir) / "batches" / folder_of(batch)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        records = await self.records(batch)
        series, able = await self._series(batch, records), await self._capability(records)
        data = ReportData(records, series, recipe, self._proof(), capability=able)
        html: str = await asyncio.get_running_loop().run_in_executor(self._workers, render, data)
        report, bundle = folder / "report.html", folder / "evidence.zip"
        await asyncio.to_thread(report.write_text, html, encoding="utf-8")
        await self._evidence.export_bundle(batch, bundle, {"report.html": html.encode()})
        return {"report": str(report), "bundle": str(bundle)}

    async def capability(self, batch: str) -> Json:
        """What the checks of a batch, done or not, say of the process; the values themselves are in the report.

        Refused: no_such_batch.
        """
        self.run.batch(batch)
        await self.journal.durable()
        found = await self._capability(await self.records(batch))
        for row in found["variables"]:
            del row["each"]
        return {"batch": batch, **found}

    async def _capability(self, records: list[dict[str, Json]]) -> Json:
        return await asyncio.get_running_loop().run_in_executor(self._workers, capabilities, records, self._charts())

    def _charts(self) -> Charts:
        rules = self.settings.rules.values()
        return {rule.name: (rule.data["of"], rule.data.get("characteristic")) for rule in rules if _follows(rule)}

    async def _series(self, batch: str, records: list[dict[str, Json]]) -> Mapping[str, list[tuple[int, float | None]]]:
        """The plotted tags over the batch's time."""
        start, end = int(records[0]["time"]), int(records[-1]["time"])
        tags = self.run.plotted(batch)
        return {tag: await self._telemetry.series(tag, start, end, 2000) for tag in tags}  # type: ignore[misc]

    def _proof(self) -> dict[str, Json]:
        return {
            "ledger": self._evidence.ledger_id,
            "size": self._evidence.size,
            "checkpoint": self._evidence.checkpoint(),
            "gateway": self.identity.gateway_id,
            "devices": {
                name: {"identity": dict(self.line.identities.get(name, {})), "address": config.address()}
                for name, config in self.settings.devices.items()
            },
        }


def _follows(rule: RawRule) -> bool:
    """Is it a control chart over the checks of another rule?"""
    return rule.kind == "spc" and isinstance(rule.data.get("of"), str)


def folder_of(batch: str) -> str:
    """A folder's name for a batch number, whatever the MES calls its batches: never a way out of the folder above."""
    name = quote(batch, safe=" ")
    if len(name) > LONGEST_NAME:
        return hashlib.sha256(batch.encode()).hexdigest()
    return f"%2E{name[1:]}" if name.startswith(".") else name
