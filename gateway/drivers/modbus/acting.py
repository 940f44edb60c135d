"""What is written to a Modbus device: the request that it stands still, with its proof, and our heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from gateway.drivers.base import attempt_s
from gateway.drivers.modbus.device import ModbusDevice, Wanted
from gateway.drivers.modbus.layout import Part, unpack_part
from gateway.drivers.modbus.link import Asks
from gateway.drivers.modbus.plan import Block
from gateway.drivers.modbus.tags import Write
from gateway.drivers.modbus.wear import wear_of
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, HaltProof, Reading

Call = Callable[[wire.Request], Awaitable[bytes]]
"""`Asks.call`, or `Asks.call_first`."""

_FIRST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 0.05


class _WriteRefused(DeviceError):  # noqa: N818  # named like its kin in errors.py
    """A write was answered with an exception."""


class _WriteNeverTaken(_WriteRefused, DeviceMisconfigured):
    """With one that says it can never work."""


class _Put:
    """One of the writes that are configured, with the count of what it wears."""

    def __init__(self, config: Wanted, write: Write) -> None:
        self.request: Final = write.request(config.unit_id, config.base)
        span = write.span(config.base)
        most = config.budget(span) if write.table == "holding" else None
        self.wear: Final = wear_of((config.address(), span.start), most) if most is not None else None

    async def send(self, link: Asks, call: Call) -> None:
        """Whoever minds the budget asks `wear.spent` before."""
        if self.wear is not None:
            self.wear.wrote(link.where, self.request.text)
        await _write(link, self.request, call)
        if self.wear is not None:
            self.wear.owed = False


class _Halts(ModbusDevice):
    """With a halt: a write, and another word of the machine that proves it."""

    def __init__(self, config: Wanted, link: Asks) -> None:
        super().__init__(config, link)
        assert config.halt is not None
        assert config.proof is not None
        self._values = config.halt.confirm.values
        self._always = config.halt.always
        self._holding = False
        """From the first attempt to halt until it is taken back."""
        self._moves = False
        """A poll came since the last attempt to halt, and did not say that the machine stands."""
        self._sent: Awaitable[bytes] | None = None
        """The answer to a hold request that went out at once, until `halt` takes it."""
        self._stop = _Put(config, config.halt.write) if config.halt.write else None
        """None: our heartbeat is withheld, and the controller's own watch is waited for."""
        self._release = _Put(config, config.halt.release) if config.halt.release else None
        channel = config.proof
        part = Part(channel.table, Block(channel.span.start, channel.span.count, (0,)))
        self._channel = channel
        self._ask_state = wire.read(config.unit_id, channel.table, channel.span.start, channel.span.count)
        self._unpack_state = unpack_part(part, [channel], link.framing.data_at)

    async def poll(self) -> Reading:
        """While a halt stands, the machine's word on it belongs to every reading, polled or not."""
        await self._repay()
        reading = await super().poll()
        if self._holding and self._config.held is None:
            held, _ = await self._state(self._link.call)
            reading = msgspec.structs.replace(reading, held=held)
        self._moves = reading.held is not True
        return reading

    def halt_now(self) -> None:
        """See Prompt.  Only to a machine that the last poll showed moving, and where no writing wears."""
        if self._moves and self._stop is not None and self._stop.wear is None:
            self._sent = self._link.ask_now(self._stop.request)
            self._moves = self._sent is None
            self._holding = True

    async def halt(self, order: HaltOrder) -> HaltProof:
        """See Haltable.  The write (if there is one) is sent, and the state read until it says held.

        The state is read before, too, where the last poll said held or there was none since the last attempt, and where
        writing wears: a write may be too many then.
        """
        sent, self._sent = self._sent, None
        at_once, self._moves = self._moves and self._stop is not None and self._stop.wear is None, False
        self._holding = True
        if self._release is not None and self._release.wear is not None:
            self._release.wear.owed = False
        asked, state = "", "no answer yet"
        try:
            async with asyncio.timeout(attempt_s(self._config.halt_budget_s)):
                if not at_once and sent is None:
                    held, state = await self._state(self._link.call_first)
                    if held and not self._always:
                        return HaltProof(state, wrote=False)
                asked = await self._ask_to_stand(sent)
                pause_s = _FIRST_PAUSE_S
                while True:
                    held, state = await self._state(self._link.call_first)
                    if held:
                        return HaltProof(state, wrote=self._stop is not None)
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except _WriteRefused as error:  # it answers: its link is kept, and with it all that it measures
            raise NotHeld(str(error)) from error
        except TimeoutError:
            budget = f"{self._config.halt_budget_s:g} s"
            if asked:
                raise NotHeld(f"{self._link.where}: {asked}, but after {budget} {state}") from None
            raise self._link.failure(f"halt {order.id}: no answer within {budget}; {state}") from None

    async def _ask_to_stand(self, sent: Awaitable[bytes] | None) -> str:
        """What was done, in words.  `sent`: it went out already, and this is the answer."""
        if self._stop is None:
            return "heartbeat withheld"
        if sent is not None:
            await _written(self._link, self._stop.request, sent)
        else:
            await self._stop.send(self._link, self._link.call_first)
        return f"{self._stop.request.text} written"

    async def withdraw(self) -> None:
        """See Haltable.  Beyond its budget a register that wears is written later: said once, and then owed."""
        self._sent = None  # what no `halt` took up is no request any more
        release = self._release
        if release is not None and release.wear is not None and release.wear.spent:
            release.wear.owed = True
            if not release.wear.told:
                release.wear.told = True
                raise release.wear.refusal(self._link.where, release.request.text)
            return
        if release is not None:
            await release.send(self._link, self._link.call)
        self._holding = False

    @property
    def owes(self) -> bool:
        """See Owing."""
        return self._release is not None and self._release.wear is not None and self._release.wear.owed

    async def _repay(self) -> None:
        """Take back what could not be taken back in its time."""
        release = self._release
        if release is not None and release.wear is not None and release.wear.owed and not release.wear.spent:
            await release.send(self._link, self._link.call)
            self._holding = False

    async def _state(self, call: Call) -> tuple[bool | None, str]:
        """(does it stand still?, its own words).  An exception says nothing: no proof, and no reason not to write."""
        try:
            answer = await call(self._ask_state)
        except wire.Refusal as refusal:
            return None, f"{self._ask_state.text}: {refusal}"
        raw = self._unpack_state(answer)[0]
        value = self._channel.convert(raw)
        if raw in self._channel.bad_values:
            return None, f"{self._channel.name} ({self._ask_state.text}) = {raw}, which means no value"
        return value in self._values, f"{self._channel.name} ({self._ask_state.text}) = {value}"


class _Beats(ModbusDevice):
    """With a place for our heartbeat."""

    async def beat(self, count: int) -> None:
        """See Beating."""
        config = self._config
        assert config.heartbeat is not None
        at = config.heartbeat.register_ - config.base
        await _write(self._link, wire.write_register(config.unit_id, at, count & 0xFFFF), self._link.call)


class _HaltsBeats(_Halts, _Beats):
    """With both."""

    async def beat(self, count: int) -> None:
        """See Beating.  A beat that is withheld for a halt is not written, whoever asks for it."""
        if not (self._holding and self._stop is None):
            await super().beat(count)


KINDS: Final[Mapping[tuple[bool, bool], type[ModbusDevice]]] = {
    (False, False): ModbusDevice,
    (True, False): _Halts,
    (False, True): _Beats,
    (True, True): _HaltsBeats,
}


async def _write(link: Asks, request: wire.Request, call: Call) -> None:
    """Send a write and have it echoed.  Raises as `_written`."""
    await _written(link, request, call(request))


async def _written(link: Asks, request: wire.Request, answer: Awaitable[bytes]) -> None:
    """DeviceError, or DeviceMisconfigured where it can never work."""
    try:
        await answer
    except wire.Refusal as refusal:
        kind = _WriteNeverTaken if refusal.code in wire.NEVER else _WriteRefused
        raise kind(f"{link.where}: write of {request.text}: {refusal}") from refusal
