"""What all simulated devices share: links that can fail, faults by name, values that can be forced."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, Self

from simulators.link import Gate, Link

Value = float | int | str | bool
REBOOT_S: Final = 2.0
"""How long a rebooting device is off the network."""


class UnknownError(ValueError):
    """The control asked for a device, tag, fault or action that there is not."""


class Fault(frozenset[str]):
    """The arguments a fault takes, and one sentence on what it does to those who talk to the device."""

    sentence: str

    def __new__(cls, sentence: str, *arguments: str) -> Self:
        """`Fault("The nozzle gives too little.", "share")`."""
        made = super().__new__(cls, arguments)
        made.sentence = sentence
        return made


class Cable(Protocol):
    """A fault proxy before a link: the device's `net_...` faults are its."""

    known: Mapping[str, Fault]

    async def stand(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a fault on; returns all its arguments.  ValueError: one is impossible."""
        ...

    async def lift(self, name: str) -> None: ...

    def truth(self) -> dict[str, Any]: ...


class Device:
    """One device.  `step` and the faults run on the line's own loop; nothing here blocks."""

    name: str
    sentence: ClassVar[str] = ""
    """What it is, for the catalogue."""
    tags: ClassVar[frozenset[str]]
    """Tags whose value `deviate` can force."""
    own_faults: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Fault -> the arguments it takes; a `Fault` says in words what it does."""
    _LINK_FAULTS: ClassVar[Mapping[str, frozenset[str]]] = {
        "cut": Fault("The cable is out: connections break, new ones are refused."),
        "silent": Fault("It takes every request and answers none."),
        "frozen": Fault("It answers on, with the values it had."),
        "reboot": Fault("It goes away for a while and comes back as after power-on.", "seconds"),
    }

    def __init__(self) -> None:
        self.gate = Gate()
        self.links: Sequence[Link] = ()
        self.cables: Sequence[Cable] = ()
        """Fault proxies before its links, where the line has them."""
        self.faults: dict[str, dict[str, Any]] = {}
        self.forced: dict[str, Value] = {}
        self._reboot: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open all links.  OSError if one cannot be had."""
        for link in self.links:
            await link.open()

    async def stop(self) -> None:
        """Close all links.  Safe twice."""
        if self._reboot is not None:
            self._reboot.cancel()
        for link in self.links:
            await link.cut()

    async def step(self, dt_s: float) -> None:
        """Let `dt_s` seconds of wall time pass and publish what changed."""

    def addresses(self) -> dict[str, str]:
        """How to reach it."""
        raise NotImplementedError

    def truth(self) -> dict[str, Any]:
        """What it knows of itself, for the control."""
        return {}

    def operator(self, action: str) -> bool:
        """A person at the machine's own panel; False: the machine does not take it now.  UnknownError: no such key."""
        raise UnknownError(f"{self.name} has no key {action!r}")

    async def force(self, tag: str, value: Value | None) -> None:
        """From now on `tag` reads `value`; None: the truth again."""
        if tag not in self.tags:
            raise UnknownError(f"{self.name} has no tag {tag!r}; it has {', '.join(sorted(self.tags))}")
        if value is None:
            self.forced.pop(tag, None)
        else:
            self.forced[tag] = self.coerce(tag, value)

    def coerce(self, tag: str, value: Value) -> Value:  # noqa: ARG002  # machines have texts too
        """A forced value as the type `tag` has.  ValueError if it cannot be."""
        return float(value)

    def known_faults(self) -> dict[str, frozenset[str]]:
        """Every fault it can have -> the arguments."""
        cable = self.cables[0].known if self.cables else {}
        return {**self._LINK_FAULTS, **self.own_faults, **cable}

    async def fault(self, name: str, args: dict[str, Any]) -> None:
        """Bring a fault on.  UnknownError: no such fault, or arguments it does not take."""
        known = self.known_faults()
        if name not in known:
            hint = "; net_... faults need the line started with --proxy" if name.startswith("net_") else ""
            raise UnknownError(f"{self.name} has no fault {name!r}; it has {', '.join(sorted(known))}{hint}")
        if extra := set(args) - known[name]:
            raise UnknownError(f"fault {name} does not take {', '.join(sorted(extra))}")
        if self.cables and name in self.cables[0].known:
            for cable in self.cables:
                self.faults[name] = await cable.stand(name, args)
            return
        if name == "reboot":
            self._reboot = asyncio.create_task(self._go_away(float(args.get("seconds", REBOOT_S))), name="reboot")
            return
        self.faults[name] = args
        self.gate.silent = "silent" in self.faults
        if name == "cut":
            await self._cut()
        self.faults_changed()

    async def heal(self, name: str) -> list[str]:
        """Take a fault away, or `all`; returns those that were there."""
        gone = list(self.faults) if name == "all" else [name] if name in self.faults else []
        for fault in gone:
            del self.faults[fault]
            self.gate.silent = "silent" in self.faults
            if fault == "cut":
                await self._restore()
            for cable in self.cables:
                await cable.lift(fault)
        if gone:
            self.faults_changed()
        if name == "all":
            self.forced.clear()
        return gone

    def faults_changed(self) -> None:
        """A fault came or went: make the device behave as `faults` now says."""

    def on_reboot(self) -> None:
        """Power came back."""

    async def _go_away(self, seconds: float) -> None:
        await self._cut()
        await asyncio.sleep(seconds)
        self.on_reboot()
        if "cut" not in self.faults:
            await self._restore()

    async def _cut(self) -> None:
        for link in self.links:
            await link.cut()

    async def _restore(self) -> None:
        for link in self.links:
            await link.open()
