"""Act one: an order, warm oil, signatures, gates, and a batch that runs well."""

from __future__ import annotations

from gateway.demo import start
from gateway.demo.cast import BATCH, Cast
from gateway.demo.robots import Technician
from gateway.demo.stage import order
from gateway.errors import LinegateError, Refused


def order_comes(cast: Cast) -> None:
    document = order(BATCH, cast.units)
    answer = cast.mes.command("batch.order", order=document)
    if not answer.get("ok"):
        raise LinegateError(f"the order was not taken: {answer}")
    cast.say(f"MES orders {cast.units} cartridges: batch {BATCH}, COA THC 86.4 %, lots and UIDs checked")
    labels = {"batch": BATCH, "uid": document["uid"], "thc": 86.4, "warning": "WRN-VAPE-01"}
    cast.stage.sim("roll", **labels)


def oil_warms_up(cast: Cast) -> None:
    cast.say("the oil heats up to its window")
    cast.wait("the oil is warm", lambda: cast.value("reservoir/temperature", 0) >= 60.5, 60)


def signatures(cast: Cast) -> None:
    cast.sign_all()


def gates_open(cast: Cast) -> None:
    """What still keeps the batch from its start is seen, and done."""
    try:
        cast.people["olga"].command("batch.start", batch=BATCH)
    except Refused as refusal:
        cast.say(f"REFUSED: {refusal}")
    else:
        raise LinegateError("the batch started although the balance was not checked today")
    for gate in start.open_gates(cast.people, cast.stage.sim, BATCH, cast.say):
        cast.say(f"   gate {gate['gate']}: {gate['state']}, {gate['asks']}")
    cast.wait("the gates on MQTT", lambda: (cast.mes.state.get("gates") or {}).get("open"), 10)


def batch_starts(cast: Cast) -> None:
    cast.people["olga"].command("batch.start", batch=BATCH)
    for machine in ("labeller", "filler"):
        cast.operate(machine, "reset")
    for machine in ("labeller", "filler"):
        cast.wait_for_state(machine, "Idle")
        cast.operate(machine, "start")
    cast.say("batch started; olga starts labeller and filler at their panels")
    cast.technician = Technician(cast.people["tom"], cast.stage.sim, cast.say)
    cast.technician.start()


def checks_are_taken(cast: Cast) -> None:
    """Both plans are asked for and done."""
    cast.wait("a 1-in-100 check passed", lambda: cast.judged("fill-weight-100", "passed"), 60)
    cast.wait("a five-unit check passed", lambda: cast.judged("fill-weight-5", "passed"), 60)
    cast.say("tom took checks of both plans: all within limits, the control charts say nothing")


ACT = (order_comes, oil_warms_up, signatures, gates_open, batch_starts, checks_are_taken)
