"""The table of `docs/models.md`: what can be served, from the catalog that the tests try.

python -m tests.models.page
"""

import sys
from pathlib import Path

from tests.models.catalog import ENTRIES, Entry

PAGE = Path(__file__).parents[2] / "docs/models.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"
_FILES = {
    "skops": ".skops, .joblib",
    "lightgbm": ".txt, .joblib",
    "xgboost": ".json, .ubj, .joblib",
    "catboost": ".cbm, .joblib",
}


def table() -> str:
    """The rows of the table, in Markdown."""
    lines = ["| estimator | answers | file | `init` stores | missing values | categories |", "| " + "--- | " * 6]
    return "\n".join([*lines, *(_row(entry) for entry in ENTRIES)]).replace(" \n", "\n") + "\n"


def _row(entry: Entry) -> str:
    own = "by itself" if entry.takes("missing") else "with a step before it"
    stored = "skops" if entry.format == "skops" else f"its own format (`{entry.format}`)"
    files = _FILES[entry.format] if "LGBMClassifier)" not in entry.name else ".joblib"
    return f"| {entry.name} | {entry.task} | {files} | {stored} | {own} | {own} |"


def with_table(text: str) -> str:
    """A page with the present table between its marks."""
    start, _, rest = text.partition(START)
    return f"{start}{START}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
