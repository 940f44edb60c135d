"""The commands of a terminal.  The only place that prints or exits."""
