"""The worker processes of `serve --workers N`: one that ends or hangs is replaced, and one that starts has its time."""

import logging
import pickle
import socket
import time

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from stillsafe.logs import LogEvent, log_event

logger = logging.getLogger(__name__)

LONGEST_START_SECONDS = 300.0
"""A worker that has not started within this time is replaced. On a busy machine the imports alone take a minute."""
LONGEST_SILENCE_SECONDS = 30.0
"""A worker that has started and does not answer its parent for this long hangs, and is replaced."""


class Worker(Process):
    """One worker process, and the time of its last answer to its parent."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.has_started = False
        self._is_asked = False
        self._answer_seconds = time.monotonic()

    def problem(self) -> str:
        """Why the worker must be replaced, or empty. It never waits, so no other worker waits for this one."""
        if not self.process.is_alive():
            return f"it ended with exit code {self.process.exitcode}"
        self._ask()
        silence = time.monotonic() - self._answer_seconds
        if not self.has_started:
            return f"it has not started within {silence:.0f} s" if silence > LONGEST_START_SECONDS else ""
        return f"it has not answered for {silence:.0f} s" if silence > LONGEST_SILENCE_SECONDS else ""

    def _ask(self) -> None:
        """Read the answers that have come, and send the next ping. A worker without its imports yet gives none."""
        try:
            while self.parent_conn.poll(0):
                # The answer is whether it serves, or in older versions of uvicorn a text.
                is_serving = self.parent_conn.recv() is not False
                self._is_asked = False
                if is_serving:
                    self.has_started, self._answer_seconds = True, time.monotonic()
            if not self._is_asked:
                self.parent_conn.send(b"ping")
                self._is_asked = True
        except (OSError, EOFError, pickle.UnpicklingError):
            return  # its process is about to end


class Workers(Multiprocess):
    """Starts the workers, and replaces them, until a signal ends the service.

    Attributes:
        start_failed: whether it ended because a worker could not start.
    """

    processes: list[Worker]  # type: ignore[assignment] # of its own class
    start_failed = False

    def init_processes(self) -> None:
        """Start all workers."""
        self.processes.extend(self._new_worker() for _ in range(self.processes_num))

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have ended or hang, and log why."""
        for index, worker in enumerate(self.processes):
            problem = worker.problem()
            if not problem or self.should_exit.is_set():
                continue
            log_event(logger, LogEvent.WORKER_REPLACED, {"process": worker.pid, "reason": problem})
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                # Its replacement would fail in the same way.
                self.start_failed = True
                self.should_exit.set()
                return
            self.processes[index] = self._new_worker()

    def restart_all(self) -> None:
        """Replace each worker by a new one, which serves before the old one ends."""
        for index, old_worker in enumerate(self.processes):
            worker = self._new_worker()
            while not self.should_exit.wait(0.1) and not (problem := worker.problem()) and not worker.has_started:
                pass
            if not worker.has_started:
                log_event(logger, LogEvent.WORKER_REPLACED, {"process": worker.pid, "reason": problem or None})
                worker.kill()
                worker.join()
                return
            old_worker.terminate()
            old_worker.join()
            self.processes[index] = worker

    def handle_ttin(self) -> None:
        """Start one more worker."""
        self.processes_num += 1
        self.processes.append(self._new_worker())

    def _new_worker(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker
