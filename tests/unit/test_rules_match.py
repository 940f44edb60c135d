"""Rule kind match: every label says what it must."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from rules_kit import CONTEXT, LABELLER, S, bad, scan

from gateway.drivers.reader.kind import ReaderConfig
from gateway.model import Fault, Quality, Scan, Severity, TagSet, Value
from gateway.rules.base import RuleContext
from gateway.rules.engine import Engine
from gateway.rules.match import MatchConfig
from gateway.verdicts import Finding, Verdict

EXPECT = {
    "labeller/batch": "B-1",
    "labeller/thc": {"value": "84.2", "tolerance": "0.5"},
    "labeller/offset": {"window": {"unit": "um", "low": -1500, "high": 1500, "warn_high": 1000}},
    "labeller/verified": True,
}


class Bench:
    """A labeller whose labels are right unless said otherwise."""

    def __init__(self, **keys: Any) -> None:
        document = {"on": "labeller/labels", "expect": EXPECT, "halt": "labeller", **keys}
        config = MatchConfig.model_validate(document)
        self.engine = Engine({"label": config.build("label", CONTEXT)}, [LABELLER])
        self._at_s = 0

    def label(
        self, count: int | None, batch: Value = "B-1", thc: Value = 84.2, offset: Value = 0.1, **more: Any
    ) -> Any:
        self._at_s += 1
        values = (count, batch, thc, offset, more.pop("verified", True))
        found = self.engine.judge(scan(LABELLER, self._at_s, *values, **more), self._at_s * S, 0)
        assert all(isinstance(each, Verdict) for each in found)
        return found


def only(findings: Any) -> Verdict:
    (finding,) = findings
    found: Finding = finding
    assert isinstance(found, Verdict)
    return found


def test_the_first_count_is_only_the_baseline() -> None:
    """Labels from before the batch are not ours: even a wrong one is not judged."""
    bench = Bench()
    assert not bench.label(17, batch="OLD")
    assert not bench.label(17, batch="OLD")
    assert only(bench.label(18)).severity is Severity.NORMAL
    assert not bench.label(19)


def test_the_first_wrong_label_halts_and_names_each_field() -> None:
    """What was read and what was expected, for every field that differs; the first field is the subject."""
    bench = Bench(text="Change the roll")
    bench.label(0)
    halt = only(bench.label(1, batch="B-2", thc=81.0))
    assert (halt.severity, halt.halts, halt.fleeting) == (Severity.HALT, ("labeller",), True)
    assert halt.text == (
        "label 1: labeller/batch reads 'B-2', expected 'B-1'; labeller/thc reads 81 %, expected 84.2 % within 0.5. "
        "Change the roll."
    )
    assert (halt.subject, halt.value, halt.limit) == ("labeller/batch", "B-2", "B-1")


def test_every_wrong_label_is_said_and_the_first_right_one_too() -> None:
    """Each is a judgement of its own; the same label read twice is judged once."""
    bench = Bench()
    bench.label(0)
    assert only(bench.label(1, batch="B-2")).severity is Severity.HALT
    assert not bench.label(1, batch="B-2")
    assert only(bench.label(2, batch="B-2")).severity is Severity.HALT
    assert only(bench.label(3)).severity is Severity.NORMAL
    assert bench.engine.current("label").severity is Severity.NORMAL  # type: ignore[union-attr]


@pytest.mark.parametrize(("thc", "right"), [(83.7, True), (84.7, True), (83.69, False), (84.71, False)])
def test_a_number_is_right_within_its_tolerance(thc: float, right: bool) -> None:
    """Decimal arithmetic: exactly at the tolerance is right."""
    bench = Bench()
    bench.label(0)
    assert (only(bench.label(1, thc=thc)).severity is Severity.NORMAL) is right


def test_the_offset_has_a_window_in_its_own_unit() -> None:
    """1500 um is 1.5 mm; the warning limit only warns."""
    bench = Bench()
    bench.label(0)
    assert only(bench.label(1, offset=1.2)).severity is Severity.WARNING
    halt = only(bench.label(2, offset=-1.6))
    assert halt.severity is Severity.HALT
    assert "labeller/offset -1.6 mm is below -1.5 mm" in halt.text


def test_text_is_compared_to_the_letter_and_bool_as_bool() -> None:
    """No trimming, no case folding, and 1 is not true."""
    bench = Bench()
    bench.label(0)
    assert only(bench.label(1, batch="b-1")).severity is Severity.HALT
    assert only(bench.label(2, batch="B-1 ")).severity is Severity.HALT
    assert only(bench.label(3, verified=False)).severity is Severity.HALT
    assert only(bench.label(4, verified=1)).severity is Severity.HALT


@pytest.mark.parametrize(
    ("bad_input", "severity"),
    [(None, Severity.HALT), ("alarm", Severity.ALARM), ("warn", Severity.WARNING), ("ignore", Severity.NORMAL)],
)
def test_a_field_that_could_not_be_read_was_not_verified(bad_input: str | None, severity: Severity) -> None:
    """By default as bad as a wrong label; the reason is said."""
    bench = Bench(bad_input=bad_input)
    bench.label(0)
    verdict = only(bench.label(1, batch=None, faults={1: bad("camera off")}))
    assert verdict.severity is severity
    assert ("camera off" in verdict.text) is (severity is not Severity.NORMAL)


def test_nan_is_not_a_number_within_tolerance() -> None:
    """A NaN compares with nothing and must not pass."""
    bench = Bench()
    bench.label(0)
    assert only(bench.label(1, thc=float("nan"))).severity is Severity.HALT
    assert only(bench.label(2, offset=float("nan"))).severity is Severity.HALT


def test_a_count_that_cannot_be_read_judges_nothing() -> None:
    """The next good count says how many went by."""
    bench = Bench()
    bench.label(0)
    assert not bench.label(None, faults={0: bad()})
    found = bench.label(2)
    assert [each.rule for each in found] == ["label", "label:unseen"]


def test_labels_that_went_by_unseen_are_counted_and_said_without_a_flood() -> None:
    """At the first, then each time the number doubled, as an alarm of its own."""
    bench = Bench()
    bench.label(0)
    said = []
    for count in range(2, 42, 2):
        said += [each for each in bench.label(count) if each.rule == "label:unseen"]
    assert [each.value for each in said] == [1, 2, 4, 8, 16]
    assert "16 labels went by unseen" in said[-1].text
    assert {each.severity for each in said} == {Severity.WARNING}


def test_a_counter_that_was_reset_goes_on() -> None:
    """A count that fell began again at 0: what it shows now is new."""
    bench = Bench()
    bench.label(500)
    bench.label(501)
    assert not bench.label(0)
    assert only(bench.label(1, batch="B-2")).severity is Severity.HALT


def test_counting_goes_on_after_a_restart() -> None:
    """Labels that went by while the gateway was down are unseen; another batch begins anew."""
    before = Bench()
    before.label(10)
    before.label(11)
    states = json.loads(json.dumps(before.engine.dump()))
    after = Bench()
    after.engine.load(states)
    found = after.label(15)
    assert [each.value for each in found if each.rule == "label:unseen"] == [3]
    states["label"]["batch"] = "B-0"
    other = Bench()
    other.engine.load(states)
    assert not other.label(15)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"expect": {}}, "expect"),
        ({"expect": {"labeller/batch": {"tolerance": 1}}}, "either a value or a window"),
        ({"expect": {"filler/units": 3}}, "different devices"),
        ({"halt": (), "bad_input": "halt"}, "no device to halt"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], message: str) -> None:
    """The configuration says so."""
    with pytest.raises(ValidationError, match=message):
        Bench(**keys)


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"labeller/thc": "eighty"}, "is a number; 'eighty' is none"),
        ({"labeller/verified": "yes"}, "is true or false"),
        ({"labeller/batch": {"value": "B-1", "tolerance": 1}}, "a tolerance needs a number"),
        ({"labeller/bach": "B-1"}, "no tag 'bach'"),
    ],
)
def test_what_does_not_fit_the_labeller_is_refused(expect: dict[str, Any], message: str) -> None:
    """Before the batch starts, with words."""
    with pytest.raises(ValueError, match=message):
        Bench(expect=expect)


def test_a_batch_number_written_as_a_number_is_compared_as_text() -> None:
    """YAML reads 1234 as a number; the label says it as text."""
    bench = Bench(expect={"labeller/batch": 1234})
    bench.label(0)
    assert only(bench.label(1, batch="1234")).severity is Severity.NORMAL


# -- readers -----------------------------------------------------------------------------------------

READER = ReaderConfig.model_validate({"url": "tcp://127.0.0.1:2112", "separator": ";", "fields": ["code", "grade"]})
READS = TagSet("reader", READER.tags())
UID = "1A4FF0100000022000000250"


class Verifier:
    """A reader behind the labeller, judged as the reader's own driver reports it."""

    def __init__(self, **keys: Any) -> None:
        document = {
            "on": "reader/count",
            "read": "reader/read",
            "expect": {"reader/code": UID, "reader/grade": "A"},
            "halt": "labeller",
            **keys,
        }
        context = RuleContext({"reader": READS, "labeller": LABELLER}, {"reader": 1.0})
        self.engine = Engine({"label": MatchConfig.model_validate(document).build("label", context)}, [READS])
        self.count = 0
        self._at_s = 0
        self.scan(None, "", why="nothing was read yet")

    def scan(self, read: bool | None, code: str, grade: str = "A", why: str = "no read") -> Any:
        self._at_s += 1
        values = [code if read else None, read, self.count, 0, 0, 0, 0, grade if read else None]
        faults = {at: Fault(Quality.BAD, why) for at, value in enumerate(values) if value is None}
        seen = Scan(READS, self._at_s, 0, self._at_s * S, tuple(values), faults)
        return self.engine.judge(seen, self._at_s * S, 0)

    def label(self, read: bool | None, code: str = UID, **more: Any) -> Any:
        self.count += 1
        return self.scan(read, code, **more)


def test_the_reader_s_first_read_is_judged() -> None:
    """The scan that says a reader is there is the baseline; right and wrong codes are told from the first read on."""
    assert only(Verifier().label(True)).severity is Severity.NORMAL
    wrong = only(Verifier().label(True, "1A4FF0100000022000000999"))
    assert (wrong.severity, wrong.halts, wrong.subject) == (Severity.HALT, ("labeller",), "reader/code")
    assert only(Verifier().label(True, grade="D")).subject == "reader/grade"


@pytest.mark.parametrize(
    ("policy", "severity", "halts"),
    [("warn", Severity.WARNING, ()), ("alarm", Severity.ALARM, ()), ("halt", Severity.HALT, ("labeller",))],
)
def test_a_no_read_is_a_verdict_of_its_own(policy: str, severity: Severity, halts: tuple[str, ...]) -> None:
    """The reader saw no code: its own alarm, by its own policy, and no wrong label."""
    bench = Verifier(no_read=policy)
    bench.label(True)
    found = only(bench.label(False))

    assert (found.rule, found.severity, found.halts, found.fleeting) == ("label:no-read", severity, halts, True)
    assert "label 2: the reader read nothing" in found.text
    assert bench.engine.current("label") is not None
    assert not bench.label(True)


def test_a_no_read_may_be_ignored_and_nothing_between_two_reads_is_one() -> None:
    """With `ignore` nothing is said; a scan without a new count is no label."""
    bench = Verifier(no_read="ignore")
    bench.label(True)

    assert not bench.label(False)
    assert not bench.scan(False, "")


def test_a_garbled_line_is_bad_input_not_a_no_read() -> None:
    """A line that could not be understood is judged as a field that could not be read."""
    found = only(Verifier(no_read="warn").label(None, why="unreadable (half a line)"))

    assert (found.rule, found.severity) == ("label", Severity.HALT)
    assert "could not be read" in found.text


def test_a_reader_that_came_back_begins_anew() -> None:
    """After a reconnect the count begins at 0: the baseline is no label, the first read behind it is judged."""
    bench = Verifier()
    for _ in range(3):
        bench.label(True)
    bench.count = 0
    assert not bench.scan(None, "", why="nothing was read yet")

    assert only(bench.label(True, "WRONG")).severity is Severity.HALT


def test_reads_that_were_lost_are_unseen_labels() -> None:
    """What the reader's queue could not take is missing in its count, and told as unseen."""
    bench = Verifier()
    bench.label(True)
    bench.count += 4
    found = bench.label(True)

    assert [(each.rule, each.value) for each in found] == [("label:unseen", 4)]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"halt": (), "no_read": "halt"}, "no_read is halt"),
        ({"read": None, "no_read": "warn"}, "no_read needs `read`"),
        ({"read": "labeller/verified"}, "different devices"),
    ],
)
def test_what_a_no_read_needs(keys: dict[str, Any], words: str) -> None:
    """A policy that could not work is refused."""
    with pytest.raises(ValidationError, match=words):
        Verifier(**keys)


def test_read_must_be_a_flag() -> None:
    """A tag that is not true or false cannot say whether something was read."""
    with pytest.raises(ValueError, match="true or false"):
        Verifier(read="reader/code")
