"""Statistical process control: control charts, run rules and capability, computed, never looked up.  Pure.

    constants    c4, d2, d3 and what follows from them, by formula and integration
    limits       centre and spread: given, or estimated from a phase I; control limits for any subgroup size
    runs         Western Electric 1-4 and Nelson 1-8, point by point
    ewma, cusum  charts with a memory
    capability   Cp, Cpk, Pp, Ppk with the estimator named
    chart        one chart's life: points in, signals out, state kept
    rule         rule kind `spc`

Conventions, the same everywhere: beyond a limit is strictly beyond; a point exactly on the centre line breaks a run on
one side; a tie breaks a trend; a signal is reported at the point that completes the pattern, and that point is itself
part of it; after a signal the pattern may be reported again at each later point that still completes it; a
recalibration or a new phase begins all patterns and memories anew, limits stay.
"""
