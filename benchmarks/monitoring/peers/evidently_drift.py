"""Evidently's drift preset on all columns, the result taken out."""

import cost_report
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

if __name__ == "__main__":
    reference, current = cost_report.tables()
    words = cost_report.words_of(reference)
    numbers = [name for name in reference if name not in words]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    reference_data = Dataset.from_pandas(reference, definition)
    cost_report.print_cost(
        lambda: Report([DataDriftPreset()]).run(Dataset.from_pandas(current, definition), reference_data).dict()
    )
