"""Tare and zero of a balance, at a person's word: asked, allowed, carried out between two polls, and recorded.

Where a sampling rule weighs there, its plan says whose business a tare is: one that the gateway takes off must not be
taken off at the balance as well (docs/plans.md).  While it lasts the balance is not polled: rules do not count that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from gateway.config.reading import Settings
from gateway.drivers.base import Device, Tarable
from gateway.errors import NotDone, Refused
from gateway.journal import Journal
from gateway.line.batch import Run
from gateway.model import Json, Reading, Scan, Value
from gateway.station.errands import Errand

TARE: Final = "tare"
ZERO: Final = "zero"
RECORDS: Final[Mapping[str, str]] = {TARE: "balance.tared", ZERO: "balance.zeroed"}
NOT_DONE: Final = "balance.not_done"


class ErrandPort(Protocol):
    """What is needed of a station."""

    def send(self, errand: Errand) -> None: ...


class Balances:
    """All of the line's."""

    def __init__(
        self, settings: Settings, run: Run, journal: Journal, latest: Mapping[str, Scan], commit: Callable[[], object]
    ) -> None:
        self.stations: Mapping[str, ErrandPort] = {}
        self._settings = settings
        self._run = run
        self._journal = journal
        self._latest = latest
        self._commit = commit
        self._took_ns: dict[str, int] = {}
        """Device -> for how long it was not polled."""

    async def order(self, what: str, device: str, person: str) -> Json:
        """Tare or zero it; answers with what it shows afterwards.

        Refused: no such balance, not connected, busy, not as the plan has it, or not shown by the balance itself.
        """
        self._may(what, device)
        errand = Errand(what, partial(self._carry_out, what, device), self._settings.devices[device].tare_within_s)
        before = _text(self._shown(device))
        errand.done.add_done_callback(partial(self._note, what, device, before, person))
        self.stations[device].send(errand)
        try:
            reading = await errand.shown()
        except NotDone as error:
            raise Refused("not_done", str(error)) from error
        return {"device": device, "shown": _text(reading.values[0]), "unit": self._unit(device)}

    def _may(self, what: str, device: str) -> None:
        config = self._settings.devices.get(device)
        if config is None or not config.tarable():
            known = [name for name, each in self._settings.devices.items() if each.tarable()]
            lacks = f"{device} cannot be tared or zeroed from here" if config else f"there is no device {device!r}"
            raise Refused("no_such_balance", f"{lacks}; balances: {', '.join(known) or 'none'}")
        for rule, plan, pan in self._run.rules.weighing_on(device):
            tared = next((each.name for each in plan.characteristics if each.tare is not None), None)
            if pan.take is not None:
                whose = f"{pan.take.person}'s take for {pan.take.check or 'a tare'}"
                raise Refused("sample_open", f"{whose} waits for {device}: weigh it first, or wait until it lapses")
            if what == TARE and tared is not None:
                raise Refused(
                    "tare_is_ours",
                    f"{rule} takes the tare of {tared} off itself: tared at the balance it would count twice; "
                    f"weigh the empty one with `linegate tare {rule}`, or zero the empty pan",
                )
            if what == ZERO and not pan.empty:
                raise Refused("pan_occupied", f"something lies on {device}: take it off, then zero it")

    async def _carry_out(self, what: str, name: str, device: Device) -> Reading:
        """Its turn has come: is it still allowed?"""
        try:
            self._may(what, name)
        except Refused as refusal:
            raise NotDone(f"not begun: {refusal}") from None
        if not isinstance(device, Tarable):
            raise NotDone(f"{name} has no way to {what}")
        with self._kept_busy(name):
            return await (device.tare() if what == TARE else device.zero())

    @contextmanager
    def _kept_busy(self, device: str) -> Iterator[None]:
        """Rules over it, and over what is derived from it, do not take its silence for a loss."""
        silent = self._settings.fed_by(device)
        began_ns = _now_ns()
        for name in silent:
            self._run.engine.begin_busy(name, began_ns)
        try:
            yield
        finally:
            self._took_ns[device] = _now_ns() - began_ns
            for name in silent:
                self._run.engine.end_busy(name, _now_ns())

    def _note(self, what: str, device: str, before: str | None, person: str, done: asyncio.Future[Reading]) -> None:
        """What became of it, whoever still waits for the answer; one that was never begun is no record."""
        if done.cancelled():
            return
        kind, became = self._became(what, done)
        took = str(self._took_ns.pop(device, 0))
        body = {"device": device, "before": before, "unit": self._unit(device), **became, "took_ns": took}
        self._journal.note(kind, body, batch=self._run.running, by=person)
        self._commit()

    @staticmethod
    def _became(what: str, done: asyncio.Future[Reading]) -> tuple[str, dict[str, Json]]:
        error = done.exception()
        if error is not None:
            return NOT_DONE, {"what": what, "text": str(error)}
        reading = done.result()
        raw = reading.raw.decode("latin-1").strip() if reading.raw else ""
        return RECORDS[what], {"shown": _text(reading.values[0]), "raw": raw}

    def _unit(self, device: str) -> str:
        return self._settings.tagsets[device].units[0]

    def _shown(self, device: str) -> Value:
        scan = self._latest.get(device)
        return scan.values[0] if scan is not None else None


def _now_ns() -> int:
    return int(asyncio.get_running_loop().time() * 1e9)


def _text(value: Value) -> str | None:
    return None if value is None else str(value)
