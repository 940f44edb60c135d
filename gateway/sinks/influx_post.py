"""HTTP for the InfluxDB sink.  Everything here blocks and runs in the sink's one thread.

`write(body)` returns "" when the server took it all, and the server's reason when it refused the body for what is in
it (400, 413).  Everything else is a SinkError: the server, the network or the configuration may get well.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

from gateway.errors import SinkError
from gateway.sinks.secret import read_secret

if TYPE_CHECKING:
    from gateway.sinks.influx import InfluxConfig

GZIP_FROM: Final = 1000
"""Bytes: below it, compressing costs more than it saves."""
_THE_BODY: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class Post(Protocol):
    def write(self, body: bytes) -> str: ...
    def close(self) -> None: ...


def opened(config: InfluxConfig) -> Post:
    """Connect and see that the server is there.  SinkError."""
    return V1(config) if config.api == "v1" else V2(config)


def _verdict(config: InfluxConfig, status: int, answer: str) -> str:
    """What an answer that is not 2xx means."""
    reason = _said(answer) or f"HTTP {status}"
    if status in _THE_BODY:
        return reason
    if status == HTTPStatus.NOT_FOUND and config.api == "v2":
        reason += " (InfluxDB before 1.8 has no v2 API: write api: v1 and database)"
    raise SinkError(f"{config.url} answered {status}: {reason}")


def _said(answer: str) -> str:
    """`{"error": ...}` of 1.x, `{"message": ...}` of 2.x, or the text itself."""
    try:
        document = json.loads(answer)
    except ValueError:
        return answer.strip()[:200]
    return str(document.get("error") or document.get("message") or "") if isinstance(document, dict) else ""


class V1:
    """`POST /write` of InfluxDB 1.x over one kept connection."""

    def __init__(self, config: InfluxConfig) -> None:
        self._config = config
        parts = urlsplit(config.url)
        query = {"db": config.database or "", "precision": "ns"} | (
            {"rp": config.retention} if config.retention else {}
        )
        self._target = f"{parts.path.rstrip('/')}/write?{urlencode(query)}"
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if config.username is not None:
            password = read_secret(config.password_file) if config.password_file else ""
            pair = base64.b64encode(f"{config.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        self._http = self._connection(parts.scheme, parts.hostname or "", parts.port)
        reason = self.write(b"")  # a database that does not exist is found now
        if reason:
            raise SinkError(f"{config.url}: {reason}")

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        timeout_s = self._config.timeout_s
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            context = ssl.create_default_context(cafile=str(self._config.ca) if self._config.ca else None)
        except OSError as error:
            raise SinkError(f"TLS files: {error}") from error
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    def write(self, body: bytes) -> str:
        headers = dict(self._headers)
        if self._config.gzip and len(body) >= GZIP_FROM:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        try:
            status, answer = self._exchange(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise SinkError(f"{self._config.url}: {error or type(error).__name__}") from error
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return ""
        return _verdict(self._config, status, answer)

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """One request; once more on a fresh connection where the server had hung up on the kept one meanwhile."""
        kept = self._http.sock is not None
        try:
            return self._once(body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._http.close()
            if not kept:
                raise
        return self._once(body, headers)

    def _once(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        self._http.request("POST", self._target, body, headers)
        response = self._http.getresponse()
        return response.status, response.read().decode("utf-8", "replace")

    def close(self) -> None:
        self._http.close()


class V2:
    """`POST /api/v2/write` through influxdb-client, its own retries off."""

    def __init__(self, config: InfluxConfig) -> None:
        from influxdb_client.client.influxdb_client import InfluxDBClient  # noqa: PLC0415  # heavy
        from influxdb_client.client.write_api import SYNCHRONOUS  # noqa: PLC0415  # heavy

        self._config = config
        self._see()
        self._client: Any = InfluxDBClient(
            url=config.url,
            token=read_secret(config.token_file) if config.token_file else "",
            org=config.org,
            timeout=round(config.timeout_s * 1000),
            enable_gzip=config.gzip,
            ssl_ca_cert=str(config.ca) if config.ca else None,
            retries=False,
        )
        self._api: Any = self._client.write_api(write_options=SYNCHRONOUS)

    def _see(self) -> None:
        """Is anybody listening?  The v2 API has no request that tells a bucket and does nothing."""
        parts = urlsplit(self._config.url)
        there = http.client.HTTPConnection(
            parts.hostname or "",
            parts.port or (443 if parts.scheme == "https" else 80),
            timeout=self._config.timeout_s,
        )
        try:
            there.connect()
        except OSError as error:
            raise SinkError(f"{self._config.url}: {error}") from error
        finally:
            there.close()

    def write(self, body: bytes) -> str:
        from influxdb_client.rest import ApiException  # noqa: PLC0415  # heavy
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  # comes with influxdb-client

        try:
            self._api.write(self._config.bucket, self._config.org, body)
        except ApiException as error:
            return _verdict(self._config, int(error.status or 0), _text(error.body))
        except (HTTPError, OSError) as error:
            raise SinkError(f"{self._config.url}: {error}") from error
        return ""

    def close(self) -> None:
        self._client.close()


def _text(body: Any) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
