"""Sans-I/O codecs: bytes in, messages out.  No socket, no clock."""
