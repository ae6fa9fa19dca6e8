"""NannyML's univariate drift, its default methods, one chunk; the reference is learnt beforehand."""

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # NannyML reports every use to its makers otherwise

import measured
import nannyml

if __name__ == "__main__":
    reference, current = measured.tables()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference),
        treat_as_categorical=measured.words_of(reference),
        chunk_size=len(current),
    )
    calculator.fit(reference)
    measured.tell(lambda: calculator.calculate(current).to_df())
