"""Hardware in the loop: scenarios written as YAML, played on a simulated line or on a real one, judged from outside.

Read it in this order: `scenario.py` (what a scenario is), `play.py` (how one is played), `look.py` (how is seen what
must be seen), `hands.py` (how is done what is done on a simulated line) and `people.py` (on a real one).
"""
