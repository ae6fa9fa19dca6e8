"""Evidently's drift preset on all columns, the result taken out."""

import measured
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

if __name__ == "__main__":
    reference, current = measured.tables()
    words = measured.words_of(reference)
    numbers = [name for name in reference if name not in words]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    before = Dataset.from_pandas(reference, definition)
    measured.tell(lambda: Report([DataDriftPreset()]).run(Dataset.from_pandas(current, definition), before).dict())
