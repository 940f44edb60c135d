"""What a configuration says of an OPC UA device: tags, halt, heartbeat, how it is read.  Knows no connection.

Apart from opcua.py, which connects: an open device needs the settings, and the settings need no open device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from gateway.drivers.base import DriverConfig, withheld_s
from gateway.drivers.opcua.nodes import NodeRef, parse
from gateway.drivers.opcua.packml import Action, Dialect
from gateway.drivers.opcua.protection import Security
from gateway.drivers.opcua.scale import GRAMS, Which
from gateway.drivers.profiles.profile import load_profile, with_profile
from gateway.drivers.ranges import expand
from gateway.model import TagSpec
from gateway.recipe import Frozen
from gateway.units import Duration

STATE: Final = "state"
"""The tag that carries the PackML state number."""
HANDSHAKE: Final = ("CntrlCmd", "CmdChangeRequest")
"""PackTags below `Command`: what is asked for, and that it is asked for (ISA-TR88.00.02)."""
Scalar = bool | int | float | str


def _deadband(given: object) -> object:
    """`0.5` in the server's unit, `2%` of the range.  ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", str(given))
    if isinstance(given, bool) or match is None:
        raise ValueError(f"{given!r} is no deadband; write 0.5 (in the server's unit) or 2% (of the node's range)")
    if match[2] and float(match[1]) > _PERCENT:
        raise ValueError(f"{given!r}: a deadband of more than the whole range never sends anything")
    return f"{match[1]}{match[2]}"


_PERCENT: Final = 100.0
Deadband = Annotated[str, BeforeValidator(_deadband, json_schema_input_type=float | str)]
"""As written; `deadband_of` reads it."""


def deadband_of(text: str) -> tuple[float, bool]:
    """The figure, and whether it is percent of the node's range."""
    return float(text.rstrip("%")), text.endswith("%")


class NodeTag(Frozen):
    """Where one tag comes from."""

    node: str
    path: str = ""
    """Browse path below `node`: `/packml:Status/packml:UnitModeCurrent`."""
    compose: Literal["packml-state"] | Which | None = None
    """packml-state: `node` is a PackML companion object; the value is its state number, made of its three state
    machines.  scale-net, -gross, -tare, -status: `node` is a weight of an OPC 40200 scale."""
    unit: str = "1"
    kind: Literal["number", "decimal", "bool", "text"] = "number"
    deadband: Deadband | None = None
    """Subscribed: smaller changes are not sent.  In the server's unit (`0.5`), or of the node's EURange (`2%`)."""
    queue: int | None = Field(None, ge=1)
    """Default: the device's."""
    sampling_s: Duration | None = Field(None, alias="sampling", ge=0)
    """Default: the device's; `0s`: as fast as the server can."""

    @model_validator(mode="after")
    def _composed_of_what_fits(self) -> NodeTag:
        if self.compose is None:
            return self
        if self.deadband is not None:
            raise ValueError("no deadband for a value that is composed of several nodes")
        if self.compose in {"scale-net", "scale-gross", "scale-tare"}:
            if self.kind not in {"number", "decimal"}:
                raise ValueError(f"a weight is a decimal or a number, not {self.kind}")
            if self.unit not in GRAMS:
                raise ValueError(f"a weight needs a unit of mass ({', '.join(GRAMS)}), not {self.unit!r}")
        if self.compose == "scale-status" and self.kind != "text":
            raise ValueError("scale-status needs `kind: text`")
        return self


class NodeWrite(Frozen):
    """One value for one node."""

    node: str
    value: Scalar
    type: str | None = None
    """OPC UA type (`UInt16`), where the server does not say."""


class Confirm(Frozen):
    """The tag that says whether the machine stands still, and the values that mean it does."""

    tag: str
    among: tuple[Scalar, ...] = Field(alias="in", min_length=1)


class Halt(Frozen):
    """How the machine is made to stand still.  PackML by dialect and action, or one write with its confirmation."""

    dialect: Dialect | None = None
    """Default: the profile's."""
    action: Action | Literal["withhold"] = "hold"
    """withhold: nothing is asked; our heartbeat stops, and the controller's own watch over it holds the machine."""
    prefix: str | None = None
    root: str | None = None
    write: NodeWrite | None = None
    confirm: Confirm | None = None
    within_s: Duration | None = Field(None, alias="within", gt=0)
    """withhold: from our last beat until the controller has the machine standing, at worst."""
    release: NodeWrite | None = None
    """Takes our own output back when the latch is released; must never start the machine."""
    confirm_same: Literal["accepted"] | None = None
    """A machine that says of itself nothing but what was written to it: proves the write, not the standstill."""

    @model_validator(mode="after")
    def _one_way(self) -> Halt:
        withheld = self.action == "withhold"
        if withheld != (self.within_s is not None):
            raise ValueError(
                "action: withhold and within belong together: how long after our last beat the machine stands at worst"
            )
        if withheld and self.write is not None:
            raise ValueError("action withhold writes nothing: leave out write and release")
        if not withheld and (self.write is None) != (self.confirm is None):
            raise ValueError("write and confirm belong together: a write alone proves nothing")
        if self.confirm is not None and self.dialect is not None:
            raise ValueError("give either a PackML dialect or a confirm of its own, not both")
        if self.release is not None and self.write is None:
            raise ValueError("release belongs to write; PackML needs none")
        return self


class Heartbeat(Frozen):
    """Where the gateway's heartbeat is written; `read` names the tag that carries the controller's own."""

    write: str
    read: str | None = None


class OpcUaSettings(DriverConfig):
    """An OPC UA server as a device."""

    halts: ClassVar[bool] = True

    driver: Literal["opcua"] = "opcua"
    url: str
    namespace: dict[str, str] = Field(default_factory=dict)
    """Alias -> namespace URI."""
    profile: str | None = None
    dialect: Dialect | None = None
    """Set by the PackML profiles."""
    prefix: str | None = None
    """PackTags: what stands before `.Status`, as `alias:Filler`."""
    root: str | None = None
    """Companion model: the PackML object."""
    nodes: dict[str, NodeTag] = Field(default_factory=dict, alias="tags")
    mode: Literal["subscribe", "poll"] = "subscribe"
    publishing_s: Duration | None = Field(None, alias="publishing", gt=0)
    """Server's publishing interval; default: the period."""
    sampling_s: Duration | None = Field(None, alias="sampling", gt=0)
    """Server's sampling interval; default: the publishing interval."""
    queue: int = Field(10, ge=1)
    """Values the server keeps per tag between two publishings: short states are not lost."""
    sparse: bool = False
    """Subscribed: a scan carries to the sinks only what changed, and once a minute everything."""
    timestamps: Literal["source", "both"] = "source"
    """both: the server's own time stamps are kept beside those of the source."""
    halt: Halt | None = None
    heartbeat: Heartbeat | None = None
    identification: str | None = None
    """Object with the DI nameplate (Manufacturer, Model, SerialNumber); default: `root`."""
    security: Security

    @model_validator(mode="before")
    @classmethod
    def _laid_over_profile(cls, given: Any) -> Any:
        return with_profile(given, "opcua")

    @field_validator("nodes", mode="before")
    @classmethod
    def _many(cls, given: Any) -> Any:
        return expand(given)

    @field_validator("profile")
    @classmethod
    def _is_a_profile(cls, name: str | None) -> str | None:
        if name is not None:
            load_profile(name, "opcua")
        return name

    @field_validator("url")
    @classmethod
    def _is_an_endpoint(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            complete = parts.scheme == "opc.tcp" and parts.hostname and parts.port is not None and url.isprintable()
        except ValueError:  # a port beyond 65535, half an IPv6 address
            complete = False
        if not complete:
            raise ValueError(f"{url!r} is no endpoint; write opc.tcp://host:port")
        if "@" in parts.netloc:
            raise ValueError("no user and password in the url; write them under security")
        return url

    @model_validator(mode="before")
    @classmethod
    def _beats_by_default(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("heartbeat") and not {"beat", "beat_s"} & given.keys():
            return {**given, "beat": "1s"}
        return given

    @model_validator(mode="after")
    def _names_fit(self) -> OpcUaSettings:
        if not self.nodes:
            raise ValueError("has no tags; add some under `tags:`, or name a profile")
        for name in self.nodes:
            self.tag_ref(name)
        if self.heartbeat is None and self.beat_s is not None:
            raise ValueError("beat needs `heartbeat: {write: NODE}`")
        self._check_heartbeat()
        self._check_halt()
        return self

    def _check_heartbeat(self) -> None:
        if self.heartbeat is None:
            return
        self.ref(self.heartbeat.write)
        if self.heartbeat.read is not None:
            self._is_tag(self.heartbeat.read, "heartbeat.read")

    def _check_halt(self) -> None:
        halt = self.halt
        if halt is None:
            return
        if halt.action == "withhold" and self.heartbeat is None:
            raise ValueError("halt by withhold needs a heartbeat to withhold: heartbeat: {write: NODE}")
        if halt.confirm is not None:
            self._is_tag(halt.confirm.tag, "halt.confirm.tag")
        else:
            self.halt_place()
        self._check_writes(halt)
        if self.heartbeat is not None and self.ref(self.heartbeat.write) in self._halt_nodes(halt):
            raise ValueError(f"heartbeat and halt both write {self.heartbeat.write}: our count would be a command")

    def _check_writes(self, halt: Halt) -> None:
        """A plain write: proved by another node than itself, and taken back where it was put."""
        write, release = halt.write, halt.release
        if write is None or halt.confirm is None:
            return
        for each in (write, *filter(None, (release,))):
            if (name := str(self.ref(each.node)).rpartition(".")[2].rpartition("/")[2]) in HANDSHAKE:
                raise ValueError(f"{name} is PackML's: one write is no handshake, and may start; say dialect: tags")
        if self.ref(write.node) == self.tag_ref(halt.confirm.tag) and halt.confirm_same != "accepted":
            raise ValueError(
                f"confirm reads {write.node}, the very one that is written: that proves the write, not the "
                "standstill; confirm by another node, or accept it with confirm_same: accepted"
            )
        if release is not None and self.ref(release.node) != self.ref(write.node):
            raise ValueError(f"release takes back what write put into {write.node}; {release.node} is another node")
        if release is not None and release.value == write.value:
            raise ValueError(f"release writes {release.value} like the halt itself: that takes nothing back")

    def _halt_nodes(self, halt: Halt) -> set[NodeRef]:
        """What a halt may write, as far as configuration names it."""
        if halt.write is not None:
            return {self.ref(halt.write.node)}
        if halt.action == "withhold" or halt.confirm is not None:
            return set()
        dialect, place = self.halt_place()
        return {self.ref(f"{place}.Command.{name}") for name in HANDSHAKE} if dialect == "tags" else set()

    def _is_tag(self, name: str, where: str) -> None:
        if name not in self.nodes:
            raise ValueError(f"{where}: {name!r} is none of the tags ({', '.join(self.nodes)})")

    # -- node names -------------------------------------------------------------------------------

    def ref(self, node: str, path: str = "") -> NodeRef:
        """A node of the configuration, with {prefix} and {root} filled in.  ValueError says what is wrong."""
        for key, value in (("prefix", self.prefix), ("root", self.root)):
            if f"{{{key}}}" in node:
                if value is None:
                    raise ValueError(f"the profile needs `{key}:`")
                node = node.replace(f"{{{key}}}", self.with_alias(value))
        return parse(node, path, self.namespace)

    def with_alias(self, start: str) -> str:
        """`Filler` alone is in the one namespace there is."""
        if ":" not in start and "=" not in start and "/" not in start and len(self.namespace) == 1:
            return f"{next(iter(self.namespace))}:{start}"
        return start

    def tag_ref(self, name: str) -> NodeRef:
        tag = self.nodes[name]
        try:
            return self.ref(tag.node, tag.path)
        except ValueError as exc:
            raise ValueError(f"tags.{name}: {exc}") from None

    def halt_place(self) -> tuple[Dialect, str]:
        """The PackML dialect to halt by, and the prefix or root it needs.  ValueError if one is missing."""
        assert self.halt is not None
        dialect = self.halt.dialect or self.dialect
        if dialect is None:
            raise ValueError("halt: say `dialect: tags` or `dialect: companion`, or give write and confirm")
        key = "prefix" if dialect == "tags" else "root"
        place = getattr(self.halt, key) or getattr(self, key)
        if place is None:
            raise ValueError(f"halt: dialect {dialect} needs `{key}:`")
        place = self.with_alias(place)
        self.ref(place)
        return dialect, place

    # -- the contract -------------------------------------------------------------------------------

    @property
    def subscribes(self) -> bool:
        return self.mode == "subscribe"

    def haltable(self) -> bool:
        return self.halt is not None

    @property
    def stands_within_s(self) -> float:
        within_s = self.halt.within_s if self.halt is not None else None
        return self.halt_budget_s if within_s is None else withheld_s(within_s, self.halt_budget_s)

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TagSpec(name, tag.unit, tag.kind) for name, tag in self.nodes.items())

    def address(self) -> str:
        return self.url

    def waivers(self) -> list[str]:
        """What was given up on purpose, and why: shown at every start."""
        weak = self.security.weakness()
        return [f"{weak}: {self.security.waiver}"] if weak else []

    def preflight(self) -> list[str]:
        """What is missing on this machine now, or soon will be no good."""
        if self.security.mode == "None":
            return []
        own = () if self.security.pki is not None else self.security.own
        return [*(f"{file} is not there" for file in own if not file.exists()), *self.notices()]

    def notices(self) -> list[str]:
        """What a person must see to soon: certificates that end, ours and the one the server showed last."""
        from gateway.drivers.opcua.security import ending, shown_by  # noqa: PLC0415  # cryptography, only if used

        security = self.security
        if security.mode == "None":
            return []
        files = [(security.own[0], "our")]
        if security.server_certificate is not None:
            files.append((security.server_certificate, "the server's"))
        elif security.trusted is not None:
            files.append((shown_by(security.trusted, self.url), "the server's"))
        said = [ending(file, whose, security.expiry_notice_s) for file, whose in files]
        return [text for text in said if text]
