"""The block planner: every tag once, never a forbidden address, never over the cap, and the cheapest there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drivers.modbus.plan import Block, Limits, Span, cost, plan, split


@st.composite
def problems(draw: st.DrawFn, most_spans: int = 14) -> tuple[list[Span], Limits]:
    """Spans (some the same, some inside others) and limits that leave each of them readable."""
    limits = Limits(
        most=draw(st.integers(4, 40)),
        request_cost=draw(st.integers(0, 30)),
        forbidden=tuple(draw(st.lists(st.builds(Span, st.integers(0, 150), st.integers(1, 6)), max_size=4))),
    )
    spans = draw(st.lists(st.builds(Span, st.integers(0, 150), st.integers(1, 4)), min_size=1, max_size=most_spans))
    walls = {at for wall in limits.forbidden for at in range(wall.start, wall.end)}
    return [span for span in spans if not walls & set(range(span.start, span.end))], limits


@given(problems(40))
def test_each_span_is_read_once_within_the_limits(problem: tuple[list[Span], Limits]) -> None:
    """Each tag is in exactly one block that covers it; blocks are short enough and touch nothing forbidden."""
    spans, limits = problem
    blocks = plan(spans, limits)

    assert sorted(member for block in blocks for member in block.members) == list(range(len(spans)))
    walls = {at for wall in limits.forbidden for at in range(wall.start, wall.end)}
    for block in blocks:
        assert block.count <= limits.most
        assert not walls & set(range(block.start, block.start + block.count))
        for member in block.members:
            assert block.start <= spans[member].start
            assert spans[member].end <= block.start + block.count


@given(problems(40))
def test_not_worse_than_greedy_neighbours(problem: tuple[list[Span], Limits]) -> None:
    """Joining neighbours as long as it pays and fits is never cheaper."""
    spans, limits = problem
    walls = {at for wall in limits.forbidden for at in range(wall.start, wall.end)}
    greedy: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if greedy:
            start, end = greedy[-1]
            joined = (start, max(end, span.end))
            fits = joined[1] - start <= limits.most and not walls & set(range(*joined))
            if fits and joined[1] - end <= limits.request_cost + span.count:
                greedy[-1] = joined
                continue
        greedy.append((span.start, span.end))

    assert cost(plan(spans, limits), limits) <= sum(limits.request_cost + end - start for start, end in greedy)


def partitions(items: list[int]) -> itertools.chain[list[list[int]]]:
    """All ways to put items into groups."""
    if not items:
        return itertools.chain([[]])
    first, rest = items[0], items[1:]
    return itertools.chain.from_iterable(
        [[[first], *groups], *[[*groups[:at], [first, *groups[at]], *groups[at + 1 :]] for at in range(len(groups))]]
        for groups in partitions(rest)
    )


@settings(max_examples=60, deadline=None)
@given(problems(6))
def test_nothing_is_cheaper(problem: tuple[list[Span], Limits]) -> None:
    """Against all partitions of a few tags, neighbours or not, the plan is the cheapest that is allowed."""
    spans, limits = problem
    walls = {at for wall in limits.forbidden for at in range(wall.start, wall.end)}

    def price(groups: list[list[int]]) -> float:
        total = 0.0
        for group in groups:
            start, end = min(spans[at].start for at in group), max(spans[at].end for at in group)
            if end - start > limits.most or walls & set(range(start, end)):
                return float("inf")
            total += limits.request_cost + end - start
        return total

    best = min(price(groups) for groups in partitions(list(range(len(spans)))))

    assert cost(plan(spans, limits), limits) == best


def test_holes_are_read_up_to_their_cost() -> None:
    """A hole as long as a request is cheap is read; a longer one is not."""
    assert len(plan([Span(0), Span(11)], Limits(125, 11))) == 1
    assert len(plan([Span(0), Span(11)], Limits(125, 9))) == 2


@pytest.mark.parametrize(
    ("spans", "limits", "words"),
    [
        ([Span(0, 4)], Limits(3, 1), "4 registers from 0 are more"),
        ([Span(5, 2)], Limits(9, 1, (Span(6),)), "5-6 lies in the forbidden addresses 6"),
    ],
)
def test_unreadable_spans_are_named(spans: list[Span], limits: Limits, words: str) -> None:
    """A tag that can never be read is refused when the plan is made."""
    with pytest.raises(ValueError, match=words):
        plan(spans, limits)


@given(problems(30))
def test_splitting_ends_at_the_culprit(problem: tuple[list[Span], Limits]) -> None:
    """Split again and again, a block becomes atoms; no tag is lost on the way and every part is smaller."""
    spans, limits = problem
    for whole in plan(spans, limits):
        todo, atoms = [whole], []
        while todo:
            block = todo.pop()
            parts = split(block, spans)
            assert not parts or sorted(m for part in parts for m in part.members) == sorted(block.members)
            assert all(len(part.members) < len(block.members) for part in parts)
            todo += parts
            atoms += [] if parts else [block]
        assert sorted(member for atom in atoms for member in atom.members) == sorted(whole.members)


def test_holes_go_first() -> None:
    """A refused block is first read without its holes: they are the likeliest culprits."""
    spans = [Span(0), Span(1), Span(5), Span(6)]
    (block,) = plan(spans, Limits(125, 50))

    assert split(block, spans) == (Block(0, 2, (0, 1)), Block(5, 2, (2, 3)))
