"""An honest client in a process of its own: `python -m tests.attack.neighbour PORT SECONDS BODY`.

Prints one line of JSON: the number of answers by status, and the seconds that each took.
"""

import json
import sys
from collections import Counter
from http.client import HTTPConnection
from time import monotonic, sleep

PAUSE_SECONDS = 0.01


def main(port: int, seconds: float, body: str) -> None:
    """Predict again and again on one connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    statuses: Counter[int] = Counter()
    durations = []
    end = monotonic() + seconds
    while monotonic() < end:
        began = monotonic()
        connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        durations.append(monotonic() - began)
        statuses[response.status] += 1
        sleep(PAUSE_SECONDS)
    connection.close()
    sys.stdout.write(json.dumps({"statuses": statuses, "durations": durations}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
