"""InfluxDB: scans as points, and the records that belong on a time axis.  See influx_lines.py for the schema.

Writing the same point twice changes nothing, so at-least-once is exactly-once here.  v1 (`/write`) serves InfluxDB
1.x; v2 (`/api/v2/write`, by influxdb-client) serves 1.8+, 2, 3 and VictoriaMetrics.  A refused batch (400, 413) is
halved until the lines at fault stand alone: those are rejected, the rest is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.errors import Rejected
from gateway.model import Record, Scan
from gateway.sinks.base import SinkConfig, SinkPorts
from gateway.sinks.secret import SecretFile
from gateway.units import Duration

if TYPE_CHECKING:
    from gateway.sinks.influx_post import Post

ENCODED_AT_ONCE: Final = 10
"""Scans encoded before the loop gets a turn: 10 of 100 tags take some 0.5 ms."""


class InfluxConfig(SinkConfig):
    """An InfluxDB, or what speaks its write API."""

    kind: Literal["influxdb"] = "influxdb"
    url: str
    """`http://127.0.0.1:8086`"""
    api: Literal["v1", "v2"] = "v2"
    database: str | None = Field(None, min_length=1)
    """v1: it must exist."""
    retention: str | None = None
    """v1: retention policy, the database's default if not given."""
    bucket: str | None = Field(None, min_length=1)
    org: str = "-"
    """v2; InfluxDB 1.8 and VictoriaMetrics take any."""
    token_file: SecretFile | None = None
    username: str | None = None
    password_file: SecretFile | None = None
    ca: Path | None = None
    """Certificates that may vouch for the server, PEM; the system's own if not given."""
    gzip: bool = True
    linger_s: Duration = Field(0.5, alias="linger", ge=0)
    """Live scans are gathered so long into one request."""
    telemetry: bool = True
    events: bool = True
    """Alarms, halts, judged checks and weighings: annotations and the fill-weight chart."""
    allow_plain: str | None = Field(None, min_length=8)
    """Why a secret over unencrypted HTTP to another machine is right here: the waiver, in words."""

    @model_validator(mode="after")
    def _can_connect(self) -> InfluxConfig:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {self.url!r}: write http://host:8086 or https://host:8086")
        if parts.username or parts.password:
            raise ValueError("url: a password in a URL ends in logs; use username and password_file, or token_file")
        if self.api == "v1" and not self.database:
            raise ValueError("api v1 needs database")
        if self.api == "v2" and not self.bucket:
            raise ValueError("api v2 needs bucket (or write api: v1 and database)")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")
        secret = self.token_file or self.password_file
        if secret and parts.scheme == "http" and parts.hostname not in _HERE and not self.allow_plain:
            raise ValueError(f"url {self.url!r}: a secret over http; use https, or give the reason in allow_plain")
        return self

    @property
    def wants_records(self) -> bool:
        return self.events

    @property
    def wants_scans(self) -> bool:
        return self.telemetry

    @property
    def gather_s(self) -> float:
        return self.linger_s

    @property
    def scans_at_once(self) -> int:
        return 500

    def address(self) -> str:
        return f"{self.url} {self.database if self.api == 'v1' else self.bucket}"

    def connect(self, name: str, ports: SinkPorts) -> AbstractAsyncContextManager[InfluxSink]:
        return _open(self, name, ports)


_HERE: Final = ("127.0.0.1", "localhost", "::1")


class InfluxSink:
    """One server.  Requests run in one thread of its own: one at a time, whatever is cancelled."""

    def __init__(self, ports: SinkPorts, post: Post, thread: ThreadPoolExecutor) -> None:
        from gateway.sinks.influx_lines import Lines  # noqa: PLC0415  # only where it is used

        self._lines = Lines(ports.identity, ports.steady_ns)
        self._post = post
        self._thread = thread

    async def deliver(self, batch: Sequence[Record | Scan]) -> None:
        """One request for all of it; more only where the server refuses some."""
        lines: list[tuple[int, str]] = []
        for position, item in enumerate(batch):
            line = self._lines.scan(item) if isinstance(item, Scan) else self._lines.record(item)
            if line is not None:
                lines.append((position, line))
            if position % ENCODED_AT_ONCE == ENCODED_AT_ONCE - 1:
                await asyncio.sleep(0)
        if not lines:
            return
        refused: dict[int, str] = {}
        await self._write(lines, refused)
        if refused:
            reasons = dict.fromkeys(refused.values())
            raise Rejected(sorted(refused), "; ".join(reasons))

    async def _write(self, lines: Sequence[tuple[int, str]], refused: dict[int, str]) -> None:
        body = "\n".join(line for _, line in lines).encode()
        reason = await asyncio.get_running_loop().run_in_executor(self._thread, self._post.write, body)
        if not reason:
            return
        if len(lines) == 1:
            refused[lines[0][0]] = reason
            return
        half = len(lines) // 2
        await self._write(lines[:half], refused)
        await self._write(lines[half:], refused)

    async def closed(self) -> None:
        """There is no connection to be lost: a request that fails says so."""
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def _open(config: InfluxConfig, name: str, ports: SinkPorts) -> AsyncIterator[InfluxSink]:
    from gateway.sinks.influx_post import opened  # noqa: PLC0415  # HTTP only where it is spoken

    thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{name}")
    loop = asyncio.get_running_loop()
    try:
        post = await loop.run_in_executor(thread, opened, config)
        try:
            yield InfluxSink(ports, post, thread)
        finally:
            thread.submit(post.close)
    finally:
        thread.shutdown(wait=False)
