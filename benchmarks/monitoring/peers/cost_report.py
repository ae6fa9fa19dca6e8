"""What the peers share: two tables in memory, one piece of work timed. Run by the interpreters of their own."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and current rows, texts as objects."""
    folder, rows = Path(sys.argv[1]), sys.argv[2]
    reference, current = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", rows))
    words = [name for name in reference if not pd.api.types.is_numeric_dtype(reference[name])]
    return reference.astype(dict.fromkeys(words, object)), current.astype(dict.fromkeys(words, object))


def words_of(table: pd.DataFrame) -> list[str]:
    """The columns of categories."""
    return [str(name) for name in table if table[name].dtype == object]


def print_cost(work: Callable[[], object]) -> None:
    """Do it once, and print what it cost as the last line."""
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": seconds, "peak_bytes": peak * 1024}))
