"""Scan in, derived readings out: what is computed from others, one virtual device after the other.

A virtual device is computed on each scan of the devices its tags look at (or of the one named in `on`), whole, so that
its tags belong to one moment.  An input that is older than three periods of its device is too old to be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.derive.base import S_NS, Derivation, DerivedConfig, Input, none, worst
from gateway.model import Fault, Json, Quality, Scan, TagSet, Value

PERIODS: Final = 3
LEAST_NS: Final = S_NS // 2
"""A timer is late beside a busy thread: three periods of a fast poll prove nothing."""


class Derived(msgspec.Struct, frozen=True):
    """One moment of a virtual device."""

    tagset: TagSet
    values: tuple[Value, ...]
    faults: Mapping[int, Fault]


class Watched(msgspec.Struct, frozen=True):
    """Where an input comes from, and how long it lasts."""

    tagset: TagSet
    position: int
    lasts_ns: int


def watched(name: str, tagsets: Mapping[str, TagSet], periods_s: Mapping[str, float]) -> Watched:
    """`reservoir/temperature`.  ValueError if there is no such tag, or it is a text."""
    device, _, tag = name.partition("/")
    tagset = tagsets.get(device)
    if tagset is None or tag not in tagset.index:
        there = ", ".join(tagset.tags) if tagset else ", ".join(sorted(tagsets))
        raise ValueError(f"there is no tag {name!r}; {'its device has' if tagset else 'devices'}: {there or 'none'}")
    if tagset.specs[tagset.index[tag]].kind == "text":
        raise ValueError(f"{name} is text: nothing can be computed from it")
    lasts_ns = max(LEAST_NS, round(PERIODS * periods_s.get(device, 1.0) * S_NS))
    return Watched(tagset, tagset.index[tag], lasts_ns)


class VirtualDevice:
    """One virtual device: its tags, and what each was last computed from."""

    def __init__(
        self, tagset: TagSet, made: Sequence[tuple[DerivedConfig, Derivation]], sources: Mapping[str, Watched]
    ) -> None:
        self.tagset = tagset
        self._made = [(dict(config.names()), derivation) for config, derivation in made]
        self._sources = dict(sources)
        self._seen = {name: Input(name, each.tagset.units[each.position]) for name, each in sources.items()}
        self._steps_ns: dict[str, int] = {}
        """Source -> time between its last two scans."""
        self._gaps: dict[str, int] = {}
        """Source -> when it was last seen before nothing came for so long that nobody knows what was."""
        self._by_tagset: dict[TagSet, list[tuple[str, int]]] = {}
        for name, each in sources.items():
            self._by_tagset.setdefault(each.tagset, []).append((name, each.position))

    def see(self, scan: Scan) -> None:
        """Newer inputs."""
        for name, position in self._by_tagset[scan.tagset]:
            old = self._seen[name]
            self._paced(name, old.mono_ns, scan.mono_ns)
            self._seen[name] = Input(name, old.unit, scan.values[position], scan.faults.get(position), scan.mono_ns)
            if (
                self._seen[name].bad() and not old.bad()
            ):  # gone again before anything is computed, it was a gap all the same
                self._gaps.setdefault(name, old.mono_ns)

    def _paced(self, name: str, before_ns: int, now_ns: int) -> None:
        """A pause longer than an input lasts, and than its own pace (a file may have a slower one): a gap."""
        if not before_ns:
            return
        step_ns, usual_ns = now_ns - before_ns, self._steps_ns.get(name)
        if usual_ns is not None and step_ns > max(self._sources[name].lasts_ns, PERIODS * usual_ns):
            self._gaps[name] = before_ns
        elif step_ns > 0:
            self._steps_ns[name] = step_ns

    def derive(self, scan: Scan) -> Derived:
        """Its tags now that this scan came."""
        self.see(scan)
        values: list[Value] = []
        faults: dict[int, Fault] = {}
        for at, (names, derivation) in enumerate(self._made):
            inputs = {name: self._seen[source] for name, source in names.items()}
            value, fault = self._one(derivation, inputs, scan.mono_ns)
            values.append(value)
            if fault is not None:
                faults[at] = fault
        self._gaps.clear()
        return Derived(self.tagset, tuple(values), faults)

    def _one(self, derivation: Derivation, inputs: Mapping[str, Input], now_ns: int) -> tuple[Value, Fault | None]:
        if self._gaps:
            for each in inputs.values():
                if each.name in self._gaps:
                    derivation.blind(self._gaps[each.name])
        why = next((why for each in inputs.values() if (why := each.bad() or self._old(each, now_ns))), "")
        if why:
            derivation.blind(now_ns)
            return None, none(why).fault
        result = derivation.compute(inputs, now_ns)
        if result.value is None:
            return None, result.fault or Fault(Quality.BAD, "no value")
        return result.value, result.fault or worst(list(inputs.values()))

    def _old(self, each: Input, now_ns: int) -> str:
        age_ns = now_ns - each.mono_ns
        if age_ns <= self._sources[each.name].lasts_ns:
            return ""
        return f"{each.name}: nothing new for {age_ns / S_NS:.3g} s"

    def reads(self, tagset: TagSet) -> bool:
        return tagset in self._by_tagset

    def begin(self, batch: str | None) -> None:
        for _, derivation in self._made:
            derivation.begin(batch)

    def dump(self) -> dict[str, Json]:
        """State by tag, of those that have any."""
        states = {name: made.dump() for name, (_, made) in zip(self.tagset.tags, self._made, strict=True)}
        return {name: state for name, state in states.items() if state is not None}

    def load(self, states: Mapping[str, Json]) -> None:
        for name, (_, made) in zip(self.tagset.tags, self._made, strict=True):
            made.load(states.get(name))


class Deriver:
    """All virtual devices of the line, in the order of the file: a later one may look at an earlier one."""

    def __init__(self, devices: Mapping[str, tuple[VirtualDevice, str | None]], tagsets: Iterable[TagSet]) -> None:
        self.devices = {name: device for name, (device, _) in devices.items()}
        self._plans: dict[TagSet, tuple[VirtualDevice, ...]] = {}
        self._feeding: dict[TagSet, tuple[VirtualDevice, ...]] = {}
        for tagset in tagsets:
            reading = [(each, on in (None, tagset.device)) for each, on in devices.values() if each.reads(tagset)]
            if reading:
                self._plans[tagset] = tuple(each for each, computes in reading if computes)
                self._feeding[tagset] = tuple(each for each, computes in reading if not computes)

    def derive(self, scan: Scan) -> Sequence[Derived]:
        """What this scan makes; an empty tuple for most."""
        for each in self._feeding.get(scan.tagset, ()):
            each.see(scan)
        plan = self._plans.get(scan.tagset)
        return () if plan is None else [each.derive(scan) for each in plan]

    def begin(self, batch: str | None) -> None:
        """From now on this batch is made, or none."""
        for device in self.devices.values():
            device.begin(batch)

    def dump(self) -> dict[str, Json]:
        states = {name: device.dump() for name, device in self.devices.items()}
        return {name: state for name, state in states.items() if state}

    def load(self, states: Mapping[str, Json]) -> None:
        for name, device in self.devices.items():
            device.load(states.get(name) or {})
