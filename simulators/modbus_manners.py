"""How real Modbus devices misbehave, for every simulated one: busy, slow, late, short, in another's name.

A device that mixes `ModbusManners` in passes itself to its talkers as their `conduct`.  Sources: Application Protocol
V1.1b3, exceptions 04, 06 (p.48); the rest has been met on lines with bridges and cheap controllers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from simulators.device import Fault
from simulators.link import Send
from simulators.modbus import BUSY, DEVICE_FAILURE, ILLEGAL_ADDRESS, touched

MODBUS_FAULTS: Final[Mapping[str, Fault]] = {
    "busy": Fault("A `share` of the requests (all of them) is answered with exception 06, device busy.", "share"),
    "failure": Fault("Every request is answered with exception 04, device failure."),
    "hole": Fault(
        "`count` registers from `address` are not there: exception 02 for who reads them.", "address", "count"
    ),
    "slow": Fault("Every answer takes `seconds` longer.", "seconds"),
    "late_answer": Fault("One answer in `every` comes `seconds` late, when nobody waits for it.", "every", "seconds"),
    "wrong_unit": Fault("It answers in the name of the unit after it."),
    "wrong_function": Fault("It answers reads with the other read function (03 and 04 exchanged)."),
    "short_frames": Fault("Its answers end in the middle."),
}


class ModbusManners:
    """The `conduct` of a talker, by the standing faults."""

    modbus_faults: ClassVar = MODBUS_FAULTS
    faults: dict[str, dict[str, Any]]
    _manner_dice = random.Random(0)
    _answers = 0

    def refusal(self, pdu: bytes) -> int | None:
        """The exception this request is answered with instead of an answer."""
        busy = self.faults.get("busy")
        if busy is not None and self._manner_dice.random() < float(busy.get("share", 1.0)):
            return BUSY
        if "failure" in self.faults:
            return DEVICE_FAILURE
        hole = self.faults.get("hole")
        if hole is not None:
            first, count = int(hole.get("address", 0)), int(hole.get("count", 1))
            asked = touched(pdu)
            if asked.start < first + count and first < asked.stop:
                return ILLEGAL_ADDRESS
        return None

    def shaped(self, unit: int, pdu: bytes) -> tuple[int, bytes]:
        """Unit and PDU as it sends them."""
        if "wrong_function" in self.faults and pdu[0] in (3, 4):
            pdu = bytes((7 - pdu[0],)) + pdu[1:]
        return (unit + 1) % 256 if "wrong_unit" in self.faults else unit, pdu

    def say(self, send: Send, frame: bytes) -> None:
        """Send it: whole or half, now or later."""
        if "short_frames" in self.faults:
            frame = frame[: len(frame) // 2]
        delay_s = self._delay_s()
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s, send, frame)
        else:
            send(frame)

    def _delay_s(self) -> float:
        late = self.faults.get("late_answer")
        if late is not None:
            self._answers += 1
            if self._answers % max(1, int(late.get("every", 5))) == 0:
                return float(late.get("seconds", 2.0))
        slow = self.faults.get("slow")
        return float(slow.get("seconds", 0.4)) if slow is not None else 0.0
