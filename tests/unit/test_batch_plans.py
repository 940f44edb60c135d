"""What the record says of plans: checks that were never asked for, and those that prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.batch.complete import expected, findings


def record(index: int, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"index": str(index), "time": str(1000 + index), "kind": kind, "by": "gateway", "body": body}


def found(plan: dict[str, Any], checks: list[dict[str, Any]], units: int = 300) -> list[tuple[str, str]]:
    """What is found of a batch of so many units by this plan, checks alone."""
    recipe = {"id": "x", "version": "1", "hash": "h", "document": {"plans": {"fill": plan}}}
    records = [record(0, "batch.ordered", {"recipe": recipe}), record(1, "batch.started", {})]
    for place, check in enumerate(checks):
        body = {"id": f"fill#{place + 1}", "plan": "fill", "due_ns": "5", "n": 1, "why": "schedule", **check}
        records.append(record(2 * place + 2, "check.due", {**body, "state": "due"}))
        records.append(record(2 * place + 3, "check.judged", body))
    records.append(record(99, "batch.completed", {"units_filled": str(units), "reconciliation": []}))
    return [(each.kind, each.text) for each in findings(records) if each.kind.startswith("check.")]


def at(units: int | None, **more: Any) -> dict[str, Any]:
    return {"due_units": units, "state": "passed", **more}


def test_an_indeterminate_check_is_a_finding_and_a_grave_one() -> None:
    """It is not passed; the reviewer reads why."""
    text = "nearer to the limit than its uncertainty"
    ((kind, said),) = found({"after": ["stop"]}, [at(7, state="indeterminate", why="after stop", text=text)])
    assert kind == "check.indeterminate"
    assert text in said


def test_a_plan_by_events_alone_need_not_have_asked() -> None:
    """No stop, no check; but every batch starts."""
    assert found({"after": ["stop", "adjustment"]}, []) == []
    assert [kind for kind, _ in found({"after": ["start"]}, [])] == ["check.absent"]


def test_checks_by_time_or_event_do_not_stand_for_those_by_units() -> None:
    """Three hundred units call for three; two checks after a stop are none of them."""
    plan = {"every_units": 100, "every": "15min", "after": ["stop"]}
    others = [at(None), at(150, why="after stop"), at(160, why="after stop")]
    assert found(plan, [at(100), at(200), at(300), *others]) == []
    ((kind, text),) = found(plan, [at(100), at(200), *others])
    assert kind == "check.absent"
    assert "asked for 2 checks; 300 units call for 3" in text


@pytest.mark.parametrize(
    ("plan", "checks"),
    [
        ({"every_units": 100}, 3),
        ({"random": {"per": "100 units", "n": 2}}, 6),
        ({"every_units": 100, "random": {"per": "200 units", "n": 1}}, 4),
        ({"random": {"per": "15min", "n": 2}}, 0),
        ({"every": "15min"}, 0),
    ],
)
def test_what_so_many_units_call_for(plan: dict[str, Any], checks: int) -> None:
    """Each n-th unit, and the random ones of whole spans; time calls for none by units."""
    assert expected(plan, 399) == checks
