"""The demo's story: one batch, a failing heater, a wrong label roll, another oil, and a record that verifies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from gateway.demo import after, before, trouble
from gateway.demo.cast import Cast
from gateway.demo.screen import make_screen
from gateway.demo.stage import Stage
from gateway.errors import LinegateError

SPEED: Final = 20.0
RATE: Final = 6.0


def play(folder: Path, *, seed: int, units: int, stay: bool, plain: bool) -> int:
    """Run the whole story; 0 only if all of it happened."""
    stage = Stage(folder, seed=seed, speed=SPEED, rate=RATE, prefer_defaults=True)
    screen = make_screen(plain=plain)
    cast = Cast(stage, screen, units)
    try:
        with screen:
            cast.set_up()
            for scene in (*before.ACT, *trouble.ACT, *after.ACT):
                scene(cast)
        after.epilogue(cast)
        if stay:
            _stay(stage)
    except LinegateError as error:
        troubles = "".join(f"\n  {each}" for each in cast.troubles())
        print(f"\nthe demo did not come to its end: {error}{troubles}\nlogs are in {stage.folder}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        cast.leave()
        stage.stop()
    return 0


def _stay(stage: Stage) -> None:
    print(f"\nthe line goes on: linegate status --state {stage.state}   (Ctrl-C ends it)")
    while True:
        time.sleep(3600)
