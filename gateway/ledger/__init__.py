"""Proof: canonical bytes, Merkle tree, signed notes, verifier.  Pure."""
