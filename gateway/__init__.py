"""Linegate: the gateway of one production line."""

__version__ = "0.1.0"
