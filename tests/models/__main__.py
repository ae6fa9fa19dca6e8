"""Try every estimator with every kind of table and format, and print what cannot be served.

    python -m tests.models [WORD]

WORD limits the cases to those whose name contains it. Exit code 1 if a case fails.
"""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.models.cases import all_cases
from tests.models.life import live


def main() -> int:
    """Run the cases; 1 if one fails."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = [case for case in all_cases() if word in str(case)]
    failure_count = 0
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for case in cases:
        start, problem = time.process_time(), ""
        with tempfile.TemporaryDirectory(prefix="stillsafe-models-") as folder:
            try:
                live(case, Path(folder))
            except Exception as error:  # noqa: BLE001 - whatever a case raises, the others are tried
                problem = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        failure_count += bool(problem)
        sys.stdout.write(f"{case!s:70} {time.process_time() - start:5.1f} s  {problem or 'served'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(cases) - failure_count} of {len(cases)} cases are served.\n")
    return bool(failure_count)


if __name__ == "__main__":
    sys.exit(main())
