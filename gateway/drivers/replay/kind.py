"""A file as a device: CSV or Parquet with timestamps, at the pace of its own clock, faster, or as fast as can be.

    devices:
      yesterday:
        driver: replay
        file: telemetry.csv
        timezone: America/Denver         # needed where the file's times name no zone
        speed: 10                        # max: as fast as the line takes them
        tags:
          temperature: {column: "Oil T [C]", unit: Cel}
          weight: {unit: g, kind: decimal}

Each row is a scan whose values carry the file's own time as their source time.  Rows whose time goes backward, comes
twice or cannot be read are skipped: the tag `skipped` counts them, and the log tells the first of each kind.  An empty
cell is bad.  Between two rows the last one stands; longer than `gap`, everything is bad.  At its end the file begins
again with `loop: true`; else everything is bad, with the reason.  Parquet needs the extra `linegate[parquet]`.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from gateway.drivers.base import DriverConfig
from gateway.model import TagSpec
from gateway.recipe import Frozen
from gateway.units import Duration, known

if TYPE_CHECKING:
    from gateway.drivers.replay.device import Replay
    from gateway.drivers.replay.rows import Reader

SKIPPED: Final = "skipped"
"""The tag that counts rows left out."""
_TIMES: Final = ("iso", "s", "ms", "us", "ns")


class ReplayTag(Frozen):
    """A column of the file."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    column: str | None = None
    """Its header; the tag's own name if not given."""
    unit: str = "1"
    kind: Literal["number", "decimal", "bool", "text"] = "number"

    @model_validator(mode="after")
    def _known_unit(self) -> ReplayTag:
        known(self.unit)
        return self


class ReplayConfig(DriverConfig):
    """A file that is played back."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["replay"] = "replay"
    file: Path
    """CSV or Parquet; relative to the configuration's own folder."""
    format: Literal["csv", "parquet"] | None = None
    """By the file's ending where nothing is said: .parquet and .pq are Parquet."""
    time: str = "time"
    """Header of the column with the times."""
    time_format: str = "iso"
    """iso; s, ms, us or ns since 1970; or a pattern like %d.%m.%Y %H:%M:%S."""
    timezone: str | None = None
    """Whose clock times without a zone were written by: Europe/Berlin."""
    speed: float | Literal["max"] = 1.0
    """How many times faster than the file's own clock."""
    loop: bool = False
    """Begin again at the end."""
    gap_s: Duration | None = Field(None, alias="gap", gt=0)
    """Rows further apart (by the file's clock) leave a gap: bad from then on, until the next row."""
    delimiter: str = Field(",", min_length=1, max_length=1)
    decimal_comma: bool = False
    """Numbers are written 1,5."""
    map_: dict[str, ReplayTag] = Field(alias="tags", min_length=1)

    @field_validator("time_format")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text not in _TIMES and "%" not in text:
            raise ValueError(f"{text!r}: write {', '.join(_TIMES)} or a pattern like %Y-%m-%d %H:%M:%S")
        return text

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None:
            from zoneinfo import ZoneInfo  # noqa: PLC0415  # only a line that replays files needs it

            try:
                ZoneInfo(name)
            except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
                raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin or UTC") from None
            except KeyError:
                raise ValueError(f"there is no time zone {name!r}; write one like Europe/Berlin or UTC") from None
        return name

    @field_validator("speed")
    @classmethod
    def _forward(cls, speed: float | str) -> float | str:
        if isinstance(speed, float) and not 0 < speed <= 1e6:  # faster is max
            raise ValueError(
                f"speed {speed:g}: write a number above 0 (1 is real time, 10 is ten times faster), or max"
            )
        return speed

    @field_validator("map_")
    @classmethod
    def _free(cls, tags: dict[str, ReplayTag]) -> dict[str, ReplayTag]:
        if SKIPPED in tags:
            raise ValueError(f"the tag {SKIPPED!r} counts the rows left out; give yours another name and its column")
        return tags

    @property
    def subscribes(self) -> bool:
        return True

    @cached_property
    def reader(self) -> Reader:
        """How the file is read."""
        from gateway.drivers.replay.rows import Column, Reader  # noqa: PLC0415  # the same

        return Reader(
            path=self.file,
            columns=tuple(Column(tag.column or name, tag.kind) for name, tag in self.map_.items()),
            time=self.time,
            time_format=self.time_format,
            timezone=self.timezone,
            delimiter=self.delimiter,
            decimal_comma=self.decimal_comma,
            parquet=self.format == "parquet" if self.format else self.file.suffix in (".parquet", ".pq"),
        )

    def tags(self) -> tuple[TagSpec, ...]:
        columns = (TagSpec(name, tag.unit, tag.kind) for name, tag in self.map_.items())
        return (*columns, TagSpec(SKIPPED, "{count}"))

    def address(self) -> str:
        return str(self.file)

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: the file, its columns, its first time."""
        from gateway.drivers.replay.rows import look  # noqa: PLC0415  # the same

        wrong = look(self.reader)
        return [f"{self.file.name or self.file}: {wrong}"] if wrong else []

    def preload(self) -> None:
        importlib.import_module("gateway.drivers.replay.device")

    def connect(self, name: str) -> AbstractAsyncContextManager[Replay]:
        from gateway.drivers.replay.device import connect  # noqa: PLC0415  # the same

        return connect(self, name)
