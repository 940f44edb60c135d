"""Signed checkpoints for witnesses outside the box: at batch start and end, at every halt, each minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gateway.errors import StoreError
from gateway.journal import Journal
from gateway.model import Json
from gateway.store.evidence import Evidence
from gateway.store.telemetry import Telemetry

log = structlog.get_logger()

MINUTE_S: Final = 60.0
EACH_MINUTE: Final = "each minute"
AGAIN_S: Final = 1.0


class Witness:
    """Signs the ledger's tree when it is worth it; each minute with a root over the telemetry stored since."""

    def __init__(
        self, journal: Journal, evidence: Evidence, telemetry: Telemetry, batch: Callable[[], str | None]
    ) -> None:
        self._journal = journal
        self._evidence = evidence
        self._telemetry = telemetry
        self._batch = batch
        self._minute_s = 0.0

    async def run(self) -> None:
        """For ever.  A store that takes nothing now only makes a checkpoint late."""
        self._minute_s = asyncio.get_running_loop().time() + MINUTE_S
        while True:
            why = await self._worth_it()
            try:
                await self._journal.durable()
                await self._evidence.sign_checkpoint(why)
            except StoreError as error:
                log.warning("no checkpoint", why=why, reason=str(error), next="at the next occasion")
                await asyncio.sleep(AGAIN_S)

    async def _worth_it(self) -> str:
        """Wait for the next occasion; what it is, for the note."""
        loop = asyncio.get_running_loop()
        why = EACH_MINUTE
        try:
            async with asyncio.timeout_at(self._minute_s):
                why = await self._journal.witnessed()
        except TimeoutError:
            pass
        if loop.time() >= self._minute_s:
            self._minute_s = loop.time() + MINUTE_S
            self._cover_telemetry()
        return why

    def _cover_telemetry(self) -> None:
        covered = self._telemetry.root_since_last()
        if covered is not None:
            self._journal.note("telemetry.root", as_text(covered._asdict()), batch=self._batch())


def as_text(facts: Mapping[str, Json]) -> dict[str, Json]:
    """A record body: counters and positions as decimal strings."""
    return {key: value if isinstance(value, (str, dict)) else str(value) for key, value in facts.items()}
