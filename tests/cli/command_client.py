"""`stillsafe` for tests: has the command server run its command, and ends as the command ends.

A command that the server does not take runs as the installed program does, in this process.
"""

import json
import os
import signal
import socket
import sys

FORWARDED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Send words, folder, environment and the three streams; forward signals until the command has ended."""
    mask = os.umask(0)
    os.umask(mask)
    place = os.path.dirname(os.path.abspath(__file__))
    command = {"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ), "mask": mask}
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(f"{place}/socket")
    socket.send_fds(connection, [json.dumps(command).encode()], [0, 1, 2])
    pid = int(connection.recv(100))
    if pid:
        for number in FORWARDED_SIGNALS:
            signal.signal(number, lambda this, _: os.kill(pid, this))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS)
    if not pid:
        program = f"{os.path.dirname(sys.executable)}/stillsafe"
        os.execv(program, ["stillsafe", *sys.argv[1:]])  # noqa: S606 - the project's own program
    exit_code = int(connection.recv(100))
    if exit_code < 0:
        signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    sys.exit(exit_code)


main()
