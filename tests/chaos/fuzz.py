"""One parser under atheris: `python fuzz.py NAME SECONDS CORPUS`.  Ends with the first broken promise.

Never an exception that is not the parser's own word; never more than 50 ms an input; the same messages however the
bytes are cut; bad is never a number.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris
import yaml
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

with atheris.instrument_imports(include=["gateway.drivers.wire", "gateway.drivers.profiles.map_import"]):
    from gateway.drivers.wire import (
        aandd,
        gs1,
        modbus,
        mt_sics,
        ohaus,
        opcua_publish,
        reader_lines,
        registers,
        sbi,
        watson_marlow,
        zebra_hs,
    )

from gateway.model import Quality

LONGEST_S = 0.05
GOLDEN = Path(__file__).parent.parent / "golden"
BALANCES: dict[str, Callable[[], Any]] = {
    "mt_sics": mt_sics.MtSics,
    "sbi": sbi.Sbi,
    "aandd": aandd.AandD,
    "ohaus": ohaus.Ohaus,
}
REQUESTS = (
    modbus.read(1, "holding", 0, 4),
    modbus.read(1, "coil", 0, 20),
    modbus.write_register(1, 8, 5),
    modbus.write_registers(1, 8, [1, 2]),
)
FIELDS = [registers.Field(0, "f32"), registers.Field(2, "u16"), registers.Field(3, "i16")]
FORM = reader_lines.Form(separator=";", fields=("code", "grade"))


def timed(work: Callable[[], Any]) -> Any:
    began_s = time.process_time()
    made = work()
    took_s = time.process_time() - began_s
    assert took_s < LONGEST_S, f"{took_s * 1000:.0f} ms"
    return made


def pieces(data: bytes) -> tuple[bytes, bytes]:
    cut = len(data) // 3
    return data[:cut], data[cut:]


def balance(make: Callable[[], Any]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        whole = timed(lambda: make().feed(data))
        codec = make()
        first, second = pieces(data)
        assert codec.feed(first) + codec.feed(second) == whole
        for message in whole:
            assert message.quality is not Quality.BAD or (message.value is None and message.reason)
            assert message.value is None or message.value.is_finite()

    return target


def lines(make: Callable[[], Any]) -> Callable[[bytes], None]:
    """Codecs of lines: the same however they are cut."""

    def target(data: bytes) -> None:
        whole = timed(lambda: make().feed(data))
        codec = make()
        first, second = pieces(data)
        assert codec.feed(first) + codec.feed(second) == whole

    return target


def framing(make: Callable[[], Any]) -> Callable[[bytes], None]:
    """Modbus: an answer, a refusal or a broken frame; an answer that is taken decodes to finite numbers or none."""

    def target(data: bytes) -> None:
        if not data:
            return
        codec = make()
        codec.ask(REQUESTS[data[0] % len(REQUESTS)])
        for part in pieces(data[1:]):
            try:
                adu = timed(lambda part=part: codec.feed(part))
            except (modbus.Refusal, modbus.FrameError):
                return
            if adu is not None and data[0] % len(REQUESTS) == 0:
                registers.unpacker(FIELDS, 0, codec.data_at)(adu)

    return target


def publish(data: bytes) -> None:
    """OPC UA: a notice, the word that the general decoder has to read it, or that it is not a whole message."""
    try:
        notice = timed(lambda: opcua_publish.decode(data))
    except (opcua_publish.Unusual, ValueError):
        return
    assert notice is not None


def reader(data: bytes) -> None:
    """Reads: a code, no read, or a reason why the line is neither."""
    for frame in timed(lambda: reader_lines.Framer(FORM).feed(data)):
        read = timed(lambda frame=frame: reader_lines.parse(frame, FORM))
        assert read.read is not None or read.reason
        assert bool(read.code) is (read.read is True)


def element_string(data: bytes) -> None:
    try:
        timed(lambda: gs1.elements(data.decode("latin-1")))
    except gs1.Gs1Error:
        return


def notification() -> bytes:
    """A publish response of a library's own making."""
    made = ua.PublishResponse()
    changes = ua.DataChangeNotification()
    values = (ua.Variant(21.5, ua.VariantType.Double), ua.Variant("x"), ua.Variant(7, ua.VariantType.UInt16))
    changes.MonitoredItems = [
        ua.MonitoredItemNotification(ClientHandle=at, Value=ua.DataValue(values[at % 3])) for at in range(12)
    ]
    made.Parameters.NotificationMessage.NotificationData = [changes]
    return bytes(struct_to_binary(made))


def golden_lines(name: str) -> Iterator[bytes]:
    if not name:
        yield notification()
        return
    for case in yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")):
        if "line" in case:
            yield case["line"].encode() + b"\r\n"
        if "bytes" in case:
            yield case["bytes"].encode("latin-1")
        if "strings" in case:
            yield b"".join(b"\x02" + each.encode() + b"\x03\r\n" for each in case["strings"])
        if "reply" in case:
            yield b"\x00" + bytes.fromhex(case["reply"])


TARGETS: dict[str, tuple[Callable[[bytes], None], str]] = {
    **{name: (balance(make), name) for name, make in BALANCES.items()},
    "watson_marlow": (lines(watson_marlow.WatsonMarlow), "watson_marlow"),
    "zebra": (lines(zebra_hs.ZebraHs), "zebra"),
    "reader_lines": (reader, "reader_lines"),
    "gs1": (element_string, "reader_lines"),
    "modbus_tcp": (framing(modbus.TcpFraming), "modbus"),
    "modbus_rtu": (framing(modbus.RtuFraming), "modbus"),
    "opcua_publish": (publish, ""),
}
"""Parser -> what is promised of it, and the golden frames it begins with."""


def main() -> None:
    name, seconds, corpus = sys.argv[1:4]
    target, golden = TARGETS[name]
    for number, seed in enumerate(golden_lines(golden)):
        (Path(corpus) / f"golden{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=600", "-rss_limit_mb=512", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, corpus], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
