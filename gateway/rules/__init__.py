"""Rules: judgements over tags.  Pure: no I/O, no clock, no dice.  One kind, one file."""
