"""The dice of property tests: the same in every ordinary run, thrown anew by `make chaos`.

A run that judges a change must come out the same for the same code; to look for what nobody thought of is the longer
run's work.  It prints how to see a failure again (`@reproduce_failure`).
"""

from __future__ import annotations

import os

from hypothesis import settings

ANEW = "LINEGATE_DICE"
"""The environment's word; any value."""
MANY = 1000


def choose() -> None:
    """No deadline for an example: a machine that is denied its processor is slow, and not wrong."""
    settings.register_profile("ordinary", derandomize=True, deadline=None)
    settings.register_profile("anew", max_examples=MANY, deadline=None, print_blob=True)
    settings.load_profile("anew" if os.environ.get(ANEW) else "ordinary")
