"""Rows by column: each row, and what the log holds of it, is what it is by itself."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema, sanitise
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.model.frame import frame
from stillsafe.store.codec import storable_snapshot

SCHEMA = Schema(
    (
        FeatureSpec("worth, 100% net", FeatureType.NUMERIC, required=False),
        FeatureSpec('a "name"', FeatureType.INTEGER, required=False),
        FeatureSpec("visits", FeatureType.INTEGER),
        FeatureSpec("paid", FeatureType.BOOLEAN, required=False),
        FeatureSpec("member", FeatureType.BOOLEAN),
        FeatureSpec("größe", FeatureType.CATEGORY, required=False),
    )
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
WHOLE = st.integers(-(2**53), 2**53)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "worth, 100% net": st.none() | FINITE,
            'a "name"': st.none() | WHOLE,
            "visits": WHOLE,
            "paid": st.none() | st.booleans(),
            "member": st.booleans(),
            "größe": st.none() | TEXTS,
        }
    ),
    max_size=5,
)
MODES = st.lists(st.sampled_from(LogMode), min_size=len(SCHEMA.features), max_size=len(SCHEMA.features))


def by_column(rows: list[dict[str, Any]], schema: Schema = SCHEMA, *, arrays: bool = True) -> FeatureColumns:
    """The rows by column; numbers in arrays or as plain values."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in schema.names}
    for spec in schema.features if arrays else ():
        if spec.type in (FeatureType.NUMERIC, FeatureType.INTEGER):
            columns[spec.name] = np.array(columns[spec.name], np.float64)
    return FeatureColumns(schema, columns, len(rows))


@settings(max_examples=80, deadline=None)
@given(ROWS, MODES, st.booleans())
def test_snapshots_are_those_of_the_rows(rows: list[dict[str, Any]], modes: list[LogMode], arrays: bool) -> None:
    """To the byte, whatever of them is hashed or left out, and the frame for the model is the same."""
    specs = tuple(replace(spec, log=mode) for spec, mode in zip(SCHEMA.features, modes, strict=True))
    schema, rows = Schema(specs), [{name: row[name] for name in SCHEMA.names} for row in rows]
    columns = by_column(rows, schema, arrays=arrays)
    assert columns.snapshots("salt") == [storable_snapshot(row) for row in sanitise(schema, rows, "salt")]
    assert [*map(repr, columns)] == [*map(repr, rows)]
    table, expected = frame(schema, columns), frame(schema, rows)
    assert table.dtypes.tolist() == expected.dtypes.tolist()
    assert table.equals(expected)


def test_parts() -> None:
    """A row, and a part of the rows."""
    rows = [
        {"worth, 100% net": None, 'a "name"': 1, "visits": n, "paid": None, "member": True, "größe": "S"}
        for n in range(4)
    ]
    columns = by_column(rows)
    assert (columns[3], columns[-1], [*columns[1:3]], len(columns[5:])) == (rows[3], rows[3], rows[1:3], 0)
    assert json.loads(columns[1:].snapshots("")[0])["visits"] == 1
    assert np.isnan(columns.numbers("worth, 100% net")).all()
