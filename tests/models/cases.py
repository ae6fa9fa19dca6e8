"""The cases: every estimator with every kind of table and format, and a short list in which every pair occurs."""

from tests.models.catalog import ENTRIES, Entry
from tests.models.life import BOOSTER_FORMATS, Case
from tests.models.tables import KINDS

SHORT = (
    ("RandomForestClassifier", "missing", "skops"),
    ("VotingClassifier, hard", "numbers", "joblib"),
    ("FixedThresholdClassifier", "numbers", "joblib"),
    ("LogisticRegression", "texts", "joblib"),
    ("IsolationForest", "numbers", "joblib"),
    ("lightgbm.LGBMClassifier", "categories", "joblib"),
    ("lightgbm.LGBMRegressor", "missing", "lightgbm"),
    ("xgboost.XGBClassifier", "categories", "xgboost"),
    ("xgboost.XGBRegressor", "texts", "joblib"),
    ("HistGradientBoostingClassifier", "dates", "joblib"),
    ("catboost.CatBoostClassifier", "categories", "catboost"),
    ("CalibratedClassifierCV(LGBMClassifier)", "numbers", "joblib"),
)
"""Estimator, kind and format of the short list: each kind, each format and each library."""


def forms_of(entry: Entry, kind: str) -> list[str]:
    """The formats that `init` can get an estimator in."""
    if kind == "dates":  # a team's own function is code, which joblib alone can hold
        return ["joblib"]
    if entry.format in BOOSTER_FORMATS:
        return ["joblib", entry.format] if entry.takes(kind) else ["joblib"]
    return ["joblib", "skops"]


def all_cases() -> list[Case]:
    """Every estimator x kind x format."""
    cases = [Case(entry, kind, form) for entry in ENTRIES for kind in KINDS for form in forms_of(entry, kind)]
    # skops cannot hold the objects of another library, which only adapters of `init` replace.
    return [case for case in cases if not ("LGBM" in case.entry.name and case.form == "skops")]


def short_cases() -> list[Case]:
    """The cases of the short list."""
    entries = {entry.name: entry for entry in ENTRIES}
    return [Case(entries[name], kind, form) for name, kind, form in SHORT]
