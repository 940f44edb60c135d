"""One balance codec under atheris: `python fuzz_balance.py NAME SECONDS CORPUS`.  Ends with the first broken promise.

Never an exception; never more than 50 ms an input; the same messages however the bytes are cut; bad is never a number.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import atheris
import yaml

with atheris.instrument_imports(include=["gateway.drivers.wire"]):
    from gateway.drivers.wire import aandd, mt_sics, ohaus, sbi

from gateway.model import Quality

CODECS = {"mt_sics": mt_sics.MtSics, "sbi": sbi.Sbi, "aandd": aandd.AandD, "ohaus": ohaus.Ohaus}
LONGEST_S = 0.05


def target(name: str, data: bytes) -> None:
    """One input, whole and in two pieces."""
    codec = CODECS[name]
    began_s = time.process_time()
    whole = codec().feed(data)
    took_s = time.process_time() - began_s
    cut = len(data) // 3
    pieces = codec()

    assert took_s < LONGEST_S, f"{took_s * 1000:.0f} ms"
    assert pieces.feed(data[:cut]) + pieces.feed(data[cut:]) == whole
    for message in whole:
        assert message.quality is not Quality.BAD or (message.value is None and message.reason)
        assert message.value is None or message.value.is_finite()


def main() -> None:
    name, seconds, corpus = sys.argv[1:4]
    golden = Path(__file__).parent.parent / "golden" / f"{name}.yaml"
    for number, case in enumerate(yaml.safe_load(golden.read_text(encoding="utf-8"))):
        (Path(corpus) / f"golden{number}").write_bytes(case["line"].encode() + b"\r\n")
    limits = [f"-max_total_time={seconds}", "-max_len=600", "-rss_limit_mb=512", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, corpus], lambda data: target(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
