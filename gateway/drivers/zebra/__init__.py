"""Zebra print engines and their host status."""
