"""`linegate doctor`: looks at the machine, the files and the network a line needs, and says what to do.

Nothing is changed, nothing is written to a device.  While a gateway runs, its devices are left alone: some take only
one connection.  Each check has its own limit of time and all run at once.
"""
