"""Real estimators through a whole life: the short list of `make test`. `make models` tries all of them."""

from pathlib import Path

import pytest

from tests.models.cases import all_cases, short_cases
from tests.models.catalog import ENTRIES
from tests.models.life import BOOSTER_FORMATS, Case, live
from tests.models.page import PAGE, with_table
from tests.models.tables import KINDS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", short_cases(), ids=str)
def test_a_model_is_served_degraded_and_recovered(case: Case, tmp_path: Path) -> None:
    """Its answers are the library's own; a broken feature ends in DEGRADED, and its repair in NORMAL."""
    live(case, tmp_path)


def test_the_short_list_has_every_kind_format_and_task() -> None:
    """Each kind of table, each format and each task occurs in the short list, and all of them in the long one."""
    for cases in (short_cases(), all_cases()):
        assert {case.kind for case in cases} == set(KINDS)
        assert {case.form for case in cases} == {"joblib", "skops", *BOOSTER_FORMATS}
        assert {case.entry.task for case in cases} == {"classifier", "regressor", "detector"}
    assert len(ENTRIES) >= 40
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_the_page_shows_the_catalog() -> None:
    """`docs/models.md` lists what the tests try; `python -m tests.models.page` writes it."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_table(text)
