"""UIDs on labels and the drift of where labels sit: form, range, used once, told before a limit; kept in restarts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rules_kit import CONTEXT, LABELLER, S, bad, scan

from gateway.batch.order import parse
from gateway.errors import Refused
from gateway.model import Severity
from gateway.rules.engine import Engine
from gateway.rules.match import MatchConfig
from gateway.uids import Seen, serial, wrong
from gateway.verdicts import Verdict

STEM = "1A4FF01000000220000"
UNIT = {"tag": "labeller/batch", "per": "unit", "first": f"{STEM}00001", "last": f"{STEM}00100"}


def uid(number: int) -> str:
    return f"{STEM}{number:05d}"


class Bench:
    """A labeller whose `batch` field carries the UID."""

    def __init__(self, **keys: Any) -> None:
        document = {"on": "labeller/labels", "expect": {"labeller/verified": True}, "halt": "labeller", **keys}
        self.judge = MatchConfig.model_validate(document).build("label", CONTEXT)
        self.engine = Engine({"label": self.judge}, [LABELLER])
        self.count = 0
        self._say(None)

    def label(self, text: str | None = None, offset: float = 0.0, **more: Any) -> list[Verdict]:
        self.count += 1
        return [each for each in self._say(text, offset, **more) if each.severity > Severity.NORMAL]

    def _say(self, text: str | None, offset: float = 0.0, **more: Any) -> list[Any]:
        at = self.count + 1
        return list(self.engine.judge(scan(LABELLER, at, self.count, text, 84.2, offset, True, **more), at * S, 0))


def test_a_uid_that_was_seen_before_is_a_halt() -> None:
    """Each unit has its own; the same again names the label, the UID and the rule."""
    bench = Bench(uids=UNIT)
    assert [bench.label(uid(number)) for number in (1, 2, 3)] == [[], [], []]
    (halt,) = bench.label(uid(2))
    assert (halt.severity, halt.halts) == (Severity.HALT, ("labeller",))
    assert halt.text == (
        f"label 4: labeller/batch '{uid(2)}' was seen on another label of this batch: a UID is used once"
    )
    assert bench.label(uid(4)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (uid(1)[:-1], "has 23 characters, a UID has 24"),
        (uid(1).lower(), "has 'a', 'f'; a UID is made of 0-9 and A-Z"),
        (uid(1)[:-1] + "?", "has '?'"),
        (uid(101), "is not of those issued for this batch"),
        ("1A4FF01000000330000" + "00001", "is not of those issued for this batch"),
        ("", "has 0 characters"),
    ],
)
def test_a_uid_of_another_form_or_range_is_a_halt(text: str, told: str) -> None:
    """24 characters, 0-9 and A-Z, of the range that was issued."""
    (halt,) = Bench(uids=UNIT).label(text)
    assert (halt.severity, told in halt.text) == (Severity.HALT, True)


def test_a_uid_that_cannot_be_read_is_as_a_wrong_label() -> None:
    """A bad read is no UID that was seen."""
    (halt,) = Bench(uids=UNIT).label(None, faults={1: bad("no read")})
    assert (halt.severity, "could not be read" in halt.text) == (Severity.HALT, True)


def test_a_package_has_one_uid() -> None:
    """All labels say the same one; another is a halt."""
    bench = Bench(uids={"tag": "labeller/batch", "per": "package"})
    assert bench.label(uid(7)) == []
    assert bench.label(uid(7)) == []
    (halt,) = bench.label(uid(8))
    assert f"is another than that of the labels before, '{uid(7)}'" in halt.text


def test_a_restart_forgets_no_uid() -> None:
    """What was seen before a crash is seen; a sequence of labels costs one run in the state."""
    first = Bench(uids=UNIT)
    for number in range(1, 51):
        first.label(uid(number))
    state = first.judge.dump()
    assert state["uids"][0] == {"1A4FF": [[int(uid(1)[5:]), int(uid(50)[5:])]]} or len(str(state)) < 300
    second = Bench(uids=UNIT)
    second.judge.load(state)
    second.count = 50
    (halt,) = second.label(uid(50))
    assert "was seen on another label" in halt.text


@given(st.lists(st.integers(1, 60), max_size=80))
def test_runs_remember_as_a_set_does(numbers: list[int]) -> None:
    """Whatever the order, also across a dump in the middle."""
    seen, known = Seen(), set[int]()
    for at, number in enumerate(numbers):
        if at == len(numbers) // 2:
            runs, others = seen.dump()
            seen = Seen(runs, others)  # type: ignore[arg-type]
        assert seen.add(uid(number)) is (number not in known)
        known.add(number)


def test_a_uid_without_a_number_is_remembered_too() -> None:
    """One that ends in a letter counts nowhere, and is used once all the same."""
    odd = "1A401030003F86A00001764A"
    seen = Seen()
    assert (wrong(odd), serial(odd), seen.add(odd), seen.add(odd)) == ("", None, True, False)


@pytest.mark.parametrize(
    "uids",
    [
        {"tag": "labeller/batch", "per": "unit", "first": uid(1)},
        {"tag": "labeller/batch", "per": "package", "first": uid(1), "last": uid(2)},
        {"tag": "labeller/batch", "per": "unit", "first": "x", "last": "y"},
    ],
)
def test_a_range_that_is_none_is_refused(uids: dict[str, str]) -> None:
    """When the line is read."""
    with pytest.raises(ValidationError):
        MatchConfig.model_validate({"on": "labeller/labels", "expect": {"labeller/verified": True}, "uids": uids})


def test_drift_is_told_before_a_label_is_out() -> None:
    """Labels wander from 0 towards 1.5 mm: one warning while each is still within; again after a return."""
    window = {"unit": "mm", "low": -0.5, "high": 0.5}
    bench = Bench(
        expect={"labeller/offset": {"window": {"unit": "mm", "low": -1.5, "high": 1.5}}},
        trend={"tag": "labeller/offset", "weight": 0.2, "window": window},
    )
    told = [(number, found) for number in range(1, 41) for found in bench.label(offset=number * 0.03)]
    assert len(told) == 1
    number, warning = told[0]
    assert (warning.rule, warning.severity, number * 0.03 < 1.5) == ("label:trend", Severity.WARNING, True)
    assert "the average 0.5" in warning.text
    for _ in range(30):
        assert bench.label(offset=0.0) == []
    assert [each.rule for _ in range(10) for each in bench.label(offset=1.4)] == ["label:trend"]


def test_noise_around_the_target_is_no_drift() -> None:
    """Single labels far off on either side do not move the average; a bad value is no label."""
    window = {"unit": "mm", "low": -0.5, "high": 0.5}
    bench = Bench(trend={"tag": "labeller/offset", "window": window})
    assert all(bench.label(offset=1.4 if number % 2 else -1.4) == [] for number in range(100))
    assert bench.label(offset=99.0, faults={3: bad("blind")}) == []


# -- the order ---------------------------------------------------------------------------------------

ORDER: dict[str, Any] = {"order": "O", "batch": "B", "sku": "S", "recipe": "r", "uid": uid(0), "quantity": 5}
LOT: dict[str, Any] = {"kind": "oil", "lot": "L", "uid": uid(1), "quantity": "5", "unit": "g"}


@pytest.mark.parametrize("quantity", [True, False, "1_000", 1.5, 0, -3, 10**8, "", None, "5e3", "\u0663"])
def test_a_quantity_is_a_whole_number_in_digits(quantity: Any) -> None:
    """True is no 1, `1_000` no thousand, and nobody orders a hundred million."""
    with pytest.raises(Refused, match="quantity") as caught:
        parse({**ORDER, "quantity": quantity})
    assert caught.value.code == "bad_order"


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "1_0", True, "1e30", "\u0663"])
def test_a_lots_quantity_is_a_number(quantity: Any) -> None:
    """Finite, in plain digits, of a size a sum can hold."""
    with pytest.raises(Refused, match=r"materials\.0\.quantity"):
        parse({**ORDER, "materials": [{**LOT, "quantity": quantity}]})


def test_digits_as_text_are_taken() -> None:
    """Some systems send numbers as text."""
    assert parse({**ORDER, "quantity": "5000"}).quantity == 5000
