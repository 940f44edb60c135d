"""The balance: MT-SICS on TCP and on a pty.

A person weighs: `place` puts a filled cartridge on the pan, tared with the weight the same cartridge had when empty
(paired tare), so that the display shows the net fill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from simulators.device import Device
from simulators.link import PtyDoor, Send, Talker, TcpDoor
from simulators.mt_sics import Interpreter
from simulators.pan import Pan
from simulators.plant import Plant


class Balance(Device):
    """Faults of its own: unstable, no_unit, overload, underload."""

    name = "balance"
    tags = frozenset({"net"})
    own_faults: ClassVar = {fault: frozenset() for fault in ("unstable", "no_unit", "overload", "underload")}

    def __init__(self, plant: Plant, host: str, port: int, tty: Path) -> None:
        super().__init__()
        self._plant = plant
        self.pan = Pan(plant.seed)
        self.unit_on_pan: int | None = None
        self._tcp = TcpDoor(host, port, self._converse, self.gate)
        self._pty = PtyDoor(tty, self._converse, self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        return {"unit_on_pan": self.unit_on_pan, "net_g": self.net_g, "stable": self.stable}

    async def step(self, dt_s: float) -> None:
        self.pan.step(dt_s)
        for interpreter in self._interpreters():
            interpreter.tick(dt_s)

    def place(self, number: int) -> float:
        """Put unit `number` on the pan, tared; returns its true net, g.  KeyError: no such unit was filled."""
        cartridge = self._plant.filling.cartridges[number]
        self.unit_on_pan = number
        self.pan.place(cartridge.tare_g + cartridge.net_g, cartridge.tare_g)
        return cartridge.net_g

    def remove(self) -> None:
        """Empty the pan."""
        self.unit_on_pan = None
        self.pan.remove()

    def operator(self, action: str) -> bool:
        """`print` sends a line nobody asked for; `tare`, `zero` are keys."""
        if action == "print":
            for interpreter in self._interpreters():
                interpreter.print_key()
            return True
        if action == "zero":
            return self.pan.zero()
        if action == "tare":
            self.pan.tare()
            return True
        return super().operator(action)

    def faults_changed(self) -> None:
        self.pan.restless, self.pan.frozen = "unstable" in self.faults, "frozen" in self.faults

    def on_reboot(self) -> None:
        self.remove()

    @property
    def net_g(self) -> float:
        return float(self.forced.get("net", self.pan.net_g))

    @property
    def stable(self) -> bool:
        return "net" in self.forced or self.pan.stable

    @property
    def limit(self) -> str:
        if "overload" in self.faults or self.pan.overload:
            return "+"
        return "-" if "underload" in self.faults or self.pan.underload else ""

    @property
    def unit(self) -> str:
        return "" if "no_unit" in self.faults else " g"

    @property
    def tare_g(self) -> float:
        return self.pan.tare_g

    def set_tare(self, tare_g: float) -> None:
        self.pan.tare_g = tare_g

    def tare(self) -> float:
        return self.pan.tare()

    def zero(self) -> bool:
        return self.pan.zero()

    def _converse(self, send: Send) -> Talker:
        return Interpreter(self, send)

    def _interpreters(self) -> list[Interpreter]:
        talkers = [*self._tcp.talkers, *self._pty.talkers]
        return [talker for talker in talkers if isinstance(talker, Interpreter)]
