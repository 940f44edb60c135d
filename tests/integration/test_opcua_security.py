"""SignAndEncrypt against a server that checks certificates, as we check its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.opcua.security import ensure_certificate, thumbprint
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import HaltOrder
from tests.opcua_peer import URI, Remote, peer


class Doorman:
    """Whom the server lets in, by thumbprint."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.asked: list[str] = []

    def __call__(self, cert: x509.Certificate) -> bool:
        self.asked.append(thumbprint(cert))
        return thumbprint(cert) in self.known


@pytest.fixture(scope="module")
def doorman() -> Doorman:
    return Doorman()


@pytest.fixture(scope="module")
def server_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    ensure_certificate(folder, "urn:test:server", ["127.0.0.1", "localhost"])
    return folder


@pytest.fixture(scope="module")
def machine(server_pki: Path, doorman: Doorman) -> Iterator[Remote]:
    with peer(pki=server_pki, trusted=doorman) as running:
        yield running


def config(url: str, pki: Path, **more: Any) -> OpcUaConfig:
    given = {"driver": "opcua", "url": url, "namespace": {"f": URI}, "profile": "packml-tags", "prefix": "Filler"}
    return OpcUaConfig.model_validate(
        {
            **given,
            "halt": {"action": "hold"},
            "timeout": "5s",
            "halt_budget": "5s",
            "security": {"policy": "Basic256Sha256", "pki": pki, **more},
        }
    )


async def connected(made: OpcUaConfig) -> tuple[Any, ...]:
    """One reading."""
    async with made.connect("filler") as device:
        return tuple((await device.poll()).values)


async def test_the_way_to_trust(machine: Remote, doorman: Doorman, tmp_path: Path) -> None:
    """Both sides refuse at first and say what to do; when it was done, the link works, halts included."""
    made = config(machine.url, tmp_path)
    with pytest.raises(DeviceMisconfigured, match="is not trusted; compare the thumbprint") as unknown:
        await connected(made)
    assert doorman.asked == [], "no session was asked for at a server we do not know"
    (rejected,) = (tmp_path / "trust/rejected").iterdir()
    assert rejected.stem in str(unknown.value)
    rejected.rename(tmp_path / "trust/filler.der")

    with pytest.raises(DeviceMisconfigured, match=r"put .*own\.der into the server's trust list") as refused:
        await connected(made)
    (ours,) = doorman.asked
    assert ours in str(refused.value)
    doorman.known.add(ours)

    assert await connected(made) == (4, 1, 60.0, 0, 0)
    await machine.to(6)
    async with made.connect("filler") as device:
        assert (await device.halt(HaltOrder("a", "filler", "r", "t", 0))).state == "PackML Held (11)"


async def test_a_pinned_server_certificate(machine: Remote, doorman: Doorman, server_pki: Path, tmp_path: Path) -> None:
    """With the server's certificate in a file nothing is asked over an unsecured channel."""
    own = ensure_certificate(tmp_path, "urn:x", ["x"])
    doorman.known.add(own.thumbprint)
    await machine.reset()
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/server.der").write_bytes((server_pki / "own.der").read_bytes())
    made = config(machine.url, tmp_path, server_certificate=tmp_path / "trust/server.der")
    assert await connected(made) == (4, 1, 60.0, 0, 0)


async def test_another_server_behind_the_address(machine: Remote, doorman: Doorman, tmp_path: Path) -> None:
    """A pinned certificate that is not the server's own: no session, and the certificate is among the suspects."""
    doorman.known.add(ensure_certificate(tmp_path, "urn:x", ["x"]).thumbprint)
    other = ensure_certificate(tmp_path / "other", "urn:test:server", ["127.0.0.1"])
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/other.der").write_bytes(other.certificate.read_bytes())
    with pytest.raises(
        DeviceError, match=r"its certificate is another than the one we hold|refused the secure channel"
    ):
        await connected(config(machine.url, tmp_path, server_certificate=tmp_path / "trust/other.der"))


async def test_a_policy_the_server_does_not_offer(machine: Remote, tmp_path: Path) -> None:
    """The error lists what the server offers."""
    made = config(machine.url, tmp_path, policy="Aes256_Sha256_RsaPss")
    with pytest.raises(DeviceMisconfigured, match=r"the server offers .*Basic256Sha256/SignAndEncrypt"):
        await connected(made)


async def test_an_unsecured_link_to_a_strict_server(machine: Remote, tmp_path: Path) -> None:
    """Even with a waiver: what the server does not offer is an error, not a silent fallback."""
    made = OpcUaConfig.model_validate(
        {
            **config(machine.url, tmp_path).model_dump(exclude={"security", "nodes", "halt"}, exclude_none=True),
            "security": {"policy": "None", "mode": "None", "waiver": "try"},
        }
    )
    with pytest.raises(DeviceError, match=machine.url):
        await connected(made)
