"""Clean rows by column: what is the same for every row is then done once, and NumPy does the rest.

Code that takes rows one by one takes the columns as well, since they are a sequence of their rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType, LogMode, Row, Schema, Value, salted_hash

Numbers = NDArray[np.float64]
Column = Numbers | Sequence[Value]
"""The values of a feature: an array with NaN for missing, of a number only, or plain values with None."""
_encode = msgspec.json.Encoder().encode


class FeatureColumns(Sequence[Row]):
    """Clean rows by column.

    Args:
        schema: the features.
        columns: feature -> its values, each as the schema has them, all of one length.
        count: the number of rows.
    """

    def __init__(self, schema: Schema, columns: Mapping[str, Column], count: int) -> None:
        self.schema = schema
        self._columns = columns
        self._count = count

    def __len__(self) -> int:
        """The number of rows."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "FeatureColumns": ...
    def __getitem__(self, index: int | slice) -> "Row | FeatureColumns":
        """A row, or a part of the rows."""
        if isinstance(index, slice):
            columns = {name: column[index] for name, column in self._columns.items()}
            return FeatureColumns(self.schema, columns, len(range(*index.indices(self._count))))
        (row,) = self[index : index + 1 or None]
        return row

    def __iter__(self) -> Iterator[Row]:
        """The rows."""
        names = self.schema.names
        for values in zip(*(self.values(spec) for spec in self.schema.features), strict=True):
            yield dict(zip(names, values, strict=True))

    def numbers(self, name: str) -> Numbers:
        """(n,) the values of a feature that is a number or a flag, NaN where missing."""
        return np.asarray(self._columns[name], np.float64)

    def values(self, spec: FeatureSpec) -> Sequence[Value]:
        """The values of a feature, None where missing."""
        column = self._columns[spec.name]
        if not isinstance(column, np.ndarray):
            return column
        if spec.type is FeatureType.INTEGER:
            return [None if value != value else int(value) for value in column.tolist()]
        return [None if value != value else value for value in column.tolist()]

    def snapshots(self, salt: str) -> list[str]:
        """Per row the JSON text of what the log may hold of it, as `storable_snapshot` writes the row of `sanitise`."""
        specs = sorted((each for each in self.schema.features if each.log is not LogMode.DROP), key=lambda s: s.name)
        if not specs:
            return ["{}"] * self._count
        names = (_encode(spec.name).decode().replace("%", "%%") for spec in specs)
        template = "{" + ",".join(f"{name}:%s" for name in names) + "}"
        cells = [self._json(spec, salt if spec.log is LogMode.HASH else None) for spec in specs]
        return list(map(template.__mod__, zip(*cells, strict=True)))

    def _json(self, spec: FeatureSpec, salt: str | None) -> Sequence[str]:
        """The values of a feature as JSON, hashed where there is a salt."""
        column = self._columns[spec.name]
        if salt is not None or spec.type in TEXT_TYPES:
            return json_texts(_hashes(self.values(spec), salt) if salt is not None else self.values(spec))
        if isinstance(column, np.ndarray) and spec.type is not FeatureType.INTEGER:
            return json_cells(column.tolist())  # the encoder writes null for NaN
        return json_cells(self.values(spec))


def json_cells(values: Sequence[object]) -> list[str]:
    """Numbers and flags as JSON, each by itself."""
    return _encode(values).decode()[1:-1].split(",") if values else []


def json_texts(values: Sequence[object]) -> list[str]:
    """Texts as JSON, of which many are equal; None is null."""
    text_of = {value: _encode(value).decode() for value in set(values)}
    return list(map(text_of.__getitem__, values))


def _hashes(values: Sequence[Value], salt: str) -> Sequence[Value]:
    return [None if value is None else salted_hash(value, salt) for value in values]
