"""The rows of a window, counted: all of them, or without those of some clients."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from stillsafe.core.window import Tally, Window
from stillsafe.monitoring.columns import ColumnBuilder, RowOutcomes, columns_from_snapshots
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.window_tally import WindowTallies, both_tallies
from tests.monitoring.conftest import START, settings


def counted_rows(folder: object, sources: list[str | None], fresh: list[bool]) -> WindowTallies:
    """One row of each source, with its number as its size."""
    log_format = LogFormat.of(settings(folder))  # type: ignore[arg-type] # a path
    n = len(sources)
    outcomes = RowOutcomes(
        confidences=[0.5] * n,
        model_errors=[None] * n,
        fallback_used=[False] * n,
        predictions=["1"] * n,
        fresh=fresh,
        sources=sources,
    )
    columns = columns_from_snapshots([{"size": float(i)} for i in range(n)], log_format.schema, outcomes)
    return WindowTallies(columns, ["a", None], ["a", "b", None, None], None, log_format)


EMPTY = Window(START, START + timedelta(minutes=15), "1", Tally(), Tally())


def test_sources_are_left_out_with_their_refusals(tmp_path: object) -> None:
    """Rows of unknown sources always stay; fresh ones are counted apart."""
    rows = counted_rows(tmp_path, ["a", "b", None, "a", "c"], [True, True, False, False, True])
    counts = {}
    for without in ((), ("a",), ("a", "b"), ("unheard of",)):
        window = rows.window(EMPTY, without)
        total, fresh = window.total, window.fresh
        counts[without] = (total.prediction_count, total.refusal_count, fresh.prediction_count, fresh.refusal_count)
    assert counts == {
        (): (5, 6, 3, 4),
        ("a",): (3, 4, 2, 3),
        ("a", "b"): (2, 3, 1, 2),
        ("unheard of",): (5, 6, 3, 4),
    }


def test_rows_of_unknown_clients_stay(tmp_path: object) -> None:
    """Also where no client of the window is known any more, because its rows were erased."""
    rows = counted_rows(tmp_path, [None] * 3, [True] * 3)
    builder = ColumnBuilder(rows.log_format.schema)
    builder.add(rows.columns)
    for columns in (rows.columns, builder.columns()):
        window = replace(rows, columns=columns).window(EMPTY, ("a",))
        assert (window.total.prediction_count, window.total.refusal_count) == (3, 4)


def test_fresh_rows_alone_are_tallied_once(tmp_path: object) -> None:
    """Where every row is fresh both tallies are equal but for the refusals."""
    rows = counted_rows(tmp_path, ["a"] * 4, [True] * 4)
    total, fresh = both_tallies(rows.columns, rows.log_format, None, 3, 1)
    assert (total.refusal_count, fresh.refusal_count) == (3, 1)
    assert total.features == fresh.features
    assert np.isfinite(total.confidence_sum)
