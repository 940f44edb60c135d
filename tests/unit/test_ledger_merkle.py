"""The tree against the public vectors of RFC 6962's reference code, and against itself."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import VerifyError
from gateway.ledger import merkle
from gateway.ledger.merkle import Tree, consistency, inclusion, leaf_hash, root_of, verify_consistency, verify_inclusion

# The eight leaves and roots of the Certificate Transparency reference tests (merkle_tree_test, "test vectors").
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]

# Inclusion and consistency proofs of the same reference tests: (index, size) and (old, new).
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize("size", range(9))
def test_root_matches_the_public_vectors(size: int) -> None:
    """The root over the first n reference leaves is the published one."""
    assert Tree(HASHES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(("at", "proof"), INCLUSION.items())
def test_inclusion_proofs_match_the_public_vectors(at: tuple[int, int], proof: list[str]) -> None:
    """The proof for a reference leaf is the published one, and verifies."""
    index, size = at
    assert [node.hex() for node in inclusion(HASHES[:size], index)] == proof
    verify_inclusion(index, size, HASHES[index], [bytes.fromhex(n) for n in proof], bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("sizes", "proof"), CONSISTENCY.items())
def test_consistency_proofs_match_the_public_vectors(sizes: tuple[int, int], proof: list[str]) -> None:
    """The proof between two reference trees is the published one, and verifies."""
    old, new = sizes
    assert [node.hex() for node in consistency(HASHES[:new], old)] == proof
    nodes = [bytes.fromhex(n) for n in proof]
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), nodes)


def test_consistency_from_nothing_is_an_error() -> None:
    """An old size of 0 proves nothing, whatever the proof says."""
    with pytest.raises(VerifyError):
        consistency(HASHES, 0)
    with pytest.raises(VerifyError):
        verify_consistency(0, 8, merkle.EMPTY_ROOT, bytes.fromhex(ROOTS[8]), [])


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


@given(st.integers(0, 200))
def test_the_frontier_gives_the_root_of_the_definition(count: int) -> None:
    """Appending one by one comes to the recursive definition's root."""
    assert Tree(leaves_of(count)).root() == slow_root(leaves_of(count))


@given(st.integers(0, 150), st.integers(0, 100))
def test_a_dumped_tree_goes_on_where_it_was(before: int, after: int) -> None:
    """Dump and load change nothing, however much is appended later."""
    leaves = leaves_of(before + after)
    tree = Tree.load(Tree(leaves[:before]).dump())
    for leaf in leaves[before:]:
        tree.append(leaf)
    assert (tree.size, tree.root()) == (len(leaves), root_of(leaves))


@given(st.binary(max_size=200))
def test_what_is_no_frontier_is_refused(dumped: bytes) -> None:
    """Bytes whose length does not fit their size are an error, never a tree."""
    try:
        tree = Tree.load(dumped)
    except VerifyError:
        return
    assert tree.dump() == dumped


@given(st.integers(1, 100), st.data())
def test_every_inclusion_proof_holds_and_no_other_leaf_fits(size: int, data: st.DataObject) -> None:
    """A leaf's proof leads to the root; with another leaf, index, root or a changed node it does not."""
    leaves, index = leaves_of(size), data.draw(st.integers(0, size - 1))
    proof, root = inclusion(leaves, index), root_of(leaves)
    verify_inclusion(index, size, leaves[index], proof, root)
    wrong = [(index, leaf_hash(b"other"), proof, root), (index, leaves[index], proof, leaf_hash(b"root"))]
    wrong += [(index, leaves[index], [*proof, root], root), (size, leaves[index], proof, root)]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        wrong.append((index, leaves[index], [*proof[:at], leaf_hash(b"node"), *proof[at + 1 :]], root))
        wrong.append((index, leaves[index], proof[:-1], root))
        wrong.append((index ^ 1, leaves[index], proof, root))
    for at, leaf, path, top in wrong:
        with pytest.raises(VerifyError):
            verify_inclusion(at, size, leaf, path, top)


@given(st.integers(1, 100), st.data())
def test_every_consistency_proof_holds_and_no_other_history_fits(size: int, data: st.DataObject) -> None:
    """The older tree is shown to be a prefix; another older root, or a changed proof, is refused."""
    leaves, old = leaves_of(size), data.draw(st.integers(1, size))
    proof, old_root, root = consistency(leaves, old), root_of(leaves[:old]), root_of(leaves)
    verify_consistency(old, size, old_root, root, proof)
    wrong = [(leaf_hash(b"old"), root, proof), (old_root, leaf_hash(b"new"), proof), (old_root, root, [*proof, root])]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        wrong.append((old_root, root, [*proof[:at], leaf_hash(b"node"), *proof[at + 1 :]]))
        wrong.append((old_root, root, proof[:-1]))
    for older, newer, path in wrong:
        with pytest.raises(VerifyError):
            verify_consistency(old, size, older, newer, path)
