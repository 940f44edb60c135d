"""Getting into an OPC UA server, and out again, over asyncua.  Imported inside connect().

Known ways of asyncua 2.1 that this file answers for:
- its own reconnecting and watchdog are off: the station is the one owner of retries;
- no server certificate is checked unless told to, and without one given it is fetched over an unsecured channel;
- a refused secure channel comes out as a bare AssertionError;
- there is no limit on messages, and `Acknowledge` overwrites ours with the server's, so they are set again;
- a cancelled connect leaves its socket open;
- it gathers a chunk whatever size its header claims, copying all of it with each piece that comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import structlog
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from cryptography import x509

from gateway.drivers.opcua.convert import status_name, ua
from gateway.drivers.opcua.link import LIBRARY, Link, edge
from gateway.drivers.opcua.protection import Security
from gateway.drivers.opcua.security import (
    OwnCertificate,
    check_server,
    ensure_certificate,
    key_of,
    load,
    own_names,
    read_own,
)
from gateway.errors import DeviceError, DeviceMisconfigured

log = structlog.get_logger()

REQUEST_S: Final = 3.0
"""One request while connecting; polls and halts have budgets of their own around it.  With the good-bye after a
failed one still within the 5 s that a station gives a connect, so that our reason is the one that is seen."""
CLOSE_S: Final = 1.0
SESSION_MS: Final = 60_000
"""A session we lost is gone from the server a minute later; small controllers have room for three."""
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_CHUNKS: Final = 1024
MAX_CHUNK: Final = 1024 * 1024
"""Bytes of one; our Hello says 64 KiB (Part 6, 7.1.2.3), and not every server keeps to it."""
_SIZE: Final = slice(4, 8)
"""Where a chunk says how long it is (Part 6, 7.1.2.2)."""
_DAY_S: Final = 86400.0


@asynccontextmanager
async def open_link(name: str, url: str, security: Security) -> AsyncIterator[Link]:
    """Connect, with one session attempt that has ended before this returns or raises.  `name`: for error texts."""
    where = f"{name} at {url}"
    client = Client(url, timeout=REQUEST_S, watchdog_intervall=_DAY_S, auto_reconnect=False)
    client.name = client.description = "Linegate"
    client.max_messagesize, client.max_chunkcount = MAX_MESSAGE, MAX_CHUNKS
    client.session_timeout = SESSION_MS
    _guard(client, where)
    try:
        own = await _secure(client, url, where, security)
        with _admitted(where, own), edge(where):
            await client.connect()
        _limit(client)
        with edge(where):
            namespaces = await client.get_namespace_array()
        link = Link(client, where, namespaces)
        await link.learn_limits()
        yield link
    finally:
        await _close(client)


async def _close(client: Client) -> None:
    """Say good-bye if that goes quickly; the socket is closed in any case, also when we are cancelled meanwhile."""
    try:
        with suppress(TimeoutError, DeviceError):
            async with asyncio.timeout(CLOSE_S):
                with edge("good-bye"):
                    await client.disconnect()
    finally:
        client.disconnect_socket()


def _limit(client: Client) -> None:
    protocol: Any = client.uaclient.protocol
    limits = protocol._connection._limits  # noqa: SLF001  # no public way: see the module's text
    limits.max_message_size = min(limits.max_message_size or MAX_MESSAGE, MAX_MESSAGE)
    limits.max_chunk_count = min(limits.max_chunk_count or MAX_CHUNKS, MAX_CHUNKS)


def _guard(client: Client, where: str) -> None:
    """Hang up on who announces a chunk that no server of ours sends: noise, or a flood."""
    make: Any = client.uaclient._make_protocol  # noqa: SLF001  # no public way

    def guarded() -> Any:
        protocol = make()
        take = protocol.data_received

        def data_received(data: bytes) -> None:
            take(data)
            waiting = protocol.receive_buffer
            if waiting and (size := int.from_bytes(waiting[_SIZE], "little")) > MAX_CHUNK:
                log.warning("chunk too large", device=where, bytes=size, most=MAX_CHUNK, next="the link is cut")
                protocol.receive_buffer = None
                protocol.transport.abort()

        protocol.data_received = data_received
        return protocol

    vars(client.uaclient)["_make_protocol"] = guarded


# -- security ------------------------------------------------------------------------------------


async def _secure(client: Client, url: str, where: str, security: Security) -> OwnCertificate | None:
    """Set up signing and encryption; the server's certificate is checked before a secure channel is opened."""
    if security.user:
        client.set_user(security.user)
        client.set_password(security.password or "")
    if security.mode == "None":
        return None
    own = await _own(security)
    client.application_uri = own.application_uri  # servers compare it with the one in the certificate
    policy = getattr(security_policies, f"SecurityPolicy{security.policy.replace('_', '')}")
    mode = ua.MessageSecurityMode[security.mode]
    with edge(where):
        cert = (
            load(security.server_certificate) if security.server_certificate else await _fetch(url, where, policy, mode)
        )
        if security.trusted is not None:
            check_server(cert, security.trusted, endpoint=url)
            client.certificate_validator = _validator(security)
    with edge(f"{where}: our certificate {own.certificate}"):  # not by set_security: it reads the key each time
        client.security_policy = policy(cert, load(own.certificate), key_of(own.key), mode, host_cert_chain=[])
        client.uaclient.set_security(client.security_policy)
    return own


async def _own(security: Security) -> OwnCertificate:
    certificate, key = security.own
    if security.certificate or security.pki is None:
        return read_own(certificate, key)
    # A new RSA key takes some 100 ms: other devices' polls go on meanwhile.
    return await asyncio.to_thread(ensure_certificate, security.pki, *own_names())


def _validator(security: Security) -> Any:
    """The session's own word (certificate and application URI) against the trust folder, as the peer of a server."""

    async def validate(cert: x509.Certificate, application: Any) -> None:
        assert security.trusted is not None
        check_server(cert, security.trusted, application.ApplicationUri)

    return validate


async def _fetch(url: str, where: str, policy: Any, mode: Any) -> x509.Certificate:
    """The server's certificate from GetEndpoints, over an unsecured channel as discovery always is."""
    client = Client(url, timeout=REQUEST_S)
    client.max_messagesize, client.max_chunkcount = MAX_MESSAGE, MAX_CHUNKS
    try:
        await client.connect_sessionless()
        endpoints = await client.get_endpoints()
    except LIBRARY as exc:
        raise DeviceError(
            f"{where}: endpoints not to be had without security ({exc or type(exc).__name__}); if the server forbids "
            "that, save its certificate to a file and name it as `server_certificate:`"
        ) from exc
    finally:
        await _close(client)
    for endpoint in endpoints:
        if endpoint.SecurityMode == mode and endpoint.SecurityPolicyUri == policy.URI and endpoint.ServerCertificate:
            return x509.load_der_x509_certificate(_first(endpoint.ServerCertificate))
    offered = sorted({f"{_tail(e.SecurityPolicyUri)}/{e.SecurityMode.name.rstrip('_')}" for e in endpoints})
    raise DeviceMisconfigured(f"{where}: no endpoint with this policy and mode; the server offers {', '.join(offered)}")


def _first(chain: bytes) -> bytes:
    """The leading certificate of a chain: an ASN.1 SEQUENCE with a two-byte length."""
    return chain[: int.from_bytes(chain[2:4], "big") + 4]


def _tail(uri: str | None) -> str:
    return (uri or "None").rpartition("#")[2]


@contextmanager
def _admitted(where: str, own: OwnCertificate | None) -> Iterator[None]:
    """Say what to do where the server does not let us in."""
    try:
        yield
    except DeviceMisconfigured:
        raise
    except DeviceError as exc:
        cause = exc.__cause__
        name = status_name(cause.code) if isinstance(cause, ua.UaStatusCodeError) else ""
        if own is not None and (
            isinstance(cause, (AssertionError, ConnectionError)) or "Cert" in name or "Sec" in name
        ):
            raise DeviceMisconfigured(
                f"{where}: the server refused the secure channel{f' ({name})' if name else ''}; it may not trust our "
                f"certificate {own.thumbprint}: put {own.certificate} into the server's trust list"
            ) from exc
        if own is not None and isinstance(cause, TimeoutError):
            raise DeviceError(
                f"{where}: no answer to a secured connection; the server may be away, or it does not trust "
                f"{own.certificate}, or its certificate is another than the one we hold"
            ) from exc
        if name in {"BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid"}:
            raise DeviceMisconfigured(f"{where}: {name}: the server does not accept this user; check `user`") from exc
        raise
