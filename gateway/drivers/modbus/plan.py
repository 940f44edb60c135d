"""Which registers to read together: tags in, blocks out.  Pure.

A request costs as much as so many registers (`Limits.request_cost`): reading a hole is cheaper than asking twice as
long as it is shorter than that.  Blocks never cover a forbidden address nor more than `most`.  The plan is the
cheapest one there is, found by dynamic programming over the tags in address order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec


class Span(msgspec.Struct, frozen=True):
    """The addresses of one tag: `count` from `start`, in registers or bits."""

    start: int
    count: int = 1

    @property
    def end(self) -> int:
        return self.start + self.count


class Limits(msgspec.Struct, frozen=True):
    """What one request may be."""

    most: int
    """Registers or bits in one request."""
    request_cost: float
    """What a request costs beside its data, in registers or bits."""
    forbidden: tuple[Span, ...] = ()


class Block(msgspec.Struct, frozen=True):
    """One request: `count` addresses from `start`, and the positions of the spans it brings."""

    start: int
    count: int
    members: tuple[int, ...]


class _Group(msgspec.Struct, frozen=True):
    """Spans of which the first contains all others: the atoms of a plan."""

    start: int
    end: int
    members: tuple[int, ...]


def plan(spans: Sequence[Span], limits: Limits) -> tuple[Block, ...]:
    """The cheapest blocks that read each span once.  ValueError names the span that cannot be read at all."""
    for span in spans:
        _readable(span, limits)
    groups = _groups(spans)
    walls = sorted(limits.forbidden, key=lambda wall: wall.start)
    best: list[tuple[float, int]] = [(0.0, 0)]
    for last in range(len(groups)):
        best.append(min(_choices(groups, last, best, limits, walls)))
    blocks: list[Block] = []
    stop = len(groups)
    while stop:
        first = best[stop][1]
        blocks.append(_block(groups[first:stop]))
        stop = first
    return tuple(reversed(blocks))


def cost(blocks: Iterable[Block], limits: Limits) -> float:
    """What a plan costs, in registers."""
    return sum(limits.request_cost + block.count for block in blocks)


def split(block: Block, spans: Sequence[Span]) -> tuple[Block, ...]:
    """A refused block in smaller parts: first without its holes, then in halves.  () where it is one atom."""
    groups = [
        _Group(group.start, group.end, tuple(block.members[member] for member in group.members))
        for group in _groups([spans[member] for member in block.members])
    ]
    if len(groups) < 2:
        return ()
    runs: list[list[_Group]] = [[groups[0]]]
    for group in groups[1:]:
        if group.start > runs[-1][-1].end:
            runs.append([group])
        else:
            runs[-1].append(group)
    if len(runs) == 1:
        half = len(groups) // 2
        runs = [groups[:half], groups[half:]]
    return tuple(_block(run) for run in runs)


def _readable(span: Span, limits: Limits) -> None:
    if span.count > limits.most:
        raise ValueError(f"{span.count} registers from {span.start} are more than one request may read: {limits.most}")
    for wall in limits.forbidden:
        if span.start < wall.end and wall.start < span.end:
            raise ValueError(f"{_text(span)} lies in the forbidden addresses {_text(wall)}")


def _text(span: Span) -> str:
    return str(span.start) if span.count == 1 else f"{span.start}-{span.end - 1}"


def _groups(spans: Sequence[Span]) -> list[_Group]:
    """Spans in address order, each swallowed by an earlier one that contains it."""
    groups: list[_Group] = []
    for position in sorted(range(len(spans)), key=lambda at: (spans[at].start, -spans[at].end)):
        span = spans[position]
        if groups and span.end <= groups[-1].end:
            groups[-1] = _Group(groups[-1].start, groups[-1].end, (*groups[-1].members, position))
        else:
            groups.append(_Group(span.start, span.end, (position,)))
    return groups


def _choices(
    groups: Sequence[_Group], last: int, best: Sequence[tuple[float, int]], limits: Limits, walls: Sequence[Span]
) -> Iterable[tuple[float, int]]:
    """(cost of everything up to `last`, first group of its block) for each block that may end there."""
    end = groups[last].end
    for first in range(last, -1, -1):
        start = groups[first].start
        if end - start > limits.most or any(start < wall.end and wall.start < end for wall in walls):
            return  # longer blocks only get worse
        yield best[first][0] + limits.request_cost + end - start, first


def _block(groups: Sequence[_Group]) -> Block:
    start, end = groups[0].start, groups[-1].end
    members: Final = tuple(member for group in groups for member in group.members)
    return Block(start, end - start, members)
