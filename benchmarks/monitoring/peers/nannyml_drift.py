"""NannyML's univariate drift, its default methods, one chunk; the reference is learnt beforehand."""

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # NannyML reports every use to its makers otherwise

import cost_report
import nannyml

if __name__ == "__main__":
    reference, current = cost_report.tables()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference),
        treat_as_categorical=cost_report.words_of(reference),
        chunk_size=len(current),
    )
    calculator.fit(reference)
    cost_report.print_cost(lambda: calculator.calculate(current).to_df())
