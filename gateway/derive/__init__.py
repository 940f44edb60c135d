"""Derived tags: values computed from others, scan by scan, and then judged, stored and sent like any measured one.

    dimensions   UCUM units as pint knows them; to SI and back
    expression   a small safe language, compiled once, its units followed at load
    base         the contract of a kind of derived tag
    expr, rate, unchanged, time_above, viscosity    one kind, one file
    models       how oil's viscosity follows its temperature, and the fit of such a model
    deriver      scan in, derived readings out

Pure: no clock, no loop.  A bad input makes a bad output, with the reason; nothing is ever substituted.
"""
