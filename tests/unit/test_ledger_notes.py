"""Notes, checkpoints, keys and canonical JSON against public vectors."""

from __future__ import annotations

import base64
import json
import struct

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import VerifyError
from gateway.ledger.canonical import canonical
from gateway.ledger.note import Signer, Verifier, checkpoint, parse_checkpoint

# The example of the public signed-note documentation (Go's sumdb/note): key, text and signature.
NAME = "PeterNeumann"
SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT + "\n"
    "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUg"
    "YN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

# RFC 8032 section 7.1, tests 1 to 3: secret key, public key, message, signature.
RFC8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def signer(name: str = NAME, seed: bytes = SEED) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(seed))


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC8032)
def test_ed25519_is_that_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    """The library under our notes signs the RFC's messages as the RFC says."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw().hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature


def test_the_public_note_is_signed_byte_for_byte() -> None:
    """The documentation's key and text give the documentation's note."""
    assert str(signer().verifier) == VKEY
    assert signer().sign(TEXT) == NOTE


def test_the_public_note_verifies_also_beside_other_signatures() -> None:
    """Signatures of keys we do not know are passed over."""
    other = signer("EnochRoot", bytes(32)).sign(TEXT).removeprefix(TEXT + "\n")
    assert Verifier.parse(VKEY).verify(NOTE) == TEXT
    assert Verifier.parse(VKEY).verify(TEXT + "\n" + other + NOTE.removeprefix(TEXT + "\n")) == TEXT


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("answer", "Answer"),
        NOTE.replace("x08go", "x08gp"),
        NOTE.replace("AM=", "AN="),
        NOTE.replace("PeterNeumann x", "PeterNeuman x"),
        NOTE.removesuffix("\n"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\N{EM DASH}", "-"),
        NOTE.replace("problem,", "problem\t,"),
        TEXT,
        "",
        "\n\n\n",
    ],
)
def test_a_changed_note_is_refused(note: str) -> None:
    """Any change of text, signature, name or form is an error."""
    with pytest.raises(VerifyError):
        Verifier.parse(VKEY).verify(note)


@pytest.mark.parametrize(
    "vkey", ["", "a+b", VKEY.replace("c74f20a3", "c74f20a4"), VKEY.replace("+ARpc", "+AhRc"), VKEY[:-4]]
)
def test_a_broken_verifier_key_is_refused(vkey: str) -> None:
    """A key id that does not match, another algorithm or a cut key is an error."""
    with pytest.raises(VerifyError):
        Verifier.parse(vkey)


@pytest.mark.parametrize("text", ["no newline at the end", "", "\n", "tab\there\n", "null\0\n"])
def test_text_that_cannot_be_a_note_is_not_signed(text: str) -> None:
    """A note's text ends with a newline and holds no control characters."""
    with pytest.raises(ValueError, match="note"):
        signer().sign(text)


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    """Origin, size, root and extension lines come back; the text is that of C2SP tlog-checkpoint."""
    text = checkpoint("example.com/behind-the-sofa", 20852163, bytes(range(32)), ["time 1"])
    assert text == "example.com/behind-the-sofa\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\ntime 1\n"
    seen = parse_checkpoint(text)
    assert (seen.origin, seen.size, seen.root, seen.extra) == (
        "example.com/behind-the-sofa",
        20852163,
        bytes(range(32)),
        ("time 1",),
    )


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\n",
        "o\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n\u0661\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n1\nAAEC\n",
        "o\n1\nnot base64\n",
        "\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Missing lines, sizes that are not plain decimal, roots of another length are errors."""
    with pytest.raises(VerifyError):
        parse_checkpoint(text)


# RFC 8785: section 3.2.3 (sorting), 3.2.4 (the worked example, as UTF-8), appendix B (numbers).
SORTED = (
    '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
    '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}'
)
EXAMPLE = (
    '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
    '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
)
EXAMPLE_BYTES = (
    "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b3333333333333333332e33333333"
    "3333332c31652b33302c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c"
    "5c5c5c5c222f227d"
)


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    """The RFC's seven keys come in the RFC's order."""
    keys = list(json.loads(canonical(json.loads(SORTED))))
    assert keys == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]


def test_the_worked_example_gives_the_published_bytes() -> None:
    """RFC 8785 section 3.2.4, byte for byte."""
    assert canonical(json.loads(EXAMPLE)).hex() == EXAMPLE_BYTES


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_appendix_says(bits: str, text: str) -> None:
    """RFC 8785 appendix B."""
    assert canonical(struct.unpack(">d", bytes.fromhex(bits))[0]).decode() == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {"\ud800": 1}, {1: 2}, {1, 2}, b"bytes", object()]
)
def test_what_has_no_canonical_form_is_an_error(value: object) -> None:
    """NaN, infinity, integers no double can hold, lone surrogates and non-JSON are refused."""
    with pytest.raises(ValueError, match="canonical"):
        canonical(value)


texts = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(documents)
def test_the_fast_way_writes_what_the_reference_writes(document: object) -> None:
    """Our short cut and the rfc8785 package agree on every document."""
    assert canonical(document) == rfc8785.dumps(document)  # type: ignore[arg-type]
