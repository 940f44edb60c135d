"""Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint, Ed25519 (signature type 0x01).

A note is text ending in a newline, an empty line, and signature lines `— <key name> base64(key id || signature)`.
A checkpoint is a note whose text is: origin, tree size in decimal, base64 of the root, then extension lines.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.errors import VerifyError
from gateway.ledger.merkle import HASH_BYTES

_ED25519: Final = b"\x01"
_DASH: Final = "\N{EM DASH} "


def key_id(name: str, public: bytes) -> bytes:
    """First four bytes of SHA-256(name || newline || 0x01 || public key)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class Verifier(msgspec.Struct, frozen=True):
    """A public key in vkey form: `<name>+<key id, hex>+base64(0x01 || public key)`."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Raises VerifyError where the text is no Ed25519 vkey or its key id does not match."""
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3:
            raise VerifyError("not a verifier key: name+id+key expected")
        name, said, key = parts[0], parts[1], _unbase64(parts[2], "verifier key")
        if key[:1] != _ED25519 or len(key) != 1 + 32:
            raise VerifyError(f"key {name} is not an Ed25519 key")
        if key_id(name, key[1:]).hex() != said:
            raise VerifyError(f"key {name}: the key id does not match the key")
        return cls(name, key[1:])

    def __str__(self) -> str:
        key = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{key}"

    def verify(self, note: str) -> str:
        """The note's text, if this key signed it.  Raises VerifyError."""
        text, signatures = split(note)
        wanted = key_id(self.name, self.public)
        for name, signed in signatures:
            if name == self.name and signed[:4] == wanted:
                return self._check(text, signed[4:])
        raise VerifyError(f"note is not signed by {self.name}+{wanted.hex()}")

    def _check(self, text: str, signature: bytes) -> str:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            raise VerifyError(f"signature of {self.name} does not match the note") from None
        return text


class Signer:
    """A private key under a name.  Names hold neither spaces nor plus signs."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        if not name or "+" in name or any(mark.isspace() for mark in name):
            raise ValueError(f"not a key name: {name!r}")
        self.name = name
        self._private = private
        self.verifier = Verifier(name, private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """A note of this text with our signature.  Raises ValueError where the text cannot be a note's."""
        _refuse_bad_text(text)
        signed = key_id(self.name, self.verifier.public) + self._private.sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {base64.b64encode(signed).decode()}\n"


def split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and signatures (key name, key id || signature) of a note.  Raises VerifyError."""
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise VerifyError("not a signed note: no signatures")
    try:
        _refuse_bad_text(text + "\n")
    except ValueError as error:
        raise VerifyError(str(error)) from None
    return text + "\n", [_signature(line) for line in tail[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes]:
    name, blank, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not blank or not name or "+" in name:
        raise VerifyError(f"not a signature line: {line[:40]!r}")
    signed = _unbase64(encoded, "signature")
    if len(signed) < 5:
        raise VerifyError("signature is too short")
    return name, signed


def _refuse_bad_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n":
        raise ValueError("a note's text ends with a newline")
    if any(mark < " " and mark != "\n" for mark in text):
        raise ValueError("a note's text holds no control characters")


def _unbase64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VerifyError(f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise VerifyError(f"{what} is not canonical base64")
    return raw


class Checkpoint(msgspec.Struct, frozen=True):
    """What a checkpoint says: this log had this root at this size."""

    origin: str
    size: int
    root: bytes
    extra: tuple[str, ...] = ()


def checkpoint(origin: str, size: int, root: bytes, extra: Sequence[str] = ()) -> str:
    """The text of a checkpoint, to be signed.  Raises ValueError for lines that would break it."""
    lines = [origin, str(size), base64.b64encode(root).decode(), *extra]
    if any(not line or "\n" in line for line in lines):
        raise ValueError("lines of a checkpoint are neither empty nor broken")
    return "\n".join(lines) + "\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint (a verified note's text).  Raises VerifyError."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):
        raise VerifyError("not a checkpoint: origin, size and root expected")
    origin, size, root = lines[0], lines[1], _unbase64(lines[2], "root")
    if not (size.isascii() and size.isdigit()) or (size != "0" and size[0] == "0"):
        raise VerifyError(f"not a tree size: {size[:20]!r}")
    if len(root) != HASH_BYTES:
        raise VerifyError(f"root of {len(root)} bytes")
    return Checkpoint(origin, int(size), root, tuple(lines[3:]))
