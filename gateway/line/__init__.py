"""The line: what is done with every value, command and tick."""
