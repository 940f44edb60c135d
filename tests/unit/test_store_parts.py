"""The stores' pure parts: ranges, scans as bytes, plots."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Fault, Quality, Scan, TagSet, TagSpec
from gateway.store.plot import Downsampler
from gateway.store.scans import decode, encode
from gateway.store.spans import Spans

small = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1] - 1))


@given(st.lists(small, max_size=30), small)
def test_spans_are_a_set_of_integers(spans: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    """Adding, asking and finding what is missing agree with a plain set."""
    model = {number for first, last in spans for number in range(first, last + 1)}
    ours = Spans(spans)
    assert {number for first, last in ours for number in range(first, last + 1)} == model
    assert [number in ours for number in range(80)] == [number in model for number in range(80)]
    gaps = ours.missing(*asked)
    assert [n for a, b in gaps for n in range(a, b + 1)] == [n for n in range(asked[0], asked[1] + 1) if n not in model]


@given(st.lists(small, max_size=30), st.integers(0, 80))
def test_spans_stay_few_and_forget_the_old(spans: list[tuple[int, int]], oldest: int) -> None:
    """Neighbours melt together, and nothing below a bound is kept."""
    ours = Spans(spans)
    pairs = list(ours)
    assert all(right[0] > left[1] + 1 for left, right in pairwise(pairs))
    ours.forget_below(oldest)
    model = {number for first, last in spans for number in range(first, last + 1) if number >= oldest}
    assert {number for first, last in ours for number in range(first, last + 1)} == model


TAGS = TagSet(
    "balance",
    [TagSpec("net", "g", "decimal"), TagSpec("count"), TagSpec("ready", "1", "bool"), TagSpec("tray", "1", "text")],
)
values = st.tuples(
    st.none() | st.decimals(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)


@given(
    st.lists(values, min_size=1, max_size=10),
    st.dictionaries(st.integers(0, 3), st.text("abc"), max_size=2),
    st.none() | st.binary(max_size=20),
    st.sampled_from([None, True, False]),
)
def test_scans_come_back_as_they_went(
    rows: list[tuple[object, ...]], faults: dict[int, str], raw: bytes | None, held: bool | None
) -> None:
    """Values keep their type (decimals too), faults, source times, raw bytes and the machine's word."""
    marks = {at: Fault(Quality.BAD, reason) for at, reason in faults.items()}
    scans = [
        Scan(TAGS, seq, 10**18 + seq, seq, tuple(row), marks, {0: 10**18 - 5}, raw, held)  # type: ignore[arg-type]
        for seq, row in enumerate(rows)
    ]
    found = decode(encode(scans, lambda _: 7), {7: TAGS}.__getitem__)
    assert found == scans
    assert [[type(v) for v in s.values] for s in found] == [[type(v) for v in s.values] for s in scans]


def test_a_value_that_cannot_be_stored_becomes_bad_and_costs_no_other() -> None:
    """An integer beyond 64 bits is stored as a bad value with its reason; the rest is untouched."""
    scans = [Scan(TAGS, 1, 2, 3, (Decimal("1.0"), 2**70, True, "t")), Scan(TAGS, 2, 3, 4, (Decimal(2), 5, True, "t"))]
    found = decode(encode(scans, lambda _: 1), lambda _: TAGS)
    assert found[0].values == (Decimal("1.0"), None, True, "t")
    assert found[0].faults[1].quality is Quality.BAD
    assert found[1].values == scans[1].values


@given(st.binary(max_size=60))
def test_bytes_that_are_not_ours_are_an_error(blob: bytes) -> None:
    """A damaged batch raises ValueError and nothing else."""
    with pytest.raises(ValueError, match="telemetry batch"):
        decode(blob, lambda _: TAGS)


def plot(points: list[tuple[int, object]], max_points: int) -> list[tuple[int, object]]:
    tags = TagSet("d", [TagSpec("t")])
    sampler = Downsampler("d/t", 0, 1000, max_points)
    sampler.take([Scan(tags, at, at, at, (value,)) for at, value in points])  # type: ignore[arg-type]
    return list(sampler.result())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=1000), st.integers(2, 100))
def test_a_plot_keeps_the_extremes(numbers: list[float], max_points: int) -> None:
    """However few points are asked for, the smallest and the largest value are among them, in order of time."""
    found = plot(list(enumerate(numbers)), max_points)
    assert {min(numbers), max(numbers)} <= {value for _, value in found}
    assert [at for at, _ in found] == sorted({at for at, _ in found})
    assert len(found) <= max_points + 4


def test_a_plot_shows_where_a_value_was_bad() -> None:
    """A None stands between the good points, once for a stretch: no line is drawn over it."""
    found = plot([(1, 1.0), (2, None), (3, None), (4, 2.0)], 10)
    assert [value for _, value in found] == [1.0, None, 2.0]


def test_a_plot_takes_only_its_own_tag() -> None:
    """Another device's tag of the same name is not drawn."""
    other = TagSet("e", [TagSpec("t")])
    sampler = Downsampler("d/t", 0, 10, 10)
    sampler.take([Scan(other, 1, 1, 1, (5.0,))])
    assert sampler.result() == []
