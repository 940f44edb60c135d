"""The instruments of the line: their register, the daily check, and an alarm for what must not be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from gateway.batch import instruments
from gateway.batch.instruments import Checked, Instrument, Standing, Trouble
from gateway.batch.lifecycle import BatchState
from gateway.batch.overrides import newest
from gateway.config.model import Settings
from gateway.errors import Refused
from gateway.instruments import RegisterFile
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.model import Json, Principal, Scan
from gateway.world import World

FRESH_NS: Final = 5_000_000_000
"""A daily check takes no older reading than this."""
WORD: Final = "instrument"
"""Begins the names of these alarms."""


class Instruments:
    """The register as it is now, and the last check of each."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        alarms: Alarms,
        journal: Journal,
        world: World,
        latest: Mapping[str, Scan],
        checks: Mapping[str, Json],
        identities: Mapping[str, Mapping[str, str]],
    ) -> None:
        """`checks`: those of the last run of the process.  `identities`: what each device says of itself."""
        self.register = RegisterFile(settings.gateway.instruments)
        self._run, self._alarms, self._journal, self._world, self._latest = run, alarms, journal, world, latest
        self._identities = identities
        self._checks = {name: msgspec.convert(row, Checked, strict=False) for name, row in checks.items()}
        """The last daily check of each instrument."""
        self._unfit = True
        """There may be an alarm of these; after a restart, too."""
        alarms.owners[WORD] = self._is_registered
        self.look()

    def look(self) -> None:
        """Read the register again if it changed."""
        self.register.look()

    @property
    def trouble(self) -> str:
        """Why the register cannot be read."""
        return self.register.trouble

    @property
    def names(self) -> list[str]:
        """What there is to be asked for: a register that cannot be read is asked for, too."""
        return [*self.register.entries, *([self.trouble] if self.trouble else [])]

    def standings(self) -> list[Standing]:
        return [self._standing(name, one) for name, one in self.register.entries.items()]

    def _standing(self, name: str, entry: Instrument) -> Standing:
        return Standing(name, entry, self._checks.get(name), self._told(entry))

    def _told(self, entry: Instrument) -> str:
        """The serial number its device says it has, where that is of no instrument registered for this device."""
        told = self._identities.get(entry.device or "", {}).get("serial", "")
        registered = (one for one in self.register.entries.values() if one.device == entry.device)
        return "" if any(instruments.is_it(one, told) for one in registered) else told

    # -- the daily check -------------------------------------------------------------------------

    def check(self, name: str, value: Decimal | None, unit: str, comment: str, who: Principal) -> Json:
        """The daily check of an instrument.  Without a value: what it shows now.  Refused: no_such_instrument, ..."""
        self.look()
        entry = self.register.entries.get(name)
        if entry is None:
            known = ", ".join(self.register.entries) or self.register.trouble or "none"
            raise Refused("no_such_instrument", f"the register has no {name!r}; it has {known}")
        if exchanged := instruments.other(name, entry, self._told(entry)):
            raise Refused("another_instrument", exchanged)
        source, raw = "entered", ""
        if value is not None and entry.reading is not None:
            text = f"{name} is read by the gateway ({entry.reading}): put its standard on, and give no value"
            raise Refused("read_by_gateway", text)
        if value is None:
            value, unit, raw = self._reading(name, entry.reading)
            source = entry.reading or ""
        now_ns = self._world.time_ns()
        made, draft = instruments.checked(
            name, entry, value, unit or (entry.check.unit if entry.check else ""), source, who, now_ns,
            raw=raw, comment=comment,
        )  # fmt: skip
        self._checks[name] = made
        self._journal.keep("instrument", name, msgspec.to_builtins(made))
        self._journal.add((msgspec.structs.replace(draft, batch=self._run.running),))
        self.tell()
        return {"instrument": name, "passed": made.passed, "text": instruments.said(made)}

    def _reading(self, name: str, tag: str | None) -> tuple[Decimal, str, str]:
        """What the instrument shows now: stable, fresh, a number.  Refused: no_reading, not_stable."""
        if tag is None:
            raise Refused("no_reading", f"{name} is not read by the gateway; give the value you read")
        device, _, at_name = tag.partition("/")
        scan = self._latest.get(device)
        if scan is None or self._world.time_ns() - scan.time_ns > FRESH_NS:
            raise Refused("no_reading", f"{device} has not been heard of; look at its link")
        at = scan.tagset.index[at_name]
        fault, value = scan.faults.get(at), scan.values[at]
        if fault is not None or isinstance(value, (bool, str)) or value is None:
            raise Refused("not_stable", f"{tag} shows nothing to go by: {fault.reason if fault else 'no number'}")
        raw = scan.raw.decode("ascii", "backslashreplace") if scan.raw else ""
        return Decimal(str(value)), scan.tagset.units[at], raw

    # -- what must not be used -------------------------------------------------------------------

    def watch(self) -> None:
        """One that is due in mid-batch is told; while it is, the register is looked at for a new date."""
        batch = self._run.current
        running = batch is not None and batch.state is BatchState.RUNNING
        if not running and not self._unfit:
            return
        if self._unfit:
            self.look()
        self.tell()
        self._unfit = running and any(name.startswith(f"{WORD}:") for name in self._alarms.standing)

    def tell(self) -> None:
        """An alarm for each that must not be used: its check failed; or a batch runs, and it is due in the middle."""
        now_ns, wanted = self._world.time_ns(), self._wanted()
        told: dict[str, list[str]] = {}
        for standing in self.standings():
            name, entry = standing.name, standing.entry
            texts = told.setdefault(f"{WORD}:{entry.device or name}", [])
            if instruments.failed(standing):
                said = instruments.said(self._checks[name])
                texts.append(f"{said}; do not use it, and look at what it judged since its last check")
            else:
                texts += [one.text for one in instruments.troubles(standing, now_ns) if wanted(name, entry, one)]
        for alarm, texts in told.items():
            self._alarms.stand(alarm, "; ".join(texts), subject=alarm.partition(":")[2])

    def _wanted(self) -> Callable[[str, Instrument, Trouble], bool]:
        """Is it in the way of the batch that runs?  What was overridden at its start is not."""
        batch = self._run.current
        if batch is None or batch.state is not BatchState.RUNNING:
            return lambda *_: False
        rule = self._run.recipe_of(batch.number).asked(self.names).get("instruments")
        if rule is None:
            return lambda *_: False
        made = newest(batch, "instruments")
        covered = made.covers if made else ()
        return lambda name, entry, one: (
            one.key not in covered and (not rule.needs or bool({name, entry.kind} & set(rule.needs)))
        )

    def _is_registered(self, name: str) -> bool:
        """Can it be checked again?  While the register cannot be read nobody knows."""
        known = (name in (key, entry.device) for key, entry in self.register.entries.items())
        return bool(self.register.trouble) or any(known)

    def registered(self) -> Json:
        """The register with what is due and what stands in the way."""
        self.look()
        now_ns = self._world.time_ns()
        shown = []
        for name, entry in self.register.entries.items():
            standing = self._standing(name, entry)
            troubles = [one.text for one in instruments.troubles(standing, now_ns)]
            facts = {"instrument": name, "kind": entry.kind, "serial": entry.serial, "due": str(entry.due)}
            says = instruments.evidence(standing)
            shown.append({**facts, "usable": not troubles, "troubles": troubles, "says": says})
        return {"instruments": shown, "trouble": self.register.trouble}
