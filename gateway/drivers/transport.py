"""Byte streams by URL: TCP and serial ports, for every driver that speaks its own bytes.

`tcp://host:port`, `rtu+tcp://host:port`, `serial:///dev/ttyS1?baudrate=9600&parity=N&stopbits=1`.  Serial options
are those of the port: baudrate, bytesize, parity (N, E, O), stopbits, xonxoff, rtscts; 9600 8N1 without handshake
where the URL is silent.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.errors import DeviceError

_FLAGS: Final = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "bytesize": {"7": 7, "8": 8},
    "parity": {"N": "N", "E": "E", "O": "O"},
    "stopbits": {"1": 1, "1.5": 1.5, "2": 2},
    "xonxoff": _FLAGS,
    "rtscts": _FLAGS,
}
_BAUD: Final = re.compile(r"[0-9]{1,9}")
FASTEST: Final = 4_000_000
"""The highest baud rate that serial ports are set to."""
_CLOSE_TIMEOUT_S: Final = 1.0
_WINDOW_S: Final = 0.05
_LEAST_BUFFER: Final = 16_384
_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

_ADVICE: Final = {
    errno.ECONNREFUSED: "nobody listens there: start what does, or correct host and port in url",
    errno.EHOSTUNREACH: "no way there: look at its power, its cable and its address",
    errno.ENETUNREACH: "no way there: look at this computer's own cable and address",
    errno.ENOENT: "plug the adapter in, or correct the path in url",
    errno.EACCES: "add the user who runs this to the group dialout",
    errno.EAGAIN: "another program has it open: end that one (linegate doctor names it)",
}
"""What helps, by what went wrong."""


class StreamUrl(msgspec.Struct, frozen=True):
    """Where a byte stream goes: a TCP port, or a serial port with its settings."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    settings: Mapping[str, Any] = {}

    @property
    def serial(self) -> bool:
        return self.scheme == "serial"

    @property
    def character_s(self) -> float:
        """Seconds one character takes on the serial line, start, parity and stop bits included; 0 over TCP."""
        if not self.serial:
            return 0.0
        bits = 1 + self.settings["bytesize"] + (self.settings["parity"] != "N") + self.settings["stopbits"]
        return float(bits / self.settings["baudrate"])


def parse_url(text: str, schemes: tuple[str, ...]) -> StreamUrl:
    """Read a URL; ValueError says what is wrong with it and what a right one looks like."""
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that nobody can see; write the url anew")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        forms = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        raise ValueError(f"{text!r}: {error}; write {forms}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"{text!r} does not begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.scheme == "serial":
        return _parse_serial(text, parts.netloc, parts.path, parts.query)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if not host or not port or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"{text!r} is not {parts.scheme}://host:port")
    return StreamUrl(scheme=parts.scheme, host=host, port=port)


def _parse_serial(text: str, netloc: str, path: str, query: str) -> StreamUrl:
    if netloc or not path.startswith("/"):
        raise ValueError(f"{text!r}: write an absolute path after serial://, like serial:///dev/ttyS1")
    settings: dict[str, Any] = {
        "baudrate": 9600,
        "bytesize": 8,
        "parity": "N",
        "stopbits": 1,
        "xonxoff": False,
        "rtscts": False,
    }
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "baudrate" and _BAUD.fullmatch(value) and 0 < int(value) <= FASTEST:
            settings[name] = int(value)
        elif name in _OPTIONS and value in _OPTIONS[name]:
            settings[name] = _OPTIONS[name][value]
        elif name == "baudrate" or name in _OPTIONS:
            known = ", ".join(_OPTIONS.get(name, {f"a number like 9600, at most {FASTEST}": 0}))
            raise ValueError(f"{text!r}: {name}={value} is not possible; known: {known}")
        else:
            raise ValueError(f"{text!r}: {name} is not an option; known: baudrate, {', '.join(_OPTIONS)}")
    return StreamUrl(scheme="serial", path=path, settings=settings)


def preflight(url: StreamUrl) -> list[str]:
    """Warnings that need a look at this machine: is the serial port there, and may we use it?"""
    if not url.serial:
        return []
    try:
        mode = Path(url.path).stat().st_mode
    except OSError as error:
        return [f"{url.path}: {error.strerror}; plug the adapter in, or correct the path in url"]
    if not stat.S_ISCHR(mode):
        return [f"{url.path} is not a serial port"]
    if not os.access(url.path, os.R_OK | os.W_OK):
        return [f"{url.path}: no permission to read and write; add the service's user to the group dialout"]
    return []


def preload(url: StreamUrl) -> None:
    """Import what opening this URL needs, so that no import delays a poll."""
    if url.serial:
        importlib.import_module("serial_asyncio_fast")


class Stream(asyncio.Protocol):
    """Base of a driver's connection: knows whether the line is up, and why it is not.

    Subclasses take bytes in `data_received` and hear of the end in `dropped`.
    """

    most_per_s: ClassVar[int] = 320_000
    """Bytes a second that are taken over TCP, far more than such a device ever says: a flood waits at the door."""
    full = False
    """What came waits to be taken: nothing more is to be read now."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport = _NOWHERE
        self.lost: str | None = "not connected"
        self.up = asyncio.Event()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.lost = None
        self.up.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = f"connection lost ({exc})" if exc else "connection closed by the device"
        self._gone.set()
        self.dropped(self.failure())

    def dropped(self, error: DeviceError) -> None:
        """The line is down: whoever waits is to be told."""

    def write_first(self, data: bytes) -> None:
        """Write past the loop's own queue, which waits until everybody who is ready had a turn: for halts.

        Where something is queued already, or the kernel takes no more, it goes behind that.
        """
        transport = self.transport
        if not transport.is_closing() and not transport.get_write_buffer_size():
            data = data[_sent(transport, data) :]
        if data:
            transport.write(data)

    async def caught_up(self) -> None:
        """What the kernel has already is taken: a turn of the loop to hear of it, one to read it.

        After the machine stood still a timer may ring before what came meanwhile is read.
        """
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def failure(self, text: str | None = None) -> DeviceError:
        """The error to raise: says which device, where, and what happened."""
        return DeviceError(f"{self.where}: {text or self.lost}")

    async def aclose(self) -> None:
        """Close at once and return when it is closed.  What was not sent yet is not sent."""
        if self.transport is _NOWHERE:
            return
        if not self.transport.is_closing():
            self.transport.abort()
        with suppress(TimeoutError):  # given up: nobody reads from it any more
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._gone.wait()
        await asyncio.sleep(0)


def _sent(transport: asyncio.Transport, data: bytes) -> int:
    """How much of it the kernel took.  What went wrong is the transport's to notice, by its own write."""
    sock = transport.get_extra_info("socket")
    try:
        return 0 if sock is None else os.write(sock.fileno(), data)
    except OSError:
        return 0


_NOWHERE: Final = asyncio.Transport()

S = TypeVar("S", bound=Stream)


@asynccontextmanager
async def open_stream(url: StreamUrl, stream: S, timeout_s: float) -> AsyncIterator[S]:
    """Connect `stream` and keep it open for the block.  DeviceError says why it cannot be opened."""
    await open_now(url, stream, timeout_s)
    try:
        yield stream
    finally:
        await stream.aclose()


async def open_now(url: StreamUrl, stream: Stream, timeout_s: float) -> None:
    """Connect `stream`; whoever calls this closes it.  DeviceError says why it cannot be opened."""
    opening = _open_serial if url.serial else _open_tcp
    done = False
    try:
        async with asyncio.timeout(timeout_s):
            await opening(url, stream)
        done = True
    except TimeoutError:
        raise DeviceError(f"{stream.where}: does not answer within {timeout_s:g} s") from None
    except OSError as error:  # SerialException is one too
        raise DeviceError(f"{stream.where}: {_reason(error)}") from error
    finally:
        if not done and stream.transport is not _NOWHERE:
            stream.transport.abort()  # it opened in the very moment in which nobody wanted it any more


def _reason(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    if isinstance(error, socket.gaierror):
        return f"{said}; nobody knows that host: correct the name in url, or write its address"
    advice = _ADVICE.get(error.errno or 0)
    return f"{said}; {advice}" if advice else said


async def _open_tcp(url: StreamUrl, stream: Stream) -> None:
    transport, _ = await stream.loop.create_connection(lambda: Door(stream), url.host, url.port)
    sock = transport.get_extra_info("socket")
    narrow(sock, stream)
    _keep_alive(sock)


def narrow(sock: socket.socket, stream: Stream) -> None:
    """Let no more wait in the kernel than the stream takes in one window: a flood comes in small pieces."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(_LEAST_BUFFER, int(stream.most_per_s * _WINDOW_S)))


class Door(asyncio.Protocol):
    """Lets in what a device can mean, and keeps a flood outside: TCP makes whoever floods us wait."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._room = stream.most_per_s * _WINDOW_S
        self._heard = 0
        self._since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stream.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        now_s = self._stream.loop.time()
        if now_s - self._since_s > _WINDOW_S:
            self._since_s, self._heard = now_s, 0
        self._heard += len(data)
        if self._heard > self._room and not self._stream.transport.is_closing():
            self._stream.transport.pause_reading()
            self._stream.loop.call_later(self._heard / self._stream.most_per_s, self._open)
            self._heard = 0
        self._stream.data_received(data)

    def _open(self) -> None:
        if not self._stream.full and not self._stream.transport.is_closing():
            self._stream.transport.resume_reading()


def _keep_alive(sock: socket.socket) -> None:
    """A far end that was switched off is noticed within some ten seconds, by one who only listens too."""
    for level, option, value in _ALIVE:
        sock.setsockopt(level, option, value)


async def _open_serial(url: StreamUrl, stream: Stream) -> None:
    """Opening may block (a modem line, a bridge that hangs), so a thread does it; pyserial locks the port."""
    import termios  # noqa: PLC0415  # only a line with a serial device pays for it

    import serial  # noqa: PLC0415
    import serial_asyncio_fast  # noqa: PLC0415

    job = stream.loop.run_in_executor(None, partial(serial.Serial, url.path, exclusive=True, **url.settings))
    try:
        port = await asyncio.shield(job)
    except asyncio.CancelledError:
        job.add_done_callback(_close_port)
        raise
    except (ValueError, termios.error) as error:  # termios.error is no OSError
        raise _unset(stream, error) from error
    try:
        port.reset_input_buffer()
        await serial_asyncio_fast.connection_for_serial(stream.loop, lambda: stream, port)  # sets the port once more
    except (OSError, ValueError, termios.error) as error:  # a setting it cannot have, or pulled in this very moment
        port.close()
        raise _unset(stream, error) from error
    await stream.up.wait()  # the transport announces itself by call_soon


def _unset(stream: Stream, error: Exception) -> DeviceError:
    why = error.args[1] if len(error.args) > 1 else error
    return DeviceError(
        f"{stream.where}: the port does not take its settings: {why}; "
        "try another baudrate, parity, bytesize or stopbits, and look whether the adapter is still plugged in"
    )


def _close_port(job: asyncio.Future[Any]) -> None:
    if not job.cancelled() and job.exception() is None:
        job.result().close()
