"""Certificates: our own, and whose we trust."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.drivers.opcua_security import check_server, ensure_certificate, load, read_own, thumbprint
from gateway.errors import DeviceMisconfigured


def test_own_certificate(tmp_path: Path) -> None:
    """It carries the application URI and host names, may be used by clients, and its key is ours alone to read."""
    own = ensure_certificate(tmp_path / "pki", "urn:line3:linegate", ["line3", "10.0.0.7"])
    cert = load(own.certificate)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:line3:linegate"]
    assert names.get_values_for_type(x509.DNSName) == ["line3"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    assert ExtendedKeyUsageOID.CLIENT_AUTH in cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert own.key.stat().st_mode & 0o077 == 0


def test_own_certificate_is_kept(tmp_path: Path) -> None:
    """A second start uses the certificate that servers already trust."""
    first = ensure_certificate(tmp_path, "urn:a", ["a"])
    assert ensure_certificate(tmp_path, "urn:a", ["a"]) == first


def test_own_certificate_is_made_once_for_devices_that_start_together(tmp_path: Path) -> None:
    """Filler and labeller ask in the same moment: both get the one pair, and its key is that of the certificate."""
    with ThreadPoolExecutor(4) as devices:
        asked = [devices.submit(ensure_certificate, tmp_path, "urn:a", ["a"]) for _ in range(4)]
    assert len({each.result() for each in asked}) == 1


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    """Mixed-up files are a sentence here, not a server that never answers."""
    one, other = (ensure_certificate(tmp_path / name, "urn:a", ["a"]) for name in ("one", "other"))
    one.key.write_bytes(other.key.read_bytes())
    with pytest.raises(DeviceMisconfigured, match=r"own\.pem is not the key of .*own\.der"):
        ensure_certificate(tmp_path / "one", "urn:a", ["a"])


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A configured certificate that is not there, or is none, is named."""
    with pytest.raises(DeviceMisconfigured, match=r"own\.der is not there"):
        read_own(tmp_path / "own.der", tmp_path / "own.pem")
    (tmp_path / "own.der").write_bytes(b"no certificate")
    with pytest.raises(DeviceMisconfigured, match="is no certificate"):
        load(tmp_path / "own.der")


def test_unknown_server(tmp_path: Path) -> None:
    """An unknown certificate is refused with its thumbprint and put where trusting it is moving one file."""
    server = load(ensure_certificate(tmp_path / "server", "urn:server", ["s"]).certificate)
    trust = tmp_path / "trust"
    with pytest.raises(DeviceMisconfigured, match=f"{thumbprint(server)}.* is not trusted; .* move "):
        check_server(server, trust)
    rejected = trust / "rejected" / f"{thumbprint(server)}.der"

    rejected.rename(trust / "filler.der")

    check_server(server, trust, "urn:server")


def test_server_of_another_name(tmp_path: Path) -> None:
    """A trusted certificate used by a server that calls itself something else is refused."""
    own = ensure_certificate(tmp_path, "urn:server", ["s"])
    with pytest.raises(DeviceMisconfigured, match="belongs to urn:server, the server calls itself urn:other"):
        check_server(load(own.certificate), tmp_path, "urn:other")


def test_ended_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted certificate out of its time is refused, and our own clock is named as the other suspect."""
    cert = load(ensure_certificate(tmp_path, "urn:server", ["s"]).certificate)
    later = int((cert.not_valid_after_utc.timestamp() + 86400) * 1e9)
    monkeypatch.setattr("gateway.world.World.time_ns", lambda _: later)
    with pytest.raises(DeviceMisconfigured, match="our clock says"):
        check_server(cert, tmp_path)
