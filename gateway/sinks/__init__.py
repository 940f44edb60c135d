"""Sinks: consumers outside.  One kind, one file."""
