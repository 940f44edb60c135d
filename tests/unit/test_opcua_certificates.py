"""Certificates: our own, and whose we trust."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.opcua.security import (
    check_server,
    ensure_certificate,
    key_of,
    load,
    now_utc,
    read_own,
    set_aside,
    thumbprint,
)
from gateway.errors import DeviceMisconfigured
from gateway.line.notices import Notices


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


def test_a_key_is_looked_through_once(tmp_path: Path) -> None:
    """Each reconnect takes it as it is, which costs next to nothing; another file's content is another key."""
    one, other = (ensure_certificate(tmp_path / name, "urn:a", ["a"]).key for name in ("one", "other"))
    first = key_of(one)
    spent_s = []
    for _ in range(10):
        began = time.thread_time()
        assert key_of(one) is first
        spent_s.append(time.thread_time() - began)
    assert min(spent_s) < 0.01
    der = tmp_path / "key.der"
    der.write_bytes(first.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    assert key_of(der).private_numbers() == first.private_numbers()
    one.write_bytes(other.read_bytes())
    assert key_of(one).private_numbers() != first.private_numbers()


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    """Garbage, and a key of a kind that OPC UA's policies do not know."""
    file = tmp_path / "own.pem"
    curve = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, why in ((b"no key", r"own\.pem is no private key"), (curve, "it is not RSA")):
        file.write_bytes(content)
        with pytest.raises(DeviceMisconfigured, match=why):
            key_of(file)


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


# -- what ends --------------------------------------------------------------------------------------

DAY_S = 86400.0


def secured(pki: Path, **more: Any) -> OpcUaConfig:
    given = {"driver": "opcua", "url": "opc.tcp://filler:4840", "tags": {"t": {"node": "i=2258"}}}
    return OpcUaConfig.model_validate({**given, "security": {"pki": pki, **more}})


def test_nothing_is_said_of_what_lasts(tmp_path: Path) -> None:
    """A certificate of five years, and one that is not there yet, are no news."""
    assert secured(tmp_path).notices() == []
    ensure_certificate(tmp_path, "urn:a", ["a"])
    assert secured(tmp_path).notices() == []


def test_what_ends_soon_is_said(tmp_path: Path) -> None:
    """Ours, and the one the server showed last, each with its day and its file, as long before as was asked for."""
    ensure_certificate(tmp_path, "urn:a", ["a"])
    server = ensure_certificate(tmp_path / "server", "urn:server", ["s"])
    trust = tmp_path / "trust"
    trust.mkdir()
    (trust / "filler.der").write_bytes(server.certificate.read_bytes())
    check_server(load(server.certificate), trust, endpoint="opc.tcp://filler:4840")

    early = secured(tmp_path, expiry_notice=6 * 365 * DAY_S)
    ours, theirs = early.notices()
    assert ours.startswith("our certificate ends on 20")
    assert str(trust / "servers/filler_4840.der") in theirs
    assert early.preflight() == early.notices(), "`linegate check` warns of it"
    assert secured(tmp_path).notices() == []


def test_what_has_ended_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its end the sentence says so."""
    ensure_certificate(tmp_path, "urn:a", ["a"])
    later = now_utc() + timedelta(days=6 * 365)
    monkeypatch.setattr("gateway.drivers.opcua.security.now_utc", lambda: later)

    assert secured(tmp_path).notices()[0].startswith("our certificate ended on 20")


def test_a_damaged_certificate_is_said(tmp_path: Path) -> None:
    """A file that is no certificate is a sentence, not a traceback in the hourly look."""
    (tmp_path / "own.der").write_bytes(b"no")

    assert "cannot be read" in secured(tmp_path).notices()[0]


@pytest.mark.looptime
async def test_a_notice_is_an_alarm_until_it_is_over() -> None:
    """Asked each hour: raised once while it stands, cleared when the driver has nothing to say."""
    said = ["our certificate ends on 2030-01-01"]
    told: list[tuple[str, str]] = []

    class Config:
        def notices(self) -> list[str]:
            return list(said)

    class Alarms:
        def stand(self, name: str, text: str, **_: object) -> None:
            told.append((name, text))

    notices = Notices({"filler": Config(), "silent": object()}, Alarms(), lambda: None)  # type: ignore[arg-type]
    await notices.look()
    said.clear()
    await notices.look()

    assert told == [("notice:filler", "filler: our certificate ends on 2030-01-01"), ("notice:filler", "")]


# -- the commands -----------------------------------------------------------------------------------


def linegate(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["opcua", *words])
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_cert_makes_one_and_keeps_it(tmp_path: Path) -> None:
    """Made once; another URI needs --renew, which keeps the old pair."""
    pki = ("--pki", str(tmp_path))
    code, text = linegate("cert", *pki, "--uri", "urn:line3:linegate", "--host", "10.0.0.7")
    assert code == 0, text
    first = thumbprint(load(tmp_path / "own.der"))
    assert first in text
    assert "urn:line3:linegate" in text
    assert linegate("cert", *pki)[0] == 0
    assert thumbprint(load(tmp_path / "own.der")) == first
    assert "give --renew" in linegate("cert", *pki, "--uri", "urn:other")[1]

    assert linegate("cert", *pki, "--uri", "urn:other", "--renew")[0] == 0
    assert thumbprint(load(tmp_path / f"old-{first}.der")) == first
    assert (tmp_path / f"old-{first}.pem").stat().st_mode & 0o077 == 0
    assert read_own(tmp_path / "own.der", tmp_path / "own.pem").application_uri == "urn:other"


def test_trust_and_reject_move_the_file(tmp_path: Path) -> None:
    """By the first eight digits, as the server shows them; what is not there, or no thumbprint, is said."""
    server = load(ensure_certificate(tmp_path / "server", "urn:server", ["s"]).certificate)
    pki, trust = ("--pki", str(tmp_path)), tmp_path / "trust"
    with pytest.raises(DeviceMisconfigured, match="linegate opcua trust"):
        check_server(server, trust)
    mark = thumbprint(server)
    spoken = ":".join(mark[at : at + 2] for at in range(0, 40, 2)).lower()

    assert f"rejected   {mark}" in linegate("list", *pki)[1]
    assert linegate("trust", spoken, *pki)[0] == 0
    check_server(server, trust, "urn:server")
    assert linegate("reject", mark[:8], *pki)[0] == 0
    with pytest.raises(DeviceMisconfigured):
        check_server(server, trust)

    for words, says in (
        (("trust", "12345678", *pki), "no one rejected certificate"),
        (("trust", "xyz", *pki), "is no thumbprint"),
        (("trust", mark), "say where the certificates are"),
    ):
        code, text = linegate(*words)
        assert code != 0
        assert says in text


def test_a_damaged_certificate_of_ours_can_be_renewed(tmp_path: Path) -> None:
    """A file half written by a full disk: the error says what to do, and doing that works."""
    (tmp_path / "own.der").write_bytes(b"half")
    (tmp_path / "own.pem").write_text("of it")
    with pytest.raises(DeviceMisconfigured, match="linegate opcua cert --renew"):
        ensure_certificate(tmp_path, "urn:a:linegate", ["a"])

    old = set_aside(tmp_path)
    assert old.name.startswith("old-damaged-")
    assert old.read_bytes() == b"half"
    assert ensure_certificate(tmp_path, "urn:a:linegate", ["a"]).application_uri == "urn:a:linegate"
