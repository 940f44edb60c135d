"""What is reached over a network: devices, sinks, the console's port.  Connects, and closes again."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from gateway.doctor.files import lasting
from gateway.doctor.finding import Finding, aside
from gateway.doctor.machine import serial_port
from gateway.drivers.base import DriverConfig
from gateway.sinks.base import SinkConfig
from gateway.world import World

if TYPE_CHECKING:
    from gateway.sinks.influx import InfluxConfig
    from gateway.sinks.mqtt import MqttConfig

_CONNECT_S: Final = 3.0
_PORTS: Final = {"opc.tcp": 4840, "mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443}


async def device(name: str, config: DriverConfig, pid: str | None) -> list[Finding]:
    """Can it be reached?  Left alone while a gateway has it: some devices take one connection only."""
    area = f"device {name}"
    url = _split(str(getattr(config, "url", "")))
    if url is not None and url.scheme == "serial":
        return await serial_port(area, url.path)
    if url is None or not url.hostname:
        return await _by_itself(area, config)
    if pid is not None:
        return [Finding("ok", area, f"left alone: the gateway (pid {pid}) has it; see `linegate status`")]
    if url.scheme.endswith("+listen"):
        return await free(area, url.hostname, url.port or 0, None)
    return await _reached(area, url.hostname, url.port or _PORTS.get(url.scheme, 0))


async def _by_itself(area: str, config: DriverConfig) -> list[Finding]:
    """A device without an address on a network: what its driver sees."""
    look = getattr(config, "preflight", None)
    wrong = await aside(look) if look else []
    if wrong:
        return [Finding("fail", area, str(text), "correct it in line.yaml, or bring the file") for text in wrong]
    return [Finding("ok", area, f"{config.address()}")]


async def _reached(area: str, host: str, port: int) -> list[Finding]:
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        todo = f"is it switched on, is the cable in, is a firewall between?  ping {host}"
        return [Finding("fail", area, f"{where} does not answer within {_CONNECT_S:g} s", todo)]
    except OSError as error:
        return [_refused(area, where, error)]
    writer.close()
    return [Finding("ok", area, f"{where} answers")]


def _refused(area: str, where: str, error: OSError) -> Finding:
    if isinstance(error, ConnectionRefusedError):
        return Finding(
            "fail", area, f"{where}: nobody listens there", "start what listens there, or correct port and url"
        )
    if "getaddrinfo" in repr(error) or type(error).__name__ == "gaierror":
        return Finding("fail", area, f"{where}: nobody knows this name", "correct the name, or write the address")
    return Finding("fail", area, f"{where}: {error.strerror or error}", "look at the network's route to it")


async def sink(name: str, config: SinkConfig, world: World) -> list[Finding]:
    """Does the consumer let us in?"""
    area = f"sink {name}"
    url = _split(str(getattr(config, "url", "")))
    if url is None or not url.hostname:
        return [Finding("ok", area, "has no address that could be tried")]
    found = await _reached(area, url.hostname, url.port or _PORTS.get(url.scheme, 0))
    if found[0].level != "ok":
        return found
    if config.kind == "mqtt":
        return await _mqtt(area, config, url, world)  # type: ignore[arg-type]  # the kind says so
    if config.kind == "influxdb":
        return await _influx(area, config)  # type: ignore[arg-type]  # the same
    return found


async def _mqtt(area: str, config: MqttConfig, url: SplitResult, world: World) -> list[Finding]:
    """TLS, then a CONNECT under a name of our own: the running gateway's session is not taken over."""
    from gateway.errors import SinkError  # noqa: PLC0415
    from gateway.sinks.secret import read_secret  # noqa: PLC0415

    port = url.port or _PORTS[url.scheme]
    host = str(url.hostname)
    try:
        context = config.tls()
        password = read_secret(config.password_file) if config.password_file else None
    except SinkError as error:
        return [Finding("fail", area, str(error), "correct the file it names")]
    found: list[Finding] = []
    if context is not None:
        found = await _tls(area, host, port, context, world)
        if any(finding.level == "fail" for finding in found):
            return found
    said = await aside(lambda: _connack(host, port, context, config.username, password))
    if said == "Success":
        return [*found, Finding("ok", area, f"the broker {host}:{port} lets us in")]
    todo = "look at username, password_file and the broker's users and ACL; Linegate speaks MQTT 5"
    return [*found, Finding("fail", area, f"the broker {host}:{port} says: {said}", todo)]


def _connack(host: str, port: int, context: ssl.SSLContext | None, user: str | None, password: str | None) -> str:
    """The broker's reason code to a CONNECT, in words."""
    from paho.mqtt import client as paho  # noqa: PLC0415  # only where MQTT is spoken
    from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

    client = paho.Client(CallbackAPIVersion.VERSION2, f"linegate-doctor-{secrets.token_hex(4)}", protocol=paho.MQTTv5)
    said: list[str] = []
    client.on_connect = lambda *given: said.append(str(given[3]))
    if context is not None:
        client.tls_set_context(context)
    if user is not None:
        client.username_pw_set(user, password)
    client.connect(host, port, keepalive=5)
    for _ in range(30):
        if said or client.loop(timeout=0.1) != paho.MQTT_ERR_SUCCESS:
            break
    client.disconnect()
    return said[0] if said else "nothing, and closes the connection"


async def _tls(area: str, host: str, port: int, context: ssl.SSLContext, world: World) -> list[Finding]:
    """Whom the server says it is, who vouches for it, and until when."""
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        todo = "put the certificate of the plant's CA into ca:, or give the server one for this very name"
        return [Finding("fail", area, f"its certificate is not trusted: {error.verify_message}", todo)]
    except ssl.SSLError as error:
        return [Finding("fail", area, f"TLS: {error.reason or error}", "does it speak TLS 1.2 on this port?")]
    ends = (writer.get_extra_info("peercert") or {}).get("notAfter")
    writer.close()
    if not ends:
        return []
    days = (ssl.cert_time_to_seconds(ends) - world.time_ns() / 1e9) / 86_400
    return [lasting(area, "the server's certificate", days)]


async def _influx(area: str, config: InfluxConfig) -> list[Finding]:
    """`/ping`: answered by InfluxDB 1, 2, 3 and VictoriaMetrics, without a secret."""
    context = ssl.create_default_context(cafile=str(config.ca)) if config.ca else None
    address = f"{config.url.rstrip('/')}/ping"

    def ping() -> str:
        with urllib.request.urlopen(address, timeout=_CONNECT_S, context=context) as answer:  # noqa: S310  # http by config
            return str(answer.headers.get("X-Influxdb-Version", ""))

    try:
        version = await aside(ping)
    except urllib.error.HTTPError as error:
        return [Finding("fail", area, f"{address} answers {error.code}", "is this an InfluxDB?  Correct url")]
    except (urllib.error.URLError, OSError) as error:
        return [
            Finding("fail", area, f"{address}: {getattr(error, 'reason', error)}", "start it, or correct url and ca")
        ]
    return [Finding("ok", area, f"{config.url} answers" + (f", InfluxDB {version}" if version else ""))]


async def free(area: str, host: str, port: int, pid: str | None) -> list[Finding]:
    """A port that the gateway listens on: taken by the gateway itself, or by nobody."""
    if not port:
        return [Finding("ok", area, "takes any free port")]
    taken = await _listens(host, port)
    if pid is not None and taken:
        return [Finding("ok", area, f"port {port} is the running gateway's (pid {pid})")]
    if taken:
        todo = f"find it with `ss -ltnp sport = :{port}`, or give another port"
        return [Finding("fail", area, f"port {port} is taken by another program", todo)]
    if pid is not None:
        return [
            Finding("warn", area, f"the gateway runs (pid {pid}) and does not listen on port {port}", "look at its log")
        ]
    return [Finding("ok", area, f"port {port} is free")]


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection("127.0.0.1" if host == "0.0.0.0" else host, port)  # noqa: S104
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None
