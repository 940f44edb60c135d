"""The nouns of the line, as small frozen types.  Units stand in names: time_ns, timeout_s, mass_g.

Nothing here does anything: no I/O, no clock, no dice.  Every other room speaks in these words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import msgspec

Value = float | int | bool | str | Decimal | None
"""What a tag holds.  None exactly where the quality is bad; Decimal where the device gave decimals as text."""

Json = Any
"""A JSON document: dict, list, str, int, float, bool or None.  Only at the edges."""


class Quality(IntEnum):
    """OPC UA's three families.  Bad is never a number; uncertain may be (a balance still settling)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Severity(IntEnum):
    """What a rule says now."""

    NORMAL = 0
    WARNING = 1
    ALARM = 2
    HALT = 3


class Priority(StrEnum):
    """ISA-18.2 alarm priority."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Lane(IntEnum):
    """Delivery lanes, most urgent first; strict order within one, lower ones wait."""

    ALARMS = 0
    EVIDENCE = 1
    TELEMETRY = 2
    HISTORY = 3


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Why a value is not good."""

    quality: Quality
    reason: str


NO_FAULTS: Final[Mapping[int, Fault]] = MappingProxyType({})
NO_STAMPS: Final[Mapping[int, int]] = MappingProxyType({})


class TagSpec(msgspec.Struct, frozen=True):
    """A tag as its device's configuration declares it: known before the device was ever reached."""

    name: str
    unit: str = "1"
    """UCUM code: Cel, g, mPa.s, mm, %, 1."""
    kind: str = "number"
    """number, decimal, bool or text."""


@lru_cache(maxsize=32)
def _columns(specs: tuple[TagSpec, ...]) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, int]]:
    """Names, units, positions: a hundred devices of one kind have them between them."""
    names = tuple(spec.name for spec in specs)
    return names, tuple(spec.unit for spec in specs), {name: position for position, name in enumerate(names)}


class TagSet:
    """The tags of one device's scans, interned: one object for the device's life, compared by identity."""

    __slots__ = ("device", "index", "names", "specs", "tags", "units")

    def __init__(self, device: str, specs: Sequence[TagSpec]) -> None:
        self.device = device
        self.specs = tuple(specs)
        self.tags, self.units, self.index = _columns(self.specs)
        self.names = tuple(f"{device}/{spec.name}" for spec in specs)

    def __repr__(self) -> str:
        return f"TagSet({self.device}: {', '.join(self.tags)})"

    def all_bad(self, reason: str) -> Mapping[int, Fault]:
        """Faults for a scan that brought nothing."""
        fault = Fault(Quality.BAD, reason)
        return dict.fromkeys(range(len(self.tags)), fault)


class Reading(msgspec.Struct, frozen=True):
    """What `Device.poll()` brings: values aligned with the config's tags; None and a fault where bad."""

    values: tuple[Value, ...]
    faults: Mapping[int, Fault] = NO_FAULTS
    """Position -> fault.  A bad position's value is None."""
    source_ns: Mapping[int, int] = msgspec.field(default_factory=dict)
    """Position -> the device's own time stamp, where it gives one (OPC UA sourceTimestamp)."""
    raw: bytes | None = None
    """The device's own bytes, where they are evidence (a balance's line)."""
    held: bool | None = None
    """The machine's own word on whether it stands still; None where it does not say."""
    changed: frozenset[int] | None = None
    """A sparse reading: only these positions are new, the others stand as they were.  None: all are."""
    server_ns: Mapping[int, int] = NO_STAMPS
    """Position -> when the device's server had the value, where it was asked for (OPC UA serverTimestamp)."""


class Scan(msgspec.Struct, frozen=True):
    """One poll or notification of a device, stamped by its station."""

    tagset: TagSet
    seq: int
    """Gateway-wide and contiguous within one boot: `(boot_id, seq)` names a scan for ever."""
    time_ns: int
    """Wall clock of acquisition, Unix nanoseconds."""
    mono_ns: int
    """The loop's monotonic clock, nanoseconds."""
    values: tuple[Value, ...]
    faults: Mapping[int, Fault] = NO_FAULTS
    source_ns: Mapping[int, int] = msgspec.field(default_factory=dict)
    raw: bytes | None = None
    held: bool | None = None
    boot: str = ""
    """Boot id of a scan read back from the store; empty: this boot's own."""
    changed: frozenset[int] | None = None
    """Positions that are new in this scan; None: all.  The others stand as they were: no new sample of anything."""
    server_ns: Mapping[int, int] = NO_STAMPS

    @property
    def device(self) -> str:
        return self.tagset.device


class Tick(msgspec.Struct, frozen=True):
    """The Line's one timer: staleness, delays, overdue checks."""


class Entry(msgspec.Struct, frozen=True):
    """Something a person (or a reader) put in: a take, a value, a recalibration.

    kind `take`: bind the next stable weight of `rule` to check, unit and tray.
    kind `value`: the entered value of `characteristic` for `check` (attribute: a count of defects).
    kind `recalibrated`: after a failed check: `rule` goes on in verification.
    kind `adjusted`: a setpoint or process change recorded by a person.
    kind `reweigh`: weigh a sample of an open check once more; `text` is the reason.
    kind `released`: a person released a halt of the machine.
    kind `scale`: `value` is the scale's repeatability as it was found, one standard deviation.
    """

    kind: str
    rule: str
    person: str
    check: str | None = None
    characteristic: str | None = None
    value: Value = None
    unit: str | None = None
    unit_no: int | None = None
    """Position of the sampled unit in the batch, counted from 1."""
    tray: str | None = None
    text: str = ""
    item: str = ""
    """The tracked cartridge, or the group, that a tare and its full weight belong to."""
    stage: str = ""
    """Of a take: `tare` weighs the empty one."""


class HaltOrder(msgspec.Struct, frozen=True):
    """A latched hold request to one device."""

    id: str
    """`<device>:<rule>`: one latch for each device and cause."""
    device: str
    rule: str
    text: str
    requested_ns: int
    """Wall clock."""
    version: int = 1


class HaltProof(msgspec.Struct, frozen=True):
    """The machine's own word that it stands still."""

    state: str
    """What was read back, for people: `PackML Held (11)`, `coil 5 = 0`."""
    wrote: bool
    """False: it stood already and nothing was written."""


class Draft(msgspec.Struct, frozen=True):
    """A ledger record before it has its place: what happened, to be sealed by the evidence store."""

    kind: str
    """Dotted noun and past participle: `halt.confirmed`, `check.judged`."""
    body: Mapping[str, Json]
    """JSON; measured values, counters and nanosecond times as decimal strings."""
    batch: str | None = None
    by: str = "gateway"
    lane: Lane = Lane.EVIDENCE


class Record(msgspec.Struct, frozen=True):
    """One entry of the ledger: `payload` is what is stored, hashed, sent and shown."""

    index: int
    kind: str
    batch: str | None
    time_ns: int
    lane: Lane
    hash: bytes
    """RFC 6962 leaf hash: SHA-256(0x00 || payload)."""
    payload: bytes


class Watermark(msgspec.Struct, frozen=True):
    """The MES's own word: everything up to and including this index is committed there."""

    ledger_id: str
    committed_upto: int
    root: str = ""
    """Hex Merkle root the consumer computed over 0..committed_upto; empty where it does not."""


class Identity(msgspec.Struct, frozen=True):
    """Who this gateway is."""

    gateway_id: str
    path: str
    """ISA-95 path, `enterprise/site/area/line/cell`."""
    boot_id: str
    version: str


class Principal(msgspec.Struct, frozen=True):
    """Who asks: a person who proved it, or the MES by its broker identity."""

    name: str
    roles: frozenset[str]
    door: str
    """http, cli, mqtt, first-run."""
    full_name: str = ""
