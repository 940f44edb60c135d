"""A Modbus server by libmodbus (C, written by others), through ctypes, in a process of its own.

    python libmodbus_peer.py tcp PORT | rtu PATH BAUDRATE UNIT

Prints `ready` once it listens.  Its memory: see `fill`.
"""

from __future__ import annotations

import ctypes
import socket
import sys

SIZE = 200


class Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1."""

    _fields_ = [
        ("nb_bits", ctypes.c_int),
        ("start_bits", ctypes.c_int),
        ("nb_input_bits", ctypes.c_int),
        ("start_input_bits", ctypes.c_int),
        ("nb_input_registers", ctypes.c_int),
        ("start_input_registers", ctypes.c_int),
        ("nb_registers", ctypes.c_int),
        ("start_registers", ctypes.c_int),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    ]


LIB = ctypes.CDLL("libmodbus.so.5")
LIB.modbus_new_tcp.restype = LIB.modbus_new_rtu.restype = ctypes.c_void_p
LIB.modbus_new_tcp.argtypes = [ctypes.c_char_p, ctypes.c_int]
LIB.modbus_new_rtu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char, ctypes.c_int, ctypes.c_int]
LIB.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
LIB.modbus_set_socket.argtypes = [ctypes.c_void_p, ctypes.c_int]
LIB.modbus_set_slave.argtypes = [ctypes.c_void_p, ctypes.c_int]
LIB.modbus_connect.argtypes = [ctypes.c_void_p]
LIB.modbus_receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
LIB.modbus_reply.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(Mapping)]
ORDERS = ("abcd", "cdab", "badc", "dcba")
for order in ORDERS:
    setter = getattr(LIB, f"modbus_set_float_{order}")
    setter.argtypes, setter.restype = [ctypes.c_float, ctypes.POINTER(ctypes.c_uint16)], None


def fill(memory: Mapping) -> None:
    """86.4 as a float32 at 0, 2, 4 and 6, in each order once (which is which changed between versions); 864 at 10."""
    for at, order in enumerate(ORDERS):
        place = ctypes.cast(ctypes.addressof(memory.tab_registers.contents) + 4 * at, ctypes.POINTER(ctypes.c_uint16))
        getattr(LIB, f"modbus_set_float_{order}")(86.4, place)
    memory.tab_registers[10] = 864
    memory.tab_registers[11] = 65535
    memory.tab_input_registers[3] = 1234
    memory.tab_bits[5] = 0
    memory.tab_input_bits[7] = 1


def serve(context: int, memory: ctypes._Pointer[Mapping]) -> None:
    """Answer until the other side goes away."""
    query = ctypes.create_string_buffer(260)
    while (size := LIB.modbus_receive(context, query)) >= 0:
        if size:
            LIB.modbus_reply(context, query, size, memory)
            memory.contents.tab_registers[20] = 11 if memory.contents.tab_bits[5] else 6  # the machine obeys its coil


def say(text: str) -> None:
    """To whoever started us."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    memory = LIB.modbus_mapping_new(SIZE, SIZE, SIZE, SIZE)
    fill(memory.contents)
    if sys.argv[1] == "rtu":
        context = LIB.modbus_new_rtu(sys.argv[2].encode(), int(sys.argv[3]), b"N", 8, 1)
        LIB.modbus_set_slave(context, int(sys.argv[4]))
        assert LIB.modbus_connect(context) == 0
        say("ready")
        while True:
            serve(context, memory)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
    say(f"ready {listener.getsockname()[1]}")
    context = LIB.modbus_new_tcp(b"127.0.0.1", int(sys.argv[2]))
    while True:
        door, _ = listener.accept()
        LIB.modbus_set_socket(context, door.fileno())
        serve(context, memory)
        door.close()


if __name__ == "__main__":
    main()
