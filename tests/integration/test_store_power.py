"""Power cuts under the real writer code: on a disk that forgets, tears and then comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_kit import power_cuts


@pytest.mark.timeout(300)
async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Through 300 cuts at random writes no acknowledged record and no latch is lost, and no file is refused."""
    count = await power_cuts(tmp_path, 300, seed=1)
    assert (count["lost"], count["refused"]) == (0, 0), count
    assert count["cuts"] >= 300
    assert count["acked"] > 1000


async def test_the_same_cuts_do_lose_records_with_synchronous_normal(tmp_path: Path) -> None:
    """The negative control: without a sync for each commit the campaign finds losses, so it can find them."""
    count = await power_cuts(tmp_path, 60, seed=1, synchronous="normal")
    assert count["lost"] > 0
    assert count["refused"] > 0, "the checkpoint kept beside the file shows some of the losses by itself"


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_ten_thousand_power_cuts(tmp_path: Path) -> None:
    """The same, ten thousand times (BARS R2)."""
    count = await power_cuts(tmp_path, 10_000, seed=2)
    print("power cuts:", count)  # noqa: T201
    assert (count["lost"], count["refused"]) == (0, 0)
