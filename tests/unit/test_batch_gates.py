"""Gates: what keeps a batch from its start, who may open one all the same, and what an override covers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from batch_story import ANA, QUINN, T0, TOM, order, recipe
from pydantic import ValidationError

from gateway.batch import gates, lifecycle
from gateway.batch.counts import Counters
from gateway.batch.gates import Facts, Field, Gate, GateState, Seen
from gateway.batch.instruments import Checked, Instrument, Standard, Standing, checked, troubles
from gateway.batch.order import Coa
from gateway.batch.state import Batch, BatchState
from gateway.errors import Refused
from gateway.model import Principal
from gateway.recipe import GateRule, Label, Recipe, Setpoint, Step

H = 3600 * 1_000_000_000
SETPOINTS = {"filler/dose": Setpoint(value="1.000", unit="g", tolerance="0.001")}
STEPS = (
    Step(id="clear", text="Cleared", second_role="qa", covers=("area-before",)),
    Step(id="clean", text="Sanitized", covers=("sanitation",)),
    Step(id="release", text="Released", role="qa", covers=("oil-release",)),
    Step(id="proof", text="Label approved", role="technician", second_role="qa", covers=("label-proof",)),
)
ALL = ("clearance", "sanitation", "oil", "setpoints", "instruments", "people", "label", "clock")
SCALE = Instrument(
    kind="scale", serial="B1", due=date(2026, 12, 31), device="balance", reading="balance/net",
    check=Standard(standard="W-20", value="20.0000", unit="g", tolerance="0.0020", every="24h"),
)  # fmt: skip
GOOD = Checked(
    "balance", "B1", "W-20", Decimal("20.0001"), Decimal(20), Decimal("0.002"), "g", True, "tom", "", T0, "x"
)
RIGHT = Field("labeller/uid", "'U'", "'U'", ok=True, text="")
WRONG = Field("labeller/uid", "'V'", "'U'", ok=False, text="labeller/uid reads 'V', expected 'U'")


def made(**changes: Any) -> Recipe:
    facts: dict[str, Any] = {
        "before_start": STEPS,
        "setpoints": SETPOINTS,
        "gates": {name: GateRule(override=("supervisor", "qa")) for name in ALL},
    }
    return recipe(**(facts | changes))


def known(**changes: Any) -> Facts:
    """Everything as it should be."""
    fit = (frozenset({"operator", "technician", "qa"}), "")
    facts: dict[str, Any] = {
        "readings": {"filler/dose": Seen(1.0, "g")},
        "instruments": (Standing("balance", SCALE, GOOD),),
        "people": {"ana": fit, "tom": fit, "quinn": fit},
        "starts": "ana",
        "label": (RIGHT,),
        "clock": "synchronised",
    }
    return Facts(**(facts | changes))


def signed(master: Recipe) -> Batch:
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    for step in master.before_start:
        roles = {"operator": ANA, "technician": TOM, "qa": QUINN}
        batch, _ = lifecycle.sign(batch, master, step.id, roles[step.role], "", T0)
        if step.second_role:
            batch, _ = lifecycle.sign(batch, master, step.id, roles[step.second_role], "", T0)
    return batch


def stand(facts: Facts, master: Recipe | None = None, now_ns: int = T0) -> dict[str, Gate]:
    master = master or made()
    return {gate.name: gate for gate in gates.gates(signed(master), master, facts, now_ns)}


def shut(facts: Facts, now_ns: int = T0) -> dict[str, str]:
    """Blocked gates with their problems."""
    found = stand(facts, now_ns=now_ns)
    return {name: "; ".join(one.text for one in gate.problems) for name, gate in found.items() if gate.blocks}


def test_all_open_where_all_is_well() -> None:
    """Every gate of the recipe, and evidence beside them, in the order of a start."""
    found = stand(known())
    assert tuple(found) == (*ALL, "evidence")
    assert {gate.state for gate in found.values()} == {GateState.OPEN}
    assert "COA COA-88213" in found["oil"].evidence[1]


@pytest.mark.parametrize(
    ("gate", "change", "told"),
    [
        ("setpoints", {"readings": {}}, "filler/dose could not be read back: it was never seen"),
        ("setpoints", {"readings": {"filler/dose": Seen(None, "g", "timeout")}}, "could not be read back: timeout"),
        ("setpoints", {"readings": {"filler/dose": Seen(0.998, "g")}}, "filler/dose is 0.998 g, the recipe says 1.000"),
        ("setpoints", {"readings": {"filler/dose": Seen(float("nan"), "g")}}, "no number"),
        ("setpoints", {"readings": {"filler/dose": Seen(True, "g")}}, "no number"),
        ("setpoints", {"readings": {"filler/dose": Seen(1.0, "Cel")}}, "no number in g"),
        ("instruments", {"register": "instruments.yaml:3:1: bad"}, "cannot be read: instruments.yaml:3:1"),
        ("people", {"people": {}}, "ana is not known here"),
        ("people", {"starts": "zoe"}, "zoe is not known here"),
        ("label", {"label": (WRONG,)}, "labeller/uid reads 'V', expected 'U'"),
        ("clock", {"clock": "unsynchronised"}, "the clock is unsynchronised"),
        ("clock", {"clock": "unknown"}, "the clock is unknown"),
        ("evidence", {"unrecorded": "disk full"}, "nothing can be recorded: disk full"),
    ],
)
def test_one_thing_wrong_shuts_one_gate(gate: str, change: dict[str, Any], told: str) -> None:
    """And says what; no other gate is touched."""
    found = shut(known(**change))
    assert list(found) == [gate]
    assert told in found[gate]


def test_a_setpoint_is_compared_in_the_recipes_unit() -> None:
    """1000 mg is 1 g; a dose a hair inside its tolerance is right, one outside is not."""
    assert not shut(known(readings={"filler/dose": Seen(1000.0, "mg")}))
    assert not shut(known(readings={"filler/dose": Seen(1.001, "g")}))
    assert "setpoints" in shut(known(readings={"filler/dose": Seen(1.0011, "g")}))


@pytest.mark.parametrize(("reads", "blocked"), [("VC-1G", False), ("VC-05G", True), (1, True)])
def test_a_program_is_compared_to_the_letter(reads: Any, blocked: bool) -> None:
    """The name of a program is no number."""
    wanted = Setpoint(program="VC-1G")
    assert bool(list(gates.deviation("filler/program", wanted, Seen(reads, "1")))) is blocked


def test_who_signed_must_still_be_fit() -> None:
    """A qualification that ran out since, or a role that was taken away, shuts the gate."""
    fit = (frozenset({"operator", "technician", "qa"}), "")
    ended = {"ana": (frozenset({"operator"}), "the qualification of ana ended"), "tom": fit, "quinn": fit}
    assert "Ana Ruiz, who signed clean: the qualification of ana ended" in shut(known(people=ended))["people"]
    moved = {"ana": fit, "tom": fit, "quinn": (frozenset({"operator"}), "")}
    assert "who signed proof as qa, is not qa now" in shut(known(people=moved))["people"]


@pytest.mark.parametrize(
    ("last", "hours", "told"),
    [
        (None, 0, "was not checked yet"),
        (msgspec.structs.replace(GOOD, passed=False), 0, "the last check failed"),
        (GOOD, 25, "older than 1d"),
        (GOOD, -1, "older than 1d"),
        (msgspec.structs.replace(GOOD, serial="OTHER"), 0, "was not checked yet"),
    ],
)
def test_the_daily_check_holds_a_day(last: Checked | None, hours: int, told: str) -> None:
    """None yet, failed, too old, of the future (a clock set back), or of another instrument: it may not be used."""
    found = shut(known(instruments=(Standing("balance", SCALE, last),)), T0 + hours * H)
    assert told in found["instruments"]


def test_a_calibration_ends_with_its_last_day() -> None:
    """On the due date it holds; the day after it does not."""
    due = SCALE.model_copy(update={"due": date(2026, 3, 14), "check": None})
    assert not troubles(Standing("balance", due), T0)
    (trouble,) = troubles(Standing("balance", due), T0 + 24 * H)
    assert "calibration of balance (B1) ended on 2026-03-14" in trouble.text


def test_only_what_the_product_needs_is_asked_for() -> None:
    """`needs` by name or kind; a kind the register has not is a problem of its own."""
    torn = SCALE.model_copy(update={"out_of_service": "dropped"})
    both = (Standing("balance", SCALE, GOOD), Standing("other", torn))
    rules = {"instruments": GateRule(needs=("balance",))}
    master = made(gates=rules)
    assert not stand(known(instruments=both), master)["instruments"].blocks
    master = made(gates={"instruments": GateRule(needs=("scale", "pipette"))})
    texts = [one.text for one in stand(known(instruments=both), master)["instruments"].problems]
    assert texts[:2] == ["the register has no pipette", "other is out of service: dropped"]


def test_the_check_is_recorded_with_what_was_read() -> None:
    """Within the limits it passed, a digit beyond it failed; both are records."""
    good, draft = checked("balance", SCALE, Decimal("20.0020"), "g", "entered", TOM, T0)
    assert (good.passed, draft.kind, draft.body["value"], draft.body["serial"]) == (
        True, "instrument.checked", "20.0020", "B1",
    )  # fmt: skip
    assert not checked("balance", SCALE, Decimal("20.0021"), "g", "entered", TOM, T0)[0].passed
    assert checked("balance", SCALE, Decimal(20000), "mg", "entered", TOM, T0)[0].value == 20


@pytest.mark.parametrize(
    ("code", "entry", "value", "unit", "who"),
    [
        ("no_check", SCALE.model_copy(update={"check": None}), "20", "g", TOM),
        ("wrong_unit", SCALE, "20", "Cel", TOM),
        ("bad_value", SCALE, "NaN", "g", TOM),
        ("bad_value", SCALE, "1e40", "g", TOM),
        ("role_missing", SCALE, "20", "g", Principal("mo", frozenset({"maintenance"}), "cli")),
    ],
)
def test_a_check_that_is_none_is_refused(code: str, entry: Instrument, value: str, unit: str, who: Principal) -> None:
    """Nothing is recorded of it."""
    with pytest.raises(Refused) as caught:
        checked("balance", entry, Decimal(value), unit, "entered", who, T0)
    assert caught.value.code == code


def test_an_expired_standard_checks_nothing() -> None:
    """A test weight out of calibration is none."""
    assert SCALE.check is not None
    old = SCALE.model_copy(update={"check": SCALE.check.model_copy(update={"due": date(2026, 3, 13)})})
    with pytest.raises(Refused, match="ended on 2026-03-13") as caught:
        checked("balance", old, Decimal(20), "g", "entered", TOM, T0)
    assert caught.value.code == "standard_expired"


# -- overrides ---------------------------------------------------------------------------------------

SUE = Principal("sue", frozenset({"supervisor"}), "cli", "Sue Ito")


def test_an_override_covers_what_was_seen_and_nothing_more() -> None:
    """The same deviation stays overridden; another value of it blocks again."""
    master = made()
    batch = signed(master)
    off = known(readings={"filler/dose": Seen(0.99, "g")})
    gate = next(one for one in gates.gates(batch, master, off, T0) if one.name == "setpoints")
    batch, (draft,) = lifecycle.open_gate(batch, master, gate, GateRule(override=("supervisor",)), SUE, "trial", T0)
    assert (draft.kind, draft.by, draft.body["reason"]) == ("gate.overridden", "sue", "trial")

    after = {one.name: one for one in gates.gates(batch, master, off, T0)}["setpoints"]
    assert (after.state, after.opened_by, after.reason) == (GateState.OVERRIDDEN, "Sue Ito", "trial")
    worse = known(readings={"filler/dose": Seen(0.5, "g")})
    assert {one.name: one for one in gates.gates(batch, master, worse, T0)}["setpoints"].blocks
    assert lifecycle.from_json(msgspec.json.decode(msgspec.json.encode(lifecycle.to_json(batch)))) == batch


@pytest.mark.parametrize(
    ("code", "rule", "who", "reason", "facts"),
    [
        ("no_override", GateRule(), SUE, "why", {"clock": "unknown"}),
        ("role_missing", GateRule(override=("qa",)), SUE, "why", {"clock": "unknown"}),
        ("reason_missing", GateRule(override=("supervisor",)), SUE, "  ", {"clock": "unknown"}),
        ("not_blocked", GateRule(override=("supervisor",)), SUE, "why", {}),
    ],
)
def test_who_may_not_override_does_not(code: str, rule: GateRule, who: Principal, reason: str, facts: Any) -> None:
    """Only where the recipe lets, only with the role, only with a reason, only what is shut."""
    master = made()
    batch = signed(master)
    gate = {one.name: one for one in gates.gates(batch, master, known(**facts), T0)}["clock"]
    with pytest.raises(Refused) as caught:
        lifecycle.open_gate(batch, master, gate, rule, who, reason, T0)
    assert caught.value.code == code


def test_an_overridden_signature_makes_the_batch_ready() -> None:
    """Everything else signed, sanitation overridden: ready; without the override it stays planned and says why."""
    master = made()
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    for step, who in (("clear", ANA), ("clear", QUINN), ("release", QUINN), ("proof", TOM), ("proof", QUINN)):
        batch, _ = lifecycle.sign(batch, master, step, who, "", T0)
    assert batch.state is BatchState.PLANNED
    with pytest.raises(Refused, match="clean is not signed"):
        lifecycle.start(batch, master, "ana", Counters(0), T0)
    gate = {one.name: one for one in gates.gates(batch, master, known(), T0)}["sanitation"]
    batch, _ = lifecycle.open_gate(batch, master, gate, GateRule(override=("supervisor",)), SUE, "wet season", T0)
    assert batch.state is BatchState.READY


def test_a_blocked_start_is_a_record() -> None:
    """Which gates, what stood in their way, and who asked."""
    master = made()
    found = gates.gates(signed(master), master, known(clock="unknown"), T0)
    draft, refusal = gates.refusal(signed(master), found, "ana", T0)
    assert (draft.kind, draft.by, [one["gate"] for one in draft.body["gates"]]) == ("gate.blocked", "ana", ["clock"])
    assert (refusal.code, "the clock is unknown" in str(refusal)) == ("gates_blocked", True)


# -- what a signature holds --------------------------------------------------------------------------


def test_two_people_approve_a_label_that_was_read() -> None:
    """What was read stands in both signatures; a wrong one is signed by nobody; one person cannot do both."""
    master = made()
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    with pytest.raises(Refused, match="reads 'V', expected 'U'") as caught:
        lifecycle.sign(batch, master, "proof", TOM, "", T0, label=(WRONG,))
    assert caught.value.code == "label_wrong"
    batch, (draft,) = lifecycle.sign(batch, master, "proof", TOM, "", T0, label=(RIGHT,))
    assert draft.body["label"][0]["read"] == "'U'"
    tom_too = Principal("tom", frozenset({"qa"}), "cli", "Tom")
    with pytest.raises(Refused) as caught:
        lifecycle.sign(batch, master, "proof", tom_too, "", T0, label=(RIGHT,))
    assert caught.value.code == "same_person"
    _, (draft,) = lifecycle.sign(batch, master, "proof", QUINN, "", T0, label=(RIGHT,))
    assert (draft.body["meaning"], draft.body["label"][0]["tag"]) == ("verified", "labeller/uid")


def test_the_release_of_the_oil_names_lot_and_coa() -> None:
    """And a lot whose COA is gone or failed shuts the gate."""
    master = made()
    batch, _ = lifecycle.planned(order(), master, "h", T0)
    _, (draft,) = lifecycle.sign(batch, master, "release", QUINN, "", T0)
    assert draft.body["released"] == [{"lot": "DST-0291", "uid": "1A4010300003F86000017647", "coa": "COA-88213"}]
    failed = Coa(id="C9", lab="L", thc_percent="80", passed=False, issued=date(2026, 1, 1))
    lots = tuple(lot.model_copy(update={"coa": failed}) if lot.kind == "oil" else lot for lot in batch.order.materials)
    spoilt = msgspec.structs.replace(batch, order=batch.order.model_copy(update={"materials": lots}))
    gate = {one.name: one for one in gates.gates(spoilt, master, known(), T0)}["oil"]
    assert any("failed its COA C9" in one.text for one in gate.problems)
    late = {one.name: one for one in gates.gates(batch, master, known(), T0 + 400 * 24 * H)}["oil"]
    assert any("expired" in one.text for one in late.problems)


# -- recipes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gates": {"evidence": {"override": ["qa"]}}}, "nobody overrides that"),
        ({"gates": {"clock": {"needs": ["scale"]}}}, "this gate has none"),
        ({"gates": {"sanitation": None}, "before_start": ()}, r"give one `covers: \[sanitation\]`"),
        ({"gates": {"setpoints": None}, "setpoints": {}}, "names no setpoints"),
        ({"gates": {"label": None}, "label": None}, "has no label"),
        ({"gates": {"clok": None}}, "clok"),
        ({"gates": {"clock": {"override": ["janitor"]}}}, "janitor|operator"),
        ({"setpoints": {"a/b": {"unit": "g"}}}, "either a value or the name of a program"),
        ({"setpoints": {"a/b": {"program": "X", "tolerance": 1}}}, "a tolerance needs a number"),
    ],
)
def test_a_gate_that_could_never_open_is_refused(changes: dict[str, Any], told: str) -> None:
    """When the recipe is read, not at three in the morning."""
    document = made().model_dump(mode="json", by_alias=True) | changes
    with pytest.raises(ValidationError, match=told):
        Recipe.model_validate(document)


def test_a_recipe_survives_its_own_json() -> None:
    """As it is kept over a restart: numbers stay numbers, programs stay text."""
    master = made(setpoints={**SETPOINTS, "filler/program": Setpoint(program="12"), "filler/hot": Setpoint(value=True)})
    assert Recipe.model_validate(master.model_dump(mode="json", by_alias=True)) == master


def test_without_gates_the_recipe_is_asked_for_what_it_has() -> None:
    """No key `gates`: what steps sign for, setpoints and the register; the clock is nobody's matter then."""
    master = made(gates=None)
    asked = [each for each in ALL if each != "clock"]
    assert list(stand(known(clock="unknown"), master)) == [*asked, "evidence"]
    bare = recipe(before_start=(), setpoints={}, label=Label(warning_code="W"))
    batch, _ = lifecycle.planned(order(), bare, "h", T0)
    assert [one.name for one in gates.gates(batch, bare, Facts(), T0)] == ["people", "evidence"]
