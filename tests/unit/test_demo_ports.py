"""Ports that parts are told to listen on: nobody else comes by them in the meantime."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from gateway.demo.ports import free_port


def test_each_call_has_a_port_of_its_own_that_no_outgoing_connection_gets() -> None:
    """A hundred are a hundred, all below those that the kernel gives away."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert max(ports) < first


def test_a_port_somebody_has_is_left_out() -> None:
    """The next one in turn is taken: it is not given."""
    with socket.socket() as door:
        taken = free_port() + 1
        door.bind(("127.0.0.1", taken))
        assert free_port() != taken


def test_processes_side_by_side_do_not_get_the_same_port() -> None:
    """Two that were started in one moment, each of a line's eight ports."""
    program = "from gateway.demo.ports import free_port; print(*[free_port() for _ in range(8)])"
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ports = [each.communicate()[0].split() for each in both]
    assert len({*ports[0], *ports[1]}) == 16
