"""Act three: the batch ends, everything is counted, QA closes it, and the evidence is verified."""

from __future__ import annotations

import time
from typing import Any

from gateway.demo.cast import BATCH, Cast


def batch_ends(cast: Cast) -> None:
    cast.wait(f"{cast.units} units", lambda: cast.status()["batch"]["units"] >= cast.units, 150)
    cast.operate("filler", "stop")
    cast.wait("all units are labelled", lambda: _labelled(cast), 60)
    cast.operate("labeller", "stop")
    if cast.technician:
        cast.technician.leave()
    _count_up(cast)
    done = cast.people["olga"].command("batch.complete", batch=BATCH)
    cast.say("batch completed; reconciled:")
    for equation in done["reconciliation"]:
        cast.say(f"   {equation['name']}: {_numbers(equation)}")


def closed(cast: Cast) -> None:
    cast.acknowledge_all("end of batch, reviewed")
    cast.sign_all()
    quinn = cast.people["quinn"]
    for tray in cast.status()["batch"]["suspect"]:
        why = "filled while oil was cold"
        quinn.command("batch.tray", signed=True, batch=BATCH, tray=tray, disposition="rejected", reason=why)
    reason = "deviations reviewed: heater failure, wrong roll, thick oil; suspect trays rejected"
    quinn.command("batch.close", signed=True, batch=BATCH, disposition="released", reason=reason)
    cast.say("quinn (QA) reviews by exception and closes the batch")
    cast.wait("the MES has it", lambda: bool(cast.mes.kinds("batch.completed")), 20)
    cast.wait("the MES acknowledged everything", cast.all_acknowledged, 30)


def verified(cast: Cast) -> None:
    end = int(cast.mes.kinds("batch.closed")[-1]["index"])
    witness = cast.wait("the MES has a checkpoint over it", lambda: cast.mes.witness(end), 15)
    cast.paths = cast.people["quinn"].command("batch.report", batch=BATCH)
    cast.verify(witness)
    cast.say("linegate verify: the evidence holds")


ACT = (batch_ends, closed, verified)


def epilogue(cast: Cast) -> None:
    """Where to look, what to try."""
    taken = time.monotonic() - cast.began
    mes = cast.mes
    cast.screen.after(
        f"""
{cast.verdict}

The batch ran in {taken:.0f} s.  The MES received {len(mes.records)} records and {mes.telemetry_count} scans.
  report    {cast.paths["report"]}
  evidence  {cast.paths["bundle"]}
  logs      {cast.stage.folder}

What to try next
  linegate verify {cast.paths["bundle"]}
  make demo STAY=1            leaves the line running; then, in another terminal:
    .venv/bin/linegate status --state {cast.stage.state}
    .venv/bin/linegate halts --state {cast.stage.state}
  linegate check config/line.yaml
"""
    )


def _labelled(cast: Cast) -> bool:
    return int(cast.stage.sim("truth")["plant"]["waiting_for_label"]) == 0


def _count_up(cast: Cast) -> None:
    """What the technician counts and weighs at the end, from the plant's own truth."""
    truth = cast.stage.sim("truth")["plant"]
    batch = cast.status()["batch"]
    damaged = int(truth["labels_damaged"])
    issued = int(batch["labels"]) + damaged + 20
    for name, value, unit in (
        ("labels_issued", issued, "{count}"),
        ("labels_returned", 20, "{count}"),
        ("oil_charged", f"{float(truth['oil_used_g']) + 40:.1f}", "g"),
        ("oil_remaining", "38.5", "g"),
        ("oil_waste", "1.5", "g"),
    ):
        cast.people["tom"].command("batch.enter", batch=BATCH, name=name, value=str(value), unit=unit)


def _numbers(equation: dict[str, Any]) -> str:
    """`513 {count} = 499 applied + ...`: an equation with its inputs and what is left over."""
    terms = ", ".join(f"{each['name']} {each['value']}" for each in equation["inputs"])
    verdict = "within" if equation["ok"] else "OUTSIDE"
    return f"{terms}; off by {equation['difference']} {equation['unit']} ({equation['percent']} %), {verdict} the limit"
