"""What can be wrong with a cable, and the delay line that does it: bytes in, bytes out later, fewer, or spoiled.

A `Net` holds the faults of one cable; each direction of each connection is a `Way` through it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from simulators.device import Fault, UnknownError

TO_DEVICE: Final = "to_device"
FROM_DEVICE: Final = "from_device"
_WAYS: Final = ("both", TO_DEVICE, FROM_DEVICE)
_SEED: Final = 7
FULL: Final = 1 << 18
"""Bytes under way beyond which the sender is not read from any more."""

NET_FAULTS: Final[dict[str, Fault]] = {
    "net_latency": Fault(
        "Everything comes `seconds` late, and up to `jitter` seconds more.", "seconds", "jitter", "way"
    ),
    "net_cut": Fault("Connections are reset (RST), new ones as soon as they are made."),
    "net_close": Fault("Connections are closed in good order (FIN), new ones as soon as they are made."),
    "net_refuse": Fault("Connections are reset and nobody listens any more."),
    "net_unreachable": Fault("Bytes vanish, and who connects anew hears nothing at all (SYN dropped)."),
    "net_blackhole": Fault("Connections stay up and are made, and every byte vanishes.", "way"),
    "net_half_open": Fault("The far ends of the connections are gone and nobody was told; new ones work."),
    "net_drip": Fault("`bytes` at a time, `every` seconds.", "bytes", "every", "way"),
    "net_corrupt": Fault(
        "In a share `rate` of the bytes one bit is flipped; `seed` plays it again.", "rate", "seed", "way"
    ),
    "net_cut_after": Fault("Each connection is reset once it carried so many `bytes`.", "bytes", "way"),
    "net_loss": Fault("A `share` of the messages is lost whole; `seed` plays it again.", "share", "seed", "way"),
    "net_bandwidth": Fault("No more than `bytes_per_s` get through.", "bytes_per_s", "way"),
}
_DEFAULTS: Final[Mapping[str, Mapping[str, float]]] = {
    "net_latency": {"seconds": 0.05, "jitter": 0.0},
    "net_drip": {"bytes": 1, "every": 0.01},
    "net_corrupt": {"rate": 0.01, "seed": _SEED},
    "net_cut_after": {"bytes": 1000},
    "net_loss": {"share": 0.1, "seed": _SEED},
    "net_bandwidth": {"bytes_per_s": 1000},
}
_SHARES: Final = frozenset({"rate", "share"})
_MAY_BE_0: Final = frozenset({"jitter", "seconds", "every", "seed", *_SHARES})


class Net:
    """The faults that stand on one cable."""

    def __init__(self) -> None:
        self.standing: dict[str, dict[str, Any]] = {}
        self.dice = random.Random(_SEED)

    def stand(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a fault on; returns its arguments, those not given filled in.  ValueError: one is impossible."""
        if name not in NET_FAULTS:
            raise UnknownError(f"no fault {name!r} of a cable; there are {', '.join(sorted(NET_FAULTS))}")
        if extra := set(args) - NET_FAULTS[name]:
            raise UnknownError(f"fault {name} does not take {', '.join(sorted(extra))}")
        whole: dict[str, Any] = {**_DEFAULTS.get(name, {}), **args}
        for key, value in whole.items():
            whole[key] = _way(value) if key == "way" else _number(name, key, value)
        if "seed" in whole:
            self.dice = random.Random(whole["seed"])
        self.standing[name] = whole
        return whole

    def lift(self, name: str) -> None:
        """Take a fault away; not there: nothing happens."""
        self.standing.pop(name, None)

    def on(self, name: str, direction: str) -> dict[str, Any] | None:
        """The fault's arguments if it stands in this direction."""
        args = self.standing.get(name)
        return args if args is not None and args.get("way", "both") in ("both", direction) else None

    def swallows(self, direction: str) -> bool:
        """Does every byte vanish?"""
        return "net_unreachable" in self.standing or self.on("net_blackhole", direction) is not None


def _way(value: object) -> str:
    if value not in _WAYS:
        raise ValueError(f"way is one of {', '.join(_WAYS)}, not {value!r}")
    return str(value)


def _number(fault: str, key: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise ValueError(f"{fault}: {key} is a number, not {value!r}") from None
    if number < 0 or (number == 0 and key not in _MAY_BE_0) or (key in _SHARES and number > 1) or number > 1e9:
        raise ValueError(f"{fault}: {key} cannot be {number:g}")
    return number


class Way:
    """One direction of one connection: what is pushed comes out by `send`, as the faults will have it."""

    def __init__(self, net: Net, direction: str, send: Callable[[bytes], None], cut: Callable[[], None]) -> None:
        self._net, self._direction, self._send, self._cut = net, direction, send, cut
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self.carried = 0
        """Bytes that came out."""
        self.queued = 0
        self.room: Callable[[], None] = lambda: None
        """Called when there is room again after more than `FULL` were under way."""
        self._full = False

    def push(self, data: bytes) -> None:
        """A message from one end."""
        net, direction = self._net, self._direction
        if net.swallows(direction):
            return
        if (loss := net.on("net_loss", direction)) and net.dice.random() < loss["share"]:
            return
        if corrupt := net.on("net_corrupt", direction):
            data = _flipped(data, corrupt["rate"], net.dice)
        for when, piece in self._planned(data):
            self._queue.append((when, piece))
            self.queued += len(piece)
        self._full = self.queued > FULL
        self.pump()

    def pump(self) -> None:
        """Let out what is due; all of it once nothing delays any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        slow = any(self._net.on(name, self._direction) for name in ("net_latency", "net_drip", "net_bandwidth"))
        while self._queue and (not slow or self._queue[0][0] <= self._loop.time()):
            _, piece = self._queue.popleft()
            self.queued -= len(piece)
            if not self._out(piece):
                return
        if self._queue:
            self._timer = self._loop.call_at(self._queue[0][0], self.pump)
        if self._full and self.queued <= FULL:
            self._full = False
            self.room()

    def stop(self) -> None:
        """Nothing more comes out."""
        self._queue.clear()
        self.queued = 0
        if self._timer is not None:
            self._timer.cancel()

    def _out(self, piece: bytes) -> bool:
        limit = self._net.on("net_cut_after", self._direction)
        if limit is not None and self.carried + len(piece) > limit["bytes"]:
            self._send(piece[: max(0, int(limit["bytes"]) - self.carried)])
            self._cut()
            return False
        self.carried += len(piece)
        self._send(piece)
        return True

    def _planned(self, data: bytes) -> Iterable[tuple[float, bytes]]:
        when = self._loop.time()
        if late := self._net.on("net_latency", self._direction):
            when += late["seconds"] + late["jitter"] * self._net.dice.random()
        when = max(when, self._last)  # a stream keeps its order
        for piece, gap_s in self._pieces(data):
            when += gap_s
            self._last = when
            yield when, piece

    def _pieces(self, data: bytes) -> Iterable[tuple[bytes, float]]:
        size, gap_s = len(data), 0.0
        if narrow := self._net.on("net_bandwidth", self._direction):
            size = max(1, min(size, int(narrow["bytes_per_s"] / 50)))
            gap_s = size / narrow["bytes_per_s"]
        if drip := self._net.on("net_drip", self._direction):
            size = max(1, min(size, int(drip["bytes"])))
            gap_s = max(gap_s, drip["every"])
        for at in range(0, len(data), size or 1):
            yield data[at : at + size], gap_s


def _flipped(data: bytes, rate: float, dice: random.Random) -> bytes:
    spoiled = bytearray(data)
    for at in range(len(spoiled)):
        if dice.random() < rate:
            spoiled[at] ^= 1 << dice.randrange(8)
    return bytes(spoiled)
