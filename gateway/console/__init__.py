"""The loopback HTTP API and the page for the line's PC."""
