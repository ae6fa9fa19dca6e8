"""Serves a model and has foreign clients of the Open Inference Protocol try it: `make conformance`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from time import sleep

import uvicorn

from stillsafe.core.state import State
from stillsafe.serving.app import build
from tests.ports import free_port
from tests.serving.services import fitted_pipeline, opened, save_model

SCRIPT = Path(__file__).with_name("inference_clients.py")


def main() -> int:
    """Run the clients with the Python that the command line names; their exit code."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(fitted_pipeline(), Path(folder))
        service = next(opened(Path(folder)))
        service.decide(State.NORMAL)
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(build(service.context), port=port, log_level="warning"))
        thread = Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            sleep(0.05)
        code = subprocess.run([sys.argv[1], str(SCRIPT), f"127.0.0.1:{port}"], check=False).returncode
        server.should_exit = True
        thread.join()
        service.engine.dispose()
    return code


if __name__ == "__main__":
    sys.exit(main())
