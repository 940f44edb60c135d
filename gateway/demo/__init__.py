"""The demonstration: the whole line on one machine, seen and steered from outside, as people and the MES would."""
