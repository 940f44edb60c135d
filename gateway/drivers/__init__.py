"""Drivers: bytes in, values and qualities out.  One kind, one file."""
