"""Servers of parallel tests never share a port."""

import subprocess
import sys

from tests.ports import free_port

PROGRAM = "from tests.ports import free_port; print(*(free_port() for _ in range(300))); input()"


def test_no_two_processes_get_the_same_port() -> None:
    """Three processes get 300 ports each; no port appears in two of them."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as first,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as second,
    ):
        assert first.stdout is not None
        assert second.stdout is not None
        port_sets = [set(first.stdout.readline().split()), set(second.stdout.readline().split())]
        port_sets.append({str(free_port()) for _ in range(300)})
        first.communicate("\n")
        second.communicate("\n")
    assert min(len(ports) for ports in port_sets) > 200
    assert len(set.union(*port_sets)) == sum(len(ports) for ports in port_sets)
