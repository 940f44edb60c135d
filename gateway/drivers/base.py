"""The contract of a driver.

A driver reports; it never judges, stamps, stores or retries.  Its configuration is its factory: what validated can
connect.  An open device exists only inside `async with config.connect(name)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from pydantic import Field

from gateway.model import HaltOrder, HaltProof, Reading, TagSpec
from gateway.recipe import Frozen
from gateway.units import Duration


class Device(Protocol):
    """An open connection.  Calls never overlap; any call may be cancelled and the next one must still be right."""

    identity: Mapping[str, str]
    """What the device says of itself at connect: maker, model, serial, firmware; {} where it says nothing."""

    async def poll(self) -> Reading:
        """Read all tags once (or, where the config `subscribes`, wait for a change, at most one period).

        DeviceError: the link or the device failed: the station closes it and connects again.  One bad tag is a
        fault in the reading, never an error.
        """
        ...


@runtime_checkable
class Haltable(Protocol):
    """A device that can be made to stand still."""

    async def halt(self, order: HaltOrder) -> HaltProof:
        """Make the machine stand still and return only once the machine's own state says so.  Idempotent.

        Held already -> nothing is written: the state is read first, but where the last poll since the last attempt
        showed that it moves: then the write goes out at once.  NotHeld: written, but the state does not say so
        within the driver's `halt_budget_s`.  DeviceError: the link failed.  Never starts anything.
        """
        ...

    async def withdraw(self) -> None:
        """Take back our own hold output (a permissive relay, a command bit).  Never starts the machine."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """A haltable device whose hold request is ready, and can go out without waiting for anything."""

    def halt_now(self) -> None:
        """Send it this very moment where nothing speaks against that, else nothing; `halt` follows and goes on from it.

        Never waits, never raises: what goes wrong is said by `halt`.
        """
        ...


@runtime_checkable
class Owing(Protocol):
    """A haltable device that may put its withdrawal off: a register that wears is not written beyond its budget."""

    @property
    def owes(self) -> bool:
        """`withdraw` came back, and is not done yet; the device does it by itself as soon as it may."""
        ...


@runtime_checkable
class Beating(Protocol):
    """A controller with a place for our heartbeat."""

    async def beat(self, count: int) -> None:
        """Write the heartbeat, `count` wrapping at 65536.  DeviceError if the link failed."""
        ...


@runtime_checkable
class Tarable(Protocol):
    """A balance that can be tared and zeroed from here, at a person's word only."""

    async def tare(self) -> Reading:
        """Take what lies on the pan as tare; returns the reading that shows it: stable, and nothing left.

        Its first value is the weight.  NotDone: the balance refuses, or does not show it within `tare_within_s`.
        DeviceError: the link failed.
        """
        ...

    async def zero(self) -> Reading:
        """Set the empty pan to zero; returns the reading that shows it.  Errors as for `tare`."""
        ...


class Sign(StrEnum):
    """What a line has to show of itself, on a stack light or otherwise; `gateway.lamps` says when each one holds."""

    HALT = "halt"
    """A halt is latched."""
    HALT_FAILED = "halt-failed"
    """A machine does not stand although it was told to."""
    CRITICAL = "critical"
    """A critical alarm stands."""
    CRITICAL_NEW = "critical-new"
    """And nobody acknowledged it."""
    ALARM = "alarm"
    """Any alarm stands, or was not acknowledged."""
    ALARM_NEW = "alarm-new"
    """One that nobody acknowledged."""
    CHECK_DUE = "check-due"
    CHECK_MISSED = "check-missed"
    RUNNING = "running"
    """A batch is being made."""
    NORMAL = "normal"
    """A batch is being made, and nothing stands against it."""
    HORN = "horn"
    """A high or critical alarm, or a halt's, that nobody acknowledged."""


Pattern = frozenset[Sign]
"""All that is to be shown now."""


@runtime_checkable
class Showing(Protocol):
    """A device that shows people how the line is."""

    async def show(self, pattern: Pattern) -> None:
        """Show this from now on.  Written at once; whether it is really seen, the next poll says.  DeviceError."""
        ...


MARGIN_S: Final = 0.02


def attempt_s(halt_budget_s: float) -> float:
    """What a driver gives one attempt to halt: it ends before the station's own budget does.

    So what the machine said last is in its NotHeld, and a link that answers is kept: the station drops one whose halt
    ran over its budget.
    """
    return max(halt_budget_s - MARGIN_S, halt_budget_s / 2)


def withheld_s(within_s: float, halt_budget_s: float) -> float:
    """How long a halt by a withheld heartbeat may take: the controller's own time, and at worst one look too late.

    From the third attempt on the station looks once a second, each time for `halt_budget`.
    """
    return within_s + 1.0 + halt_budget_s


class DriverConfig(Frozen):
    """What every driver's configuration has.  Subclasses add `driver: Literal["kind"]` and their own keys."""

    halts: ClassVar[bool] = False
    """Can devices of this kind be halted at all?  An instance may still say no: see `haltable()`."""
    shows: ClassVar[bool] = False
    """Do devices of this kind show how the line is (see Showing)?"""
    tares: ClassVar[bool] = False
    """Can devices of this kind be tared (see Tarable)?"""

    driver: str
    period_s: Duration = Field(1.0, alias="period", gt=0)
    """Time between two polls, on a fixed grid."""
    timeout_s: Duration = Field(1.0, alias="timeout", gt=0)
    """Budget of one poll, everything included."""
    halt_budget_s: Duration = Field(0.5, alias="halt_budget", gt=0)
    """Budget of one attempt to halt, read-back included."""
    beat_s: Duration | None = Field(None, alias="beat", gt=0)
    """How often the heartbeat is written, where the device has a place for it."""

    @property
    def subscribes(self) -> bool:
        """True: `poll()` itself waits for changes, so the station calls it back to back."""
        return False

    def haltable(self) -> bool:
        return self.halts

    def tarable(self) -> bool:
        return self.tares

    @property
    def tare_within_s(self) -> float:
        """Budget of one tare or zero: settling, and the reading that shows it, included."""
        return self.timeout_s

    @property
    def stands_within_s(self) -> float:
        """From the order to the machine's own word that it stands, at worst, where all goes well.

        More than one attempt only where the machine is not told but left to its own watch (a heartbeat withheld).
        """
        return self.halt_budget_s

    def tags(self) -> tuple[TagSpec, ...]:
        """The tags, in the order of `Reading.values`: known without reaching the device.  Never empty."""
        raise NotImplementedError

    def address(self) -> str:
        """Where it is, for people: `tcp://127.0.0.1:5021 unit 1`, `/dev/ttyS1`."""
        raise NotImplementedError

    def preload(self) -> None:
        """Import what `connect` needs; called once before anything is polled, so that no import delays a poll."""

    def connect(self, name: str) -> AbstractAsyncContextManager[Any]:
        """Open it; `name` is only for error texts.  Raises DeviceError.  Import heavy libraries in here."""
        raise NotImplementedError
