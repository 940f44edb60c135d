"""Certificates for OPC UA: our own, and whose we trust.  OPC 10000-4 §6.1 (checks), 10000-6 §6.2.2 (certificate).

The library checks no server certificate unless told to, and its stock validator plays the server's role; so the
check stands here, before the secure channel is opened, and again on what the session says of itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import DeviceMisconfigured
from gateway.world import World

log = structlog.get_logger()

_YEARS: Final = 5
REJECTED: Final = "rejected"
SERVERS: Final = "servers"
"""Subfolder of the trust folder: what each server showed last, so that its end is seen coming without a connection."""
SUFFIXES: Final = frozenset({".der", ".pem", ".crt", ".cer"})


class OwnCertificate(NamedTuple):
    """Files of our application certificate, and the application URI that stands in it."""

    certificate: Path
    key: Path
    application_uri: str
    thumbprint: str


def ensure_certificate(folder: Path, application_uri: str, hostnames: Sequence[str]) -> OwnCertificate:
    """Our application certificate `own.der` with its key `own.pem` in `folder`, made if it is not there.

    Self-signed, RSA 2048, SHA-256, five years; the application URI is the first subject alternative name, as
    servers compare the two.  An existing one is taken as it is.  Several devices may ask at once: the first one makes
    it.  OSError if the folder cannot be written, DeviceMisconfigured if key and certificate are not of one another.
    """
    certificate, key = folder / "own.der", folder / "own.pem"
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        if not (certificate.exists() and key.exists()):
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            _write(key, _pem(private), 0o600)
            _write(certificate, _self_signed(private, application_uri, hostnames), 0o644)
            log.info("own OPC UA certificate made", file=str(certificate), next="give it to the servers to trust")
    own = read_own(certificate, key)
    _check_pair(certificate, key)
    return own


def set_aside(folder: Path) -> Path:
    """Our pair of certificate and key under another name, so that a new one is made.  DeviceMisconfigured if none."""
    certificate, key = folder / "own.der", folder / "own.pem"
    if not certificate.exists():
        raise DeviceMisconfigured(f"{certificate} is not there; without --renew it is made")
    with alone_in(folder):
        old = folder / f"old-{_name_of(certificate)}.der"
        if key.exists():
            key.rename(old.with_suffix(".pem"))
        certificate.rename(old)
    return old


def _name_of(certificate: Path) -> str:
    """Its thumbprint; of what is no certificate any more, that of its bytes."""
    try:
        return thumbprint(load(certificate))
    except DeviceMisconfigured:
        return "damaged-" + hashlib.sha1(certificate.read_bytes(), usedforsecurity=False).hexdigest().upper()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Threads and processes one after the other; a lock of the folder itself goes with whoever holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _check_pair(certificate: Path, key: Path) -> None:
    """A key of another certificate would be refused by every server, and none would say why."""
    if key_of(key).public_key() != load(certificate).public_key():
        raise DeviceMisconfigured(
            f"{key} is not the key of {certificate}; take both away to have new ones made, then have servers trust them"
        )


def key_of(file: Path) -> rsa.RSAPrivateKey:
    """The key in a file, PEM or DER.  DeviceMisconfigured if it holds none that OPC UA knows.

    Looked through once a process: that takes RSA 70 ms (2048) to 500 ms (4096), in which no thread of ours does
    anything else, and a heartbeat that comes so late at each connect may have its machine held.
    """
    try:
        return _key(file.read_bytes())
    except (ValueError, TypeError) as exc:
        raise DeviceMisconfigured(f"{file} is no private key: {exc}") from exc


@lru_cache(maxsize=32)
def _key(content: bytes) -> rsa.RSAPrivateKey:
    from_bytes = serialization.load_pem_private_key if b"-----BEGIN" in content else serialization.load_der_private_key
    key = from_bytes(content, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("it is not RSA, and OPC UA's policies here are")
    return key


def read_own(certificate: Path, key: Path) -> OwnCertificate:
    """Load what the configuration names.  DeviceMisconfigured says which file is missing or has no URI."""
    for file in (certificate, key):
        if not file.exists():
            raise DeviceMisconfigured(f"{file} is not there; make it, or give `pki: FOLDER` to have one made")
    cert = load(certificate)
    names = uris(cert)
    if not names:
        raise DeviceMisconfigured(f"{certificate} has no application URI among its subject alternative names")
    return OwnCertificate(certificate, key, names[0], thumbprint(cert))


def load(file: Path) -> x509.Certificate:
    """DER or PEM.  DeviceMisconfigured names the file that is neither."""
    data = file.read_bytes()
    try:
        return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except ValueError as exc:
        raise DeviceMisconfigured(
            f"{file} is no certificate: {exc}; put the right file there"
            f"{', or make a new pair with linegate opcua cert --renew' if file.name == 'own.der' else ''}"
        ) from exc


def thumbprint(cert: x509.Certificate) -> str:
    """SHA-1 over the DER form: the name by which OPC UA tools show a certificate (10000-6 §6.2.2), not a proof."""
    return cert.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303


def own_names() -> tuple[str, list[str]]:
    """The application URI and host names that a certificate made here carries."""
    host = socket.gethostname()
    return f"urn:{host}:linegate", [host]


def check_server(
    cert: x509.Certificate, trust: Path, application_uri: str | None = None, *, endpoint: str = ""
) -> None:
    """Raise DeviceMisconfigured unless `cert` is a server's, in time, in or signed by something in `trust`.

    An unknown one is written to `trust/rejected/`, so that trusting it is one command.  One that holds is kept as
    what `endpoint` (a url) showed last.
    """
    now = now_utc()
    mark = f"server certificate {thumbprint(cert)}"
    if not _trusted(cert, trust):
        file = _reject(cert, trust)
        raise DeviceMisconfigured(
            f"{mark} ({cert.subject.rfc4514_string()}) is not trusted; compare the thumbprint with the one the server "
            f"shows, then `linegate opcua trust {thumbprint(cert)} --trust {trust}` (or move {file} to {trust})"
        )
    if not cert.not_valid_before_utc <= now <= cert.not_valid_after_utc:
        raise DeviceMisconfigured(
            f"{mark} is valid from {cert.not_valid_before_utc:%Y-%m-%d} to {cert.not_valid_after_utc:%Y-%m-%d}, "
            f"our clock says {now:%Y-%m-%d %H:%M}; renew it or set the clock"
        )
    if not _for_servers(cert):
        raise DeviceMisconfigured(f"{mark} is not for use by a server (extended key usage); give the server its own")
    names = uris(cert)
    if application_uri is not None and application_uri not in names:
        raise DeviceMisconfigured(
            f"{mark} belongs to {', '.join(names) or 'no application URI'}, the server calls itself {application_uri}"
        )
    if endpoint:
        _keep_shown(cert, trust, endpoint)


def shown_by(trust: Path, endpoint: str) -> Path:
    """Where the certificate is kept that the server at `endpoint` showed last."""
    parts = urlsplit(endpoint)
    return trust / SERVERS / f"{re.sub(r'[^A-Za-z0-9.-]', '_', parts.hostname or 'unknown')}_{parts.port}.der"


def _keep_shown(cert: x509.Certificate, trust: Path, endpoint: str) -> None:
    file, data = shown_by(trust, endpoint), cert.public_bytes(serialization.Encoding.DER)
    with suppress(OSError):  # a folder we may only read: there is less to warn of, and no reason not to connect
        if not file.exists() or file.read_bytes() != data:
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, data, 0o644)


def ending(file: Path, whose: str, within_s: float) -> str:
    """One sentence if the certificate in `file` has ended or ends within so many seconds, else ""."""
    if not file.exists():
        return ""
    try:
        cert = load(file)
    except (DeviceMisconfigured, OSError) as exc:
        return f"{whose} certificate cannot be read: {exc}"
    left = cert.not_valid_after_utc - now_utc()
    if left > timedelta(seconds=within_s):
        return ""
    verb = "ended" if left < timedelta(0) else "ends"
    return f"{whose} certificate {verb} on {cert.not_valid_after_utc:%Y-%m-%d} ({file}); have it renewed"


def uris(cert: x509.Certificate) -> list[str]:
    """The application URIs in it."""
    return _alternatives(cert).get_values_for_type(x509.UniformResourceIdentifier)


def _trusted(cert: x509.Certificate, trust: Path) -> bool:
    return any(known == cert or _issued(cert, known) for known in _certificates(trust))


def _issued(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    """Signed by a CA of the trust folder.  Revocation: take the CA out, or name servers one by one."""
    try:
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        cert.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return True


def _certificates(folder: Path) -> Iterator[x509.Certificate]:
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES:
            yield load(file)


def _reject(cert: x509.Certificate, trust: Path) -> Path:
    rejected = trust / REJECTED
    rejected.mkdir(parents=True, exist_ok=True)
    file = rejected / f"{thumbprint(cert)}.der"
    if not file.exists():
        _write(file, cert.public_bytes(serialization.Encoding.DER), 0o644)
    return file


def _for_servers(cert: x509.Certificate) -> bool:
    try:
        usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True  # 10000-6 table 43: not stated is not forbidden
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


def _alternatives(cert: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.fromtimestamp(World().time_ns() / 1e9, tz=UTC)


def _pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(private: rsa.RSAPrivateKey, application_uri: str, hostnames: Sequence[str]) -> bytes:
    """DER, with the key usages that 10000-6 §6.2.2 table 43 asks of an application instance certificate."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Linegate"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, application_uri[:64]),
        ]
    )
    start = now_utc() - timedelta(days=1)  # the other side's clock may be a little behind
    names = [x509.UniformResourceIdentifier(application_uri), *map(_host, hostnames)]
    usage = dict.fromkeys(("crl_sign", "encipher_only", "decipher_only", "key_agreement"), False) | dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign"), True
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(file: Path, data: bytes, mode: int) -> None:
    """Whole or not at all: a half-written certificate would be refused for ever."""
    part = file.with_name(file.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
