"""The two stores and their writer thread."""
