"""Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): roots, inclusion and consistency proofs.  SHA-256."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from gateway.errors import VerifyError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree that remembers only its frontier: the roots of its perfect subtrees, largest first."""

    __slots__ = ("_nodes", "size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        """Leaves so far."""
        self._nodes: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash (not the leaf's data)."""
        level = self.size
        while level & 1:
            leaf = node_hash(self._nodes.pop(), leaf)
            level >>= 1
        self._nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Merkle tree hash over all leaves so far; that of the empty string for none."""
        if not self._nodes:
            return EMPTY_ROOT
        root = self._nodes[-1]
        for left in self._nodes[-2::-1]:
            root = node_hash(left, root)
        return root

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The frontier: one node for each bit set in `size`, largest subtree first."""
        return tuple(self._nodes)

    def dump(self) -> bytes:
        """Size (8 bytes, big-endian) and frontier."""
        return self.size.to_bytes(8, "big") + b"".join(self._nodes)

    @classmethod
    def load(cls, dumped: bytes) -> Tree:
        """The inverse of `dump`.  Raises VerifyError where the bytes cannot be a frontier."""
        size, body = int.from_bytes(dumped[:8], "big"), dumped[8:]
        if len(dumped) < 8 or len(body) != HASH_BYTES * size.bit_count():
            raise VerifyError(f"not a frontier: {len(dumped)} bytes")
        tree = cls()
        tree.size = size
        tree._nodes = [body[at : at + HASH_BYTES] for at in range(0, len(body), HASH_BYTES)]
        return tree


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Merkle tree hash of these leaf hashes."""
    return Tree(leaves).root()


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Proof that leaf `index` is in the tree of these leaf hashes (RFC 9162 2.1.3.1).  Raises VerifyError."""
    if not 0 <= index < len(leaves):
        raise VerifyError(f"no leaf {index} in a tree of {len(leaves)}", index)
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion(leaves[:k], index), root_of(leaves[k:])]
    return [*inclusion(leaves[k:], index - k), root_of(leaves[:k])]


def consistency(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Proof that the tree of the first `old_size` leaves is a prefix (RFC 9162 2.1.4.1).  Raises VerifyError."""
    if not 0 < old_size <= len(leaves):
        raise VerifyError(f"no consistency proof from size {old_size} to {len(leaves)}")
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root_of(leaves)]
    k = _split(len(leaves))
    if old_size <= k:
        return [*_subproof(leaves[:k], old_size, whole=whole), root_of(leaves[k:])]
    return [*_subproof(leaves[k:], old_size - k, whole=False), root_of(leaves[:k])]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof (RFC 9162 2.1.3.2).  Raises VerifyError."""
    if not 0 <= index < size:
        raise VerifyError(f"no leaf {index} in a tree of {size}", index)
    at, last, found = index, size - 1, leaf
    for node in proof:
        if last == 0:
            raise VerifyError("inclusion proof is too long", index)
        if at & 1 or at == last:
            found = node_hash(node, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, node)
        at, last = at >> 1, last >> 1
    if last or found != root:
        raise VerifyError(f"inclusion proof of leaf {index} does not lead to the root", index)


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `size` leaves extends that of `old_size` (RFC 9162 2.1.4.2).  Raises VerifyError.

    An old size of 0 proves nothing and is an error.
    """
    if not 0 < old_size <= size:
        raise VerifyError(f"no consistency from size {old_size} to {size}")
    if old_size == size:
        if proof or old_root != root:
            raise VerifyError("two roots of the same size differ, or a needless proof")
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise VerifyError("consistency proof is empty")
    _walk_consistency(old_size - 1, size - 1, path, old_root, root)


def _walk_consistency(at: int, last: int, path: Sequence[bytes], old_root: bytes, root: bytes) -> None:
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            raise VerifyError("consistency proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    if last or old != old_root or new != root:
        raise VerifyError("consistency proof does not lead to the roots")
