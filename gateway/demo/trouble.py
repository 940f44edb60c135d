"""Act two: the heater fails and the fill drifts until the filler is held; a wrong roll; another oil."""

from __future__ import annotations

from typing import Final

from gateway.demo.cast import BATCH, Cast
from gateway.demo.stage import order
from gateway.errors import LinegateError

WRONG_UID: Final = "1A4FF0100000022000009999"
DRIFT_SPEED: Final = 10.0
"""Plant seconds in a second while the oil cools: slow enough that a weighing sees the drift before a check fails."""
SHORT_DOSE_MPAS: Final = 780.0
"""Raw viscosity at which the dose is some 0.02 g short: far out of its chart, well within its limits."""
RIGHT, THICK = 0.050, 0.037
"""Share of terpenes in the released oil, and in oil that lost some: a third thicker at the same temperature."""
CHARTS: Final = ("fill-chart-5", "fill-chart-100")


def heater_fails(cast: Cast) -> None:
    """Warned of by the temperature, once; then by the charts; then the 1-in-100 check fails and holds the filler."""
    since = cast.last_index()
    cast.stage.sim("speed", value=DRIFT_SPEED)
    cast.stage.sim("fault", device="reservoir", name="heater_failure")
    cast.say("the heater fails (nobody knows yet)")
    cast.wait("the temperature alarm", lambda: cast.beyond("oil-temperature", shown=True, since=since), 60)
    cast.say("Linegate warns: oil temperature is leaving its window")
    cast.wait("its viscosity's", lambda: cast.beyond("oil-viscosity", shown=False, since=since), 60)
    shown = cast.value("viscometer/viscosity", 0), cast.value("oil/viscosity_62", 0)
    cast.say(f"viscosity rises with it, {shown[0]:.0f} mPa.s; that is the cold (at 62 Cel: {shown[1]:.0f}), told once")
    cast.wait("doses short", lambda: cast.value("viscometer/viscosity", 0) > SHORT_DOSE_MPAS, 60)
    if cast.technician:
        cast.technician.weigh_one("fill-weight-100")
    chart = cast.wait("a control chart's warning", lambda: _charted(cast, since), 60)
    cast.say(f"CHART: {chart}")
    halt = cast.wait("the filler is halted", lambda: cast.halt("filler", "confirmed"), 90)
    cast.say(f"HALT: {halt['text']}")
    cast.say(f"the filler itself says: {halt['proof']}; suspect: {', '.join(halt['suspects'])}")
    _told_once(cast, since)


def _charted(cast: Cast, since: int) -> str:
    """What the first chart that warned said."""
    raised = (record for record in cast.mes.kinds("alarm.raised") if record["index"] > since)
    return next((str(each["body"]["text"]) for each in raised if each["body"]["alarm"] in CHARTS), "")


def _told_once(cast: Cast, since: int) -> None:
    """LinegateError: what the cold explains was alarmed again."""
    twice = [name for name in ("oil-viscosity", "oil-viscosity-62") if cast.beyond(name, shown=True, since=since)]
    if twice:
        raise LinegateError(f"the heater was alarmed by the temperature, and again by {', '.join(twice)}")


def recalibrated(cast: Cast) -> None:
    """Cause mended, alarm acknowledged, recalibration recorded, latch released; the operator restarts."""
    cast.stage.sim("speed", value=cast.stage.speed)
    cast.stage.sim("heal", device="reservoir", name="heater_failure")
    cast.say("maintenance mends the heater; the oil warms up again")
    cast.wait("the oil is warm again", lambda: cast.value("reservoir/temperature", 0) >= 61, 60)
    cast.stage.sim("recalibrate")
    cast.release("filler", "heater relay replaced, oil back at 62 Cel", "pump recalibrated to 1.000 g, 3 test doses")
    cast.restart("filler")
    cast.say("tom records the recalibration and releases; olga restarts the filler at its panel")
    cast.wait("verification passed", lambda: cast.judged("fill-weight", "passed", why="verification"), 60)
    cast.say("the next five units were all checked: good; the plan resumes")


def wrong_roll(cast: Cast) -> None:
    cast.stage.sim("roll", batch=BATCH, uid=WRONG_UID, thc=86.4, warning="WRN-VAPE-01")
    cast.say("somebody loads a label roll with another UID")
    halt = cast.wait("the labeller is halted", lambda: cast.halt("labeller", "confirmed"), 30)
    cast.say(f"HALT: {halt['text']}")
    cast.stage.sim("roll", batch=BATCH, uid=order(BATCH, 1)["uid"], thc=86.4, warning="WRN-VAPE-01")
    cast.release("labeller", "wrong roll removed, first label of the right roll approved", "")
    cast.restart("labeller")
    cast.say("the right roll is back; released with a reason; labelling goes on")


def another_oil(cast: Cast) -> None:
    """Fewer terpenes, the same temperature: what the compensated viscosity is there for."""
    since = cast.last_index()
    cast.stage.sim("oil", terpene=THICK)
    cast.wait("the oil's own alarm", lambda: cast.beyond("oil-viscosity-62", shown=True, since=since), 30)
    warm, thick = cast.value("reservoir/temperature", 0), cast.value("oil/viscosity_62", 0)
    cast.say(f"thicker oil at its right {warm:.1f} Cel: alarmed as another oil, {thick:.0f} mPa.s at 62 Cel")
    cast.stage.sim("oil", terpene=RIGHT)
    cast.say("the reservoir is topped up with the released lot")


ACT = (heater_fails, recalibrated, wrong_roll, another_oil)
