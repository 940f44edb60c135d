"""One OPC UA server on asyncua, with the small namespace 0 and a cable that can be cut or struck dumb."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.server.address_space import AttributeService
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from simulators import core_nodes
from simulators.certificate import application_certificate
from simulators.link import Gate
from simulators.ports import kept
from simulators.ua_edge import (
    BAD_INVALID_STATE,
    BAD_SENSOR_FAILURE,
    BAD_STATE_NOT_ACTIVE,
    BAD_WRITE_NOT_SUPPORTED,
    OBJECTS_FOLDER,
    VALUE,
    TooManySessions,
    Untrusted,
    bad,
    doubted,
    good,
    node_id,
    status,
)

Written = Callable[[Any], Awaitable[None]]
_POLICIES: Final = [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]


class _SmallServer(InternalServer):
    """asyncua's core with the reduced namespace 0, and as many sessions as it is let."""

    most_sessions: int | None = None

    def create_session(self, *args: Any, **kwargs: Any) -> Any:
        """BadTooManySessions beyond the limit."""
        if self.most_sessions is not None and len(self._external_sessions) >= self.most_sessions:
            raise TooManySessions
        return super().create_session(*args, **kwargs)

    async def end_sessions(self) -> None:
        """Forget every client, as a restart does; else a session outlives its connection by minutes."""
        for session in tuple(self._external_sessions.values()):
            await session.close_session(delete_subs=True)

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:  # noqa: ARG002  # its shape
        core_nodes.fill(self)


class _Attributes(AttributeService):
    """Reads and writes, as picky as some servers are."""

    refuses_stamps = False
    refused: AbstractSet[ua.NodeId] = frozenset()
    """Nodes whose writes are answered with BadInvalidState."""

    async def write(self, params: ua.WriteParameters, *args: Any, **kwargs: Any) -> list[ua.StatusCode]:
        """BadWriteNotSupported for a value that carries a time stamp, where the server is like that."""
        if any(each.NodeId in self.refused for each in params.NodesToWrite):
            return [status(BAD_INVALID_STATE) for _ in params.NodesToWrite]
        if not self.refuses_stamps:
            return await super().write(params, *args, **kwargs)
        if any(_stamped(each.Value) for each in params.NodesToWrite):
            return [status(BAD_WRITE_NOT_SUPPORTED) for _ in params.NodesToWrite]
        return await super().write(params, *args, **kwargs)


def _stamped(value: ua.DataValue) -> bool:
    return value.SourceTimestamp is not None or value.ServerTimestamp is not None


class _Muffler:
    """A transport that swallows what the server says while the gate is shut."""

    def __init__(self, transport: asyncio.Transport, gate: Gate) -> None:
        self._transport, self._gate = transport, gate

    def write(self, data: bytes) -> None:
        if not self._gate.silent:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Protocol(OPCUAProtocol):
    """One client's connection."""

    gate: Gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        muffled: Any = _Muffler(transport, self.gate)
        super().connection_made(muffled)

    def data_received(self, data: bytes) -> None:
        if not self.gate.silent:
            super().data_received(data)


class _Listener(BinaryServer):
    """The listener, able to close and open again without losing the address space."""

    gate: Gate

    def _make_protocol(self) -> OPCUAProtocol:
        protocol = _Protocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)
        protocol.gate = self.gate
        return protocol

    async def shut(self) -> None:
        """Refuse new connections and break the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in tuple(self.iserver.asyncio_transports):
            transport.abort()
        await asyncio.sleep(0)

    async def reopen(self) -> None:
        """Listen again on the same port.  OSError if someone else took it."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._make_protocol, self.hostname, self.port)


@dataclass(frozen=True)
class Place:
    """Where a server lives."""

    host: str
    port: int
    folder: Path
    """Run folder: certificate and key are kept here."""
    trust: Path | None = None
    """Folder of trusted client certificates (DER); None: every client certificate is accepted."""


class OpcUaLink:
    """A server and its nodes; also the cable (`Link`)."""

    def __init__(self, name: str, place: Place, gate: Gate) -> None:
        self.name, self.host, self.port, self.gate = name, place.host, place.port, gate
        self.uri = f"urn:linegate:sim:{name}"
        self.certificate, self._key = application_certificate(place.folder, name, f"{self.uri}:server")
        self._trust = place.trust
        self._shown: dict[ua.NodeId, Any] = {}
        self._types: dict[ua.NodeId, ua.VariantType] = {}
        self._hidden: dict[ua.NodeId, Any] = {}
        self._doubted: set[ua.NodeId] = set()
        self._listener: _Listener | None = None
        self._built = False
        self.front = 0
        """Port of the proxy before it, which is what people are told."""
        self.index = 0

    async def build(self, populate: Callable[[OpcUaLink], Awaitable[None]]) -> None:
        """Make the address space; nothing listens yet."""
        self._built = True
        self._core = _SmallServer()
        self.server = Server(iserver=self._core)
        await self.server.init()
        self.server.set_server_name(f"Simulated {self.name}")
        await self.server.set_application_uri(f"{self.uri}:server")
        self.server.set_security_policy(_POLICIES)
        await self.server.load_certificate(self.certificate)
        await self.server.load_private_key(self._key)
        self.server.set_certificate_validator(self._validate)
        self.index = await self.server.register_namespace(self.uri)
        self._space = self._core.aspace
        self._attributes = _Attributes(self._space)
        self._core.attribute_service = self._attributes
        await populate(self)

    async def open(self) -> None:
        """Listen.  OSError if the port is taken."""
        if self._listener is not None:
            await self._listener.reopen()
            return
        self.port = self.port or kept(self.host, self)
        self.server.set_endpoint(f"opc.tcp://{self.host}:{self.front or self.port}/")
        await self.server._setup_server_nodes()  # noqa: SLF001  # Server.start, but with a listener of our own
        listener = _Listener(self.server.iserver, self.host, self.port, self.server.limits)
        listener.gate = self.gate
        listener.set_policies(self.server._policies)  # noqa: SLF001
        await listener.start()
        self._listener = self.server.bserver = listener
        await self.server.iserver.start()

    async def cut(self) -> None:
        if self._listener is not None:
            await self._listener.shut()

    async def close(self) -> None:
        """Stop the server for good.  Safe if it never opened."""
        if not self._built:
            return
        if self._listener is not None:
            await self._listener.shut()
            if self._listener.cleanup_task is not None:
                self._listener.cleanup_task.cancel()
            time_task, self.server.iserver.time_task = self.server.iserver.time_task, None
            if time_task is not None:  # it sleeps a second at a time: do not wait for it
                time_task.cancel()
        await self.end_sessions()
        await self.server.iserver.stop()

    async def end_sessions(self) -> None:
        """Forget every client, as a restart does."""
        await self._core.end_sessions()

    def drop(self) -> None:
        """Break every connection now; new ones are taken."""
        for transport in tuple(self._core.asyncio_transports):
            transport.abort()

    def be_picky(self, *, stamps: bool, most_sessions: int | None) -> None:
        """Refuse writes that carry time stamps; and more sessions than so many."""
        self._attributes.refuses_stamps = stamps
        self._core.most_sessions = most_sessions

    def refuse(self, nodes: AbstractSet[ua.NodeId]) -> None:
        """Writes to these nodes are answered with BadInvalidState."""
        self._attributes.refused = nodes

    def hide(self, nodes: AbstractSet[ua.NodeId]) -> None:
        """These nodes are not there, all others are."""
        for node in self._hidden.keys() - nodes:
            self._space[node] = self._hidden.pop(node)
        for node in nodes - self._hidden.keys():
            self._hidden[node] = self._space[node]
            del self._space[node]

    async def doubt(self, nodes: AbstractSet[ua.NodeId]) -> None:
        """These nodes keep their value under a bad status, all others are as they are."""
        for node in self._doubted - nodes:
            self._shown.pop(node, None)  # so that the next `show` writes it, whatever it is
        for node in nodes - self._doubted:
            await self._put(node, doubted(self._shown.get(node), self._types.get(node), BAD_SENSOR_FAILURE))
        self._doubted = set(nodes)

    async def _put(self, node: ua.NodeId, data: ua.DataValue) -> None:
        """As it is: asyncua takes the value away where the status is bad, many servers do not."""
        attribute = self._space[node].attributes[VALUE]
        attribute.value = data
        for handle, told in tuple(attribute.datachange_callbacks.items()):
            await told(handle, data)

    @property
    def address(self) -> str:
        return f"opc.tcp://{self.host}:{self.front or self.port}/"

    def node(self, path: str) -> ua.NodeId:
        """String node id in this server's own namespace."""
        return node_id(path, self.index)

    async def folder(self, path: str, parent: ua.NodeId | None = None) -> ua.NodeId:
        """An object to hold nodes; `Filler.Status` hangs under `Filler` when that exists."""
        above = parent or node_id(OBJECTS_FOLDER)
        node = self.node(path)
        name = ua.QualifiedName(path.rpartition(".")[2], self.index)
        await self.server.get_node(above).add_object(node, name)
        return node

    async def variable(
        self, path: str, parent: ua.NodeId, kind: ua.VariantType, value: Any, written: Written | None = None
    ) -> ua.NodeId:
        """A variable; with `written` clients may write it, and it is told each value after the write."""
        node = self.node(path)
        name = ua.QualifiedName(path.rpartition(".")[2], self.index)
        made = await self.server.get_node(parent).add_variable(node, name, ua.Variant(value, kind))
        self._types[node], self._shown[node] = kind, value
        if written is not None:
            await made.set_writable()
            self._listen(node, written)
        return node

    def _listen(self, node: ua.NodeId, written: Written) -> None:
        async def told(_: int, data: ua.DataValue) -> None:
            value = data.Value.Value if data.Value is not None else None
            if value != self._shown.get(node):
                self._shown[node] = value
                await written(value)

        self._space.add_datachange_callback(node, VALUE, told)

    async def show(self, node: ua.NodeId, value: Any) -> None:
        """Publish a value if it changed; None publishes Bad_StateNotActive."""
        if node in self._hidden or node in self._doubted:
            return
        if node in self._shown and self._shown[node] == value and type(self._shown[node]) is type(value):
            return
        self._shown[node] = value
        data = bad(BAD_STATE_NOT_ACTIVE) if value is None else good(value, self._types.get(node))
        await self._space.write_attribute_value(node, VALUE, data)

    def typed(self, node: ua.NodeId, kind: ua.VariantType) -> None:
        """Tell of a variable made elsewhere, so that `show` can write it."""
        self._types[node] = kind

    async def _validate(self, certificate: x509.Certificate, _: ua.ApplicationDescription) -> None:
        """All certificates, or only those in the trust folder (DER)."""
        if self._trust is None:
            return
        der = certificate.public_bytes(serialization.Encoding.DER)
        if not any(path.read_bytes() == der for path in self._trust.glob("*.der")):
            raise Untrusted
