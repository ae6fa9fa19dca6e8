"""Servers that tests start side by side never meet on one port."""

import subprocess
import sys

from tests.ports import free_port

ASK = "from tests.ports import free_port; print(*(free_port() for _ in range(300))); input()"


def test_two_processes_are_never_given_the_same_port() -> None:
    """Also not after many, and also none of this process's own."""
    with (
        subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        given = [set(one.stdout.readline().split()), set(two.stdout.readline().split())]
        given.append({str(free_port()) for _ in range(300)})
        one.communicate("\n")
        two.communicate("\n")
    assert min(len(ports) for ports in given) > 200
    assert len(set.union(*given)) == sum(len(ports) for ports in given)
