"""The balance, on TCP and on a pty: MT-SICS, or another dialect of `DIALECTS`.

A person weighs: `place` puts a filled cartridge on the pan, tared with the weight the same cartridge had when empty
(paired tare), so that the display shows the net fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from simulators.aandd import AandD
from simulators.device import Device, Fault, UnknownError
from simulators.link import PtyDoor, Send, Talker, TcpDoor
from simulators.mt_sics import Interpreter
from simulators.ohaus import Ohaus
from simulators.pan import QUIET_S, Pan
from simulators.plant import Plant
from simulators.sbi import Sbi
from simulators.weigher import WIRE_FAULTS, Weigher, Wire

Conversation = Interpreter | Weigher
DIALECTS: Final[Mapping[str, Callable[[Balance, Send], Conversation]]] = {
    "mt-sics": Interpreter,
    "sbi": Sbi,
    "sbi-22": partial(Sbi, wide=True),
    "a-and-d": AandD,
    "ohaus": Ohaus,
}


class Balance(Device):
    """A balance, its manners, and the person before it."""

    name = "balance"
    sentence = "Weighs the samples: MT-SICS, SBI, A&D or Ohaus, on TCP and on a serial line."
    tags = frozenset({"net"})
    own_faults: ClassVar = {
        "unstable": Fault("The pan never comes to rest."),
        "no_unit": Fault("It is set to print no unit."),
        "overload": Fault("Too much on the pan."),
        "underload": Fault("The pan was lifted off."),
        "auto_print": Fault("It sends weights by itself, ten a second."),
        "slow": Fault("It takes long (1.5 s where not said) to call a weight stable.", "seconds"),
        "impatient": Fault("It gives up waiting for stability early: 0.5 s where not said.", "seconds"),
        **WIRE_FAULTS,
    }

    def __init__(self, plant: Plant, host: str, port: int, tty: Path, dialect: str = "mt-sics") -> None:
        super().__init__()
        if dialect not in DIALECTS:
            raise UnknownError(f"no balance speaks {dialect!r}; there are {', '.join(DIALECTS)}")
        self._plant = plant
        self._dialect = dialect
        self._wires: dict[Conversation, Wire] = {}
        self._auto = False
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
        for talker in self._conversations():
            talker.tick(dt_s)
            self._wires[talker].tick(dt_s)

    def place(self, number: int) -> float:
        """Put unit `number` on the pan, tared; returns its true net, g.  KeyError: no such unit was filled."""
        cartridge = self._plant.filling.cartridges[number]
        self.unit_on_pan = number
        self.pan.place(cartridge.tare_g + cartridge.net_g, cartridge.tare_g)
        return cartridge.net_g

    def weight(self, grams: float) -> None:
        """A test weight on the pan, nothing tared."""
        self.unit_on_pan = None
        self.pan.place(grams, 0.0)

    def remove(self) -> None:
        """Empty the pan."""
        self.unit_on_pan = None
        self.pan.remove()

    def operator(self, action: str) -> bool:
        """`print` sends a line nobody asked for; `tare`, `zero` are keys."""
        if action == "print":
            for talker in self._conversations():
                talker.print_key()
            return True
        if action == "zero":
            return self.pan.zero()
        if action == "tare":
            self.pan.tare()
            return True
        return super().operator(action)

    def faults_changed(self) -> None:
        self.pan.restless, self.pan.frozen = "unstable" in self.faults, "frozen" in self.faults
        slow = self.faults.get("slow")
        self.pan.needs_quiet_s = QUIET_S if slow is None else float(slow.get("seconds", 1.5))
        auto, self._auto = self._auto, "auto_print" in self.faults
        for talker in self._conversations():
            self._teach(talker)
            if auto != self._auto:  # a stream that a client asked for is not ours to end
                talker.repeating = self._auto

    def _teach(self, talker: Conversation) -> None:
        """The settings of its menu."""
        impatient = self.faults.get("impatient")
        talker.patience_s = type(talker).patience_s if impatient is None else float(impatient.get("seconds", 0.5))

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
        wire = Wire(self.faults, send, self._plant.seed)
        talker = DIALECTS[self._dialect](self, wire.send)
        self._teach(talker)
        talker.repeating = self._auto
        self._wires[talker] = wire
        return talker

    def _conversations(self) -> list[Conversation]:
        """Those that go on; what belongs to the others is forgotten."""
        talkers = [*self._tcp.talkers, *self._pty.talkers]
        self._wires = {talker: wire for talker, wire in self._wires.items() if talker in talkers}
        return list(self._wires)
