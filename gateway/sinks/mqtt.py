"""MQTT 5: state, evidence and telemetry out; acknowledgements and orders in.

Below `<path>/` (see docs/mqtt.md, which is generated):

    state/...        retained, from the Board: all on connect, then what changes
    event/<kind>     one message for each ledger record: its canonical bytes, CloudEvents 1.0 in binary mode
    telemetry/<dev>  JSON, one scan or several in a message
    checkpoint       retained, the newest signed checkpoint
    ack              the MES's watermark
    cmd/<name>       MQTT 5 request; the answer goes to the request's response topic

Everything goes out at QoS 1, and a delivery is what got a PUBACK whose reason code says yes.  That says nothing of the
MES: with `ack: required` evidence is retired only by its watermark.  A subscriber cannot see who published: commands
are those of one configured MES principal, and the broker's ACL must guard `cmd/` and `ack` (deploy/mosquitto).
MQTT 3.1.1 brokers, which would need CloudEvents in structured mode, are not served.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.errors import SinkError
from gateway.sinks.base import SinkConfig, SinkPorts
from gateway.sinks.secret import SecretFile, read_secret
from gateway.units import Duration

if TYPE_CHECKING:
    from gateway.sinks.mqtt_handover import Dial
    from gateway.sinks.mqtt_sink import MqttSink

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


def loopback(host: str) -> bool:
    """Does what is sent there stay on this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MqttConfig(SinkConfig):
    """An MQTT 5 broker."""

    kind: Literal["mqtt"] = "mqtt"
    url: str
    """`mqtts://host:8883`; `mqtt://` only to this machine, or with `allow_plain`."""
    ack: Literal["required", "none"] = "none"
    """required: evidence is retired only by the MES's watermark on `<path>/ack`, re-sent from it on each connect."""
    ack_timeout_s: Duration = Field(30.0, alias="ack_timeout", gt=0)
    """Records that wait longer for the MES's watermark, although the broker is there, are an alarm."""
    telemetry: bool = True
    evidence: bool = True
    path: str | None = None
    """Root of all topics; the gateway's own ISA-95 path if not given."""
    client_id: str | None = Field(None, min_length=1, max_length=128)
    """`<gateway id>-<sink name>` if not given.  Two clients of one id throw each other out."""
    username: str | None = None
    password_file: SecretFile | None = None
    ca: Path | None = None
    """Certificates that may vouch for the broker, PEM; the system's own if not given."""
    cert: Path | None = None
    key: Path | None = None
    mes_principal: str | None = Field(None, min_length=1)
    """In whose name commands on `cmd/` are carried out.  None: commands are not listened to."""
    window: int = Field(32, ge=20, le=64)
    """Messages in flight; never more than the broker's Receive Maximum.  paho slows down beyond some 64."""
    keepalive_s: Duration = Field(5.0, alias="keepalive", ge=1, le=3600)
    expiry_s: Duration = Field(3600.0, alias="expiry", ge=1)
    """The broker drops telemetry that no subscriber fetched for so long."""
    allow_plain: str | None = Field(None, min_length=8)
    """Why unencrypted MQTT to another machine is right here: the waiver, in words."""

    @field_validator("path")
    @classmethod
    def _publishable(cls, path: str | None) -> str | None:
        if path is not None and (not path.strip("/") or set(path) & set("+#\0") or path.startswith(("/", "$"))):
            raise ValueError(f"{path!r} is no topic root; write levels like acme/denver/filling/line3/cell1")
        return path

    @model_validator(mode="after")
    def _can_connect(self) -> MqttConfig:
        parts = urlsplit(self.url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError(f"url {self.url!r}: write mqtts://host:8883, or mqtt://127.0.0.1:1883 on this machine")
        if parts.username or parts.password:
            raise ValueError("url: a password in a URL ends in logs; use username and password_file")
        if parts.scheme == "mqtt" and not loopback(parts.hostname) and not self.allow_plain:
            raise ValueError(
                f"url {self.url!r}: unencrypted to another machine; use mqtts://, or give the reason in allow_plain"
            )
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")
        if not self.telemetry and not self.evidence:
            raise ValueError("neither telemetry nor evidence: nothing to send")
        if self.ack == "required" and not self.evidence:
            raise ValueError("ack: required without evidence: there is nothing to acknowledge")
        return self

    @property
    def wants_records(self) -> bool:
        return self.evidence

    @property
    def wants_scans(self) -> bool:
        return self.telemetry

    @property
    def acknowledges(self) -> bool:
        return self.ack == "required"

    @property
    def patience_s(self) -> float:
        return self.ack_timeout_s

    def address(self) -> str:
        return self.url

    def connect(self, name: str, ports: SinkPorts) -> AbstractAsyncContextManager[MqttSink]:
        return _open(self, name, ports)

    def tls(self) -> ssl.SSLContext | None:
        """SinkError: a certificate cannot be read."""
        if urlsplit(self.url).scheme != "mqtts":
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            if self.cert is not None and self.key is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError) as error:
            raise SinkError(f"TLS files: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _dial(config: MqttConfig, name: str, path: str, ports: SinkPorts) -> Dial:
    from gateway.sinks.mqtt_handover import Dial  # noqa: PLC0415  # paho is loaded only where MQTT is spoken
    from gateway.sinks.mqtt_sink import gateway_state  # noqa: PLC0415  # the same

    parts = urlsplit(config.url)
    return Dial(
        host=parts.hostname or "",
        port=parts.port or PORTS[parts.scheme],
        client_id=config.client_id or f"{ports.identity.gateway_id}-{name}",
        keepalive_s=round(config.keepalive_s),
        timeout_s=config.timeout_s,
        window=config.window,
        tls=config.tls(),
        username=config.username,
        password=read_secret(config.password_file) if config.password_file else None,
        will_topic=f"{path}/state/gateway",
        will_payload=gateway_state(ports, online=False),
    )


@asynccontextmanager
async def _open(config: MqttConfig, name: str, ports: SinkPorts) -> AsyncIterator[MqttSink]:
    from gateway.sinks.mqtt_inbox import Inbox  # noqa: PLC0415  # paho is loaded only where MQTT is spoken
    from gateway.sinks.mqtt_link import opened  # noqa: PLC0415  # the same
    from gateway.sinks.mqtt_sink import MqttSink  # noqa: PLC0415  # the same

    path = config.path or ports.identity.path
    inbox = Inbox(name, path, config.mes_principal, ports)
    async with opened(_dial(config, name, path, ports), inbox.received) as link:
        await inbox.open(link, acknowledgements=config.acknowledges)
        sink = MqttSink(name, path, config.expiry_s, ports, link)
        try:
            yield sink
        finally:
            await inbox.close()
            await sink.stop()
