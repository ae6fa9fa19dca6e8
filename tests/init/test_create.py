"""Models of many kinds become services; what cannot be served is refused with a remedy."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

import stillsafe
from stillsafe import settings
from stillsafe.core.schema import FeatureType
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.model.model import ConfidenceMethod, ModelKind
from stillsafe.rules import compile_fallback
from tests.init.making import FEATURES, PERSON, folder_of, made, make, people, row_of, saved, served, written

FLIGHTS = Path(stillsafe.__file__).parent / "data" / "nyc_flights.parquet"


def pipeline(last: Any, *, unknown: str = "ignore") -> Any:
    towns = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown=unknown))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(make_column_transformer((numbers, ["age", "visits", "member"]), (towns, ["town"])), last)


def shuffled(data: Any) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
    order = np.random.default_rng(3).permutation(len(data.data))
    return data.data.iloc[order].reset_index(drop=True), data.target.iloc[order].reset_index(drop=True)


CLASSIFIERS = [
    (make_pipeline(StandardScaler(), LogisticRegression()), ConfidenceMethod.CLASS_PROBABILITY),
    (RandomForestClassifier(n_estimators=5, n_jobs=2, random_state=0), ConfidenceMethod.CLASS_PROBABILITY),
    (HistGradientBoostingClassifier(max_iter=5), ConfidenceMethod.CLASS_PROBABILITY),
    (make_pipeline(StandardScaler(), LinearSVC()), ConfidenceMethod.MARGIN_RANK),
    (make_pipeline(StandardScaler(), SVC()), ConfidenceMethod.MARGIN_RANK),
    (CalibratedClassifierCV(GaussianNB(), cv=2), ConfidenceMethod.CLASS_PROBABILITY),
]


@pytest.mark.parametrize(("estimator", "method"), CLASSIFIERS)
@pytest.mark.parametrize("data", [load_breast_cancer, load_wine], ids=["binary", "multiclass"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_classifiers_are_served(
    estimator: Any, method: ConfidenceMethod, data: Any, named: bool, tmp_path: Path
) -> None:
    """A classifier of any kind, fitted with or without names, answers one of its classes from its new folder."""
    features, target = shuffled(data(as_frame=True))
    features = features.iloc[:, :6]
    estimator = clone(estimator).fit(features if named else features.to_numpy(), target)
    created = made(estimator, features.assign(truth=target), tmp_path, label="truth", form="csv")
    (answer,) = served(created.folder, row_of(features))
    assert answer["prediction"] in set(target)
    assert answer["decided_by"] == "model"
    assert answer["watched"]
    assert created.kind is ModelKind.CLASSIFIER
    assert created.method is method
    assert created.default == target.mode()[0]
    assert created.model_score is not None
    assert created.fallback_score is not None
    assert created.fallback_score >= (target == created.default).mean() - 0.05
    assert created.model_score == pytest.approx(
        (estimator.predict(features if named else features.to_numpy()) == target).mean()
    )


REGRESSORS = [
    (LinearRegression(), ConfidenceMethod.PREDICTION_TYPICALITY),
    (RandomForestRegressor(n_estimators=5, random_state=0), ConfidenceMethod.ENSEMBLE_SPREAD),
    (HistGradientBoostingRegressor(max_iter=5), ConfidenceMethod.PREDICTION_TYPICALITY),
    (TransformedTargetRegressor(LinearRegression()), ConfidenceMethod.PREDICTION_TYPICALITY),
]


@pytest.mark.parametrize(("estimator", "method"), REGRESSORS)
@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_regressors_are_served(estimator: Any, method: ConfidenceMethod, named: bool, tmp_path: Path) -> None:
    """A regressor answers a number with a confidence in [0, 1]; its default is the median."""
    features, target = shuffled(load_diabetes(as_frame=True))
    estimator = clone(estimator).fit(features if named else features.to_numpy(), target)
    created = made(estimator, features.assign(truth=target), tmp_path, label="truth")
    (answer,) = served(created.folder, row_of(features))
    assert answer["decided_by"] == "model"
    assert 0 <= answer["confidence"] <= 1
    assert created.method is method
    assert created.default == target.median()
    assert created.fallback_score is not None
    assert created.fallback_score < (target - target.median()).abs().mean()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    "truth",
    [
        ["no", "yes"],
        [0, 1],
        [False, True],
        [0.0, 1.0],
        ["False", "True"],
        ["0", "1"],
    ],
    ids=str,
)
def test_labels_of_all_kinds_are_the_models_classes(truth: list[Any], form: str, tmp_path: Path) -> None:
    """Texts, whole numbers, true and false, and decimals are recognised after a trip through a file."""
    table = people()
    answers = np.array(truth)[(table["stays"] == "yes").astype(int)]
    model = pipeline(LogisticRegression()).fit(table[FEATURES], answers)
    created = made(model, table[FEATURES].assign(truth=answers), tmp_path, form=form, label="truth")
    assert type(created.default) is type(truth[0])
    assert created.model_score is not None
    assert created.model_score > 0.9
    assert served(created.folder, PERSON)[0]["prediction"] in truth


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_labels_may_be_missing_here_and_there(form: str, tmp_path: Path) -> None:
    """Rows without a label are left out and said to be; whole labels that CSV turned into decimals still match."""
    table = people()
    answers = (table["stays"] == "yes").astype(int)
    model = pipeline(LogisticRegression()).fit(table[FEATURES], answers)
    truth = answers.astype("Int64").mask(np.arange(len(table)) % 10 == 0)
    created = made(model, table[FEATURES].assign(truth=truth), tmp_path, form=form, label="truth")
    assert any(told == "24 rows without a label were left out." for told in created.warnings)
    assert created.baseline.sample_size == 216
    assert created.model_score is not None
    assert created.model_score > 0.9


def test_booleans_in_a_file_with_words(tmp_path: Path) -> None:
    """A column of the words true and false is the model's true and false."""
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"] == "yes")
    words = np.where(table["stays"] == "yes", "true", "False")
    created = made(model, table[FEATURES].assign(truth=words), tmp_path, label="truth")
    assert created.model_score is not None
    assert created.model_score > 0.9


def test_without_labels(tmp_path: Path) -> None:
    """Without a label the default is the model's own commonest answer, and nothing is scored."""
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"])
    created = made(model, table[FEATURES], tmp_path)
    assert created.default == pd.Series(model.predict(table[FEATURES])).mode()[0]
    assert (created.model_score, created.fallback_score) == (None, None)
    assert "own answers" in (created.folder / "stillsafe.toml").read_text()


def test_flights(tmp_path: Path) -> None:
    """The shipped flights: categories, missing values, and a timestamp that orders the rows and is no feature."""
    flights = pd.read_parquet(FLIGHTS).sample(1500, random_state=1)
    features = flights.drop(columns=["timestamp", "label"])
    words = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words), remainder="passthrough"
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=10)).fit(features, flights["label"])
    created = made(model, flights, tmp_path, label="label")
    assert "timestamp" not in created.schema.names
    assert not any("left out" in told for told in created.warnings)
    assert {spec.name for spec in created.schema.features if spec.type is FeatureType.CATEGORY} == set(words)
    gap = row_of(features) | {"wind_gust": None, "carrier": "??"}
    assert served(created.folder, gap)[0]["decided_by"] == "model"


def test_gradient_boosting_with_a_categorical_dtype(tmp_path: Path) -> None:
    """A model fitted on pandas categories is served from joblib; skops refuses what it holds, with a remedy."""
    table = people().astype({"town": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    model.fit(table[FEATURES], table["stays"])
    with pytest.raises(ModelError, match=r"functools\.partial.*OrdinalEncoder"):
        made(model, table, tmp_path, label="stays")
    created = made(model, table, tmp_path, label="stays", trust_joblib=True)
    assert served(created.folder, PERSON)[0]["decided_by"] == "model"


def test_joblib_only_with_trust(tmp_path: Path) -> None:
    """A joblib file is opened only when told so; what skops can hold is then kept as skops."""
    table = people()
    model = saved(pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"]), tmp_path, "joblib")
    sample = written(table, tmp_path)
    with pytest.raises(ModelError, match=r"can run any code .* --trust-joblib"):
        make(model, sample, tmp_path / "out", label="stays")
    created = make(model, sample, tmp_path / "out", label="stays", trust_joblib=True)
    assert settings.load(created.folder / "stillsafe.toml").model.format == "skops"
    assert served(created.folder, PERSON)[0]["decided_by"] == "model"


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_the_model_is_asked_about_unseen_categories(unknown: str, tmp_path: Path) -> None:
    """Categories are closed where the model fails on unseen ones, and only there; those it has learnt stay allowed."""
    table = people()
    model = pipeline(LogisticRegression(), unknown=unknown).fit(table[FEATURES], table["stays"])
    created = made(model, table[table["town"] != "Kiel"], tmp_path, label="stays")
    town = created.schema.features[3]
    assert town.categories == (None if unknown == "ignore" else ("Bonn", "Kiel", "Ulm"))
    strange, known = served(created.folder, {**PERSON, "town": "Oslo"}, {**PERSON, "town": "Kiel"})
    assert strange.get("status", 200) == (200 if unknown == "ignore" else 422)
    assert known["decided_by"] == "model"
    assert any("has not learnt" in told for told in created.warnings) == (unknown == "error")


def test_the_model_is_asked_about_missing_values(tmp_path: Path) -> None:
    """A feature is required where the model fails without it, and only there."""
    table = people()
    imputed = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (imputed, ["age"]), (StandardScaler(), ["visits"]), (OrdinalEncoder(), ["town"]), ("passthrough", ["member"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table[FEATURES], table["stays"])
    created = made(model, table, tmp_path, label="stays")
    assert {spec.name: spec.required for spec in created.schema.features} == {
        "age": False,
        "visits": True,
        "member": True,
        "town": True,
    }
    without, refused = served(created.folder, {**PERSON, "age": None}, {**PERSON, "visits": None})
    assert without["decided_by"] == "model"
    assert refused["violations"][0]["feature"] == "visits"


def test_a_failure_here_and_there_is_told(tmp_path: Path) -> None:
    """One bad row in many costs only itself, and is mentioned."""
    table = people()
    model = pipeline(LinearSVC(), unknown="error").fit(table[FEATURES], table["stays"])
    table.loc[5, "town"] = "Oslo"
    created = made(model, table, tmp_path, label="stays")
    assert "The model failed on 1 rows of the sample." in created.warnings
    assert created.schema.features[3].categories == ("Bonn", "Kiel", "Ulm")


def test_columns_the_model_does_not_take(tmp_path: Path) -> None:
    """They are left out with a warning, whatever they hold."""
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"])
    table = table.assign(seen=pd.Timestamp("2026-01-01"), many=pd.Series([[1, 2] for _ in table.index], dtype=object))
    created = made(model, table, tmp_path, label="stays")
    assert created.schema.names == tuple(FEATURES)
    assert "Columns that the model does not take were left out: seen, many." in created.warnings


def test_a_sorted_sample_is_noticed(tmp_path: Path) -> None:
    """Halves that contradict each other are told, with the advice that fits."""
    flowers = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    created = made(model, flowers.frame, tmp_path, label="target")
    assert any("shuffle it if it is sorted" in told for told in created.warnings)


def test_names_of_every_kind(tmp_path: Path) -> None:
    """Names and categories with spaces, quotes, other scripts and TOML's own signs come through unharmed."""
    names = ['a "quoted" one', "größe=ü", "[x] # y\t\\n", "日本 語\x7f"]
    table = people()[FEATURES]
    towns = {"Ulm": 'U"l\\m', "Bonn": "Ḃ'''\n#", "Kiel": "キール 🙂"}
    table = table.assign(town=table["town"].map(towns)).set_axis(names, axis="columns")
    columns = make_column_transformer((OneHotEncoder(), [names[3]]), remainder="passthrough")
    answers = np.where(table[names[0]] > 50, 'j"a\\', "näh")
    model = make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(table, answers)
    created = made(model, table, tmp_path, name='n"\\ü', version="v #1")
    assert created.schema.names == tuple(names)
    assert created.schema.features[3].categories == tuple(sorted(towns.values()))
    (answer,) = served(created.folder, dict(zip(names, [30.0, 3, True, 'U"l\\m'], strict=True)))
    assert answer["prediction"] == "näh"
    assert answer["model_version"] == "v #1"


def test_names_that_rules_cannot_tell_apart(tmp_path: Path) -> None:
    """Features that CEL would call the same are served, without example rules, and the person is told."""
    table = people()[["age", "visits"]].set_axis(["a b", "a_b"], axis="columns")
    model = LogisticRegression().fit(table, table["a b"] > 50)
    created = made(model, table, tmp_path)
    assert any("there can be none: a_b" in told for told in created.warnings)
    assert "[[fallback.rules]]" not in (created.folder / "stillsafe.toml").read_text()
    assert served(created.folder, {"a b": 60, "a_b": 1})[0]["prediction"] is True


def test_warnings_of_the_model_are_its_own(tmp_path: Path) -> None:
    """An encoder that merely warns of unseen categories tolerates them."""
    table = people()
    columns = make_column_transformer((OneHotEncoder(drop="first", handle_unknown="ignore"), ["town"]))
    model = make_pipeline(columns, LogisticRegression()).fit(table[["town"]], table["stays"])
    assert made(model, table[["town"]], tmp_path).schema.features[0].categories is None


def fitted(estimator: Any, answers: Any = None) -> Any:
    table = people()[["age", "visits"]]
    return estimator.fit(table, (table["age"] > 50).astype(int) if answers is None else answers)


class Odd:
    """Nothing of scikit-learn's."""

    def predict(self, inputs: Any) -> Any:
        """What it was given."""
        return inputs


UNSERVABLE = [
    (LogisticRegression(), "is not fitted. Fit it"),
    (make_pipeline(StandardScaler(), LinearRegression()), "is not fitted. Fit it"),
    (fitted(KMeans(2, n_init=1)), "KMeans is neither a classifier nor a regressor. Stillsafe serves"),
    (fitted(StandardScaler()), "StandardScaler makes no predictions. Stillsafe serves"),
    (fitted(IsolationForest(n_estimators=2)), "IsolationForest is neither a classifier nor a regressor."),
    (fitted(LinearRegression(), people()[["age", "visits"]]), "not give one plain answer per row. Fit it on one"),
    (fitted(LinearRegression(), people()[["age"]]), "not give one plain answer per row. Fit it on one column"),
    (fitted(RandomForestRegressor(2), people()[["age", "visits"]]), "not give one plain answer per row."),
    (fitted(RandomForestClassifier(2), people()[["member", "town"]].astype(str)), "one of them for each row"),
    (
        fitted(MultiOutputClassifier(LogisticRegression(max_iter=500)), people()[["member", "town"]].astype(str)),
        "one of them for each row",
    ),
    ({"weights": [1, 2]}, "dict makes no predictions. Stillsafe serves"),
    (Odd(), "cannot be served: "),
]


@pytest.mark.parametrize(("estimator", "told"), UNSERVABLE, ids=lambda value: type(value).__name__)
def test_what_cannot_be_served_is_refused(estimator: Any, told: str, tmp_path: Path) -> None:
    """Each kind of unfit model gets one sentence with a remedy, and leaves nothing behind."""
    with pytest.raises(ModelError) as caught:
        made(estimator, people()[["age", "visits"]], tmp_path, trust_joblib=True)
    assert told in str(caught.value)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_untrusted_types_in_skops(tmp_path: Path) -> None:
    """A skops file with a type of one's own is refused with a remedy that `init` offers."""
    table = people()[["age", "visits"]]
    model = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(table, table["age"] > 50)
    model.steps[0] = ("odd", Odd())
    with pytest.raises(ModelError, match=r"not trusted: .*Odd\..*--trust-joblib"):
        made(model, table, tmp_path)


def test_a_sample_of_another_model(tmp_path: Path) -> None:
    """What the model says about a sample that does not belong to it is passed on."""
    table = people()
    model = fitted(LogisticRegression())
    with pytest.raises(ModelError, match=r"60 of 60 rows of its own sample: ValueError: could not convert"):
        made(model, table.assign(visits=table["town"]), tmp_path)


def test_missing_values_that_the_model_does_not_take(tmp_path: Path) -> None:
    """The columns at fault are named."""
    table = people()[["age", "visits"]]
    model = fitted(LogisticRegression())
    table.loc[::9, "age"] = np.nan
    with pytest.raises(ConfigurationError, match=r"missing values of 'age', and the model fails on them\. Give"):
        made(model, table, tmp_path)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("nonsense", "There is no column 'nonsense'. --label names one of: age, visits, empty, word"),
        ("empty", "The column 'empty' is empty. Name another"),
        ("age", "is a feature of the model, so it cannot be the label. Name"),
        ("word", "None of the values of 'word' is a class of the model, whose classes are 0, 1. Name"),
        ("few", "10 rows are too few to tell what healthy is. Give"),
    ],
)
def test_labels_that_cannot_be(label: str, told: str, tmp_path: Path) -> None:
    """A label that is no column, is empty, is a feature, or is not the model's answer is refused."""
    table = people()[["age", "visits"]]
    few = pd.Series([1.0] * 10 + [np.nan] * 230)
    with pytest.raises(ConfigurationError) as caught:
        made(fitted(LogisticRegression()), table.assign(empty=None, word="x", few=few), tmp_path, label=label)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", ["ten", float("inf")])
def test_labels_of_a_regressor_are_numbers(value: Any, tmp_path: Path) -> None:
    """Anything else is refused."""
    table = people()[["age", "visits"]].assign(truth=[value] * 240)
    with pytest.raises(ConfigurationError, match=r"'truth' holds more than finite numbers.*--label"):
        made(fitted(LinearRegression()), table, tmp_path, label="truth")


@pytest.mark.parametrize(
    ("kept", "told"),
    [(["age"], "columns that the sample lacks: visits"), ([], "columns that the sample lacks: age, visits")],
)
def test_missing_columns(kept: list[str], told: str, tmp_path: Path) -> None:
    """The columns that the sample lacks are named."""
    with pytest.raises(ConfigurationError, match=told):
        made(fitted(LogisticRegression()), people()[[*kept, "town"]], tmp_path)


def test_the_count_of_a_nameless_model(tmp_path: Path) -> None:
    """A model without names takes as many columns as it was fitted with."""
    table = people()[["age", "visits"]]
    model = LogisticRegression().fit(table.to_numpy(), table["age"] > 50)
    with pytest.raises(ConfigurationError, match=r"takes 2 features without names, and the sample has 3.*--label"):
        made(model, table.assign(other=1), tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": ""}, "--name"),
        ({"name": "n" * 101}, "--name"),
        ({"version": ""}, "--version"),
        ({"version": "v" * 101}, "--version"),
    ],
)
def test_names_of_the_service_and_the_version(options: dict[str, str], told: str, tmp_path: Path) -> None:
    """They have between 1 and 100 characters."""
    with pytest.raises(ConfigurationError, match=told):
        made(fitted(LogisticRegression()), people()[["age", "visits"]], tmp_path, **options)


@pytest.mark.parametrize("what", ["missing", "directory", "garbage", "empty", "truncated"])
def test_a_model_file_that_cannot_be_read(what: str, tmp_path: Path) -> None:
    """It is said what is wrong with the file."""
    model, sample = tmp_path / "model", written(people(), tmp_path)
    if what == "directory":
        model.mkdir()
    if what in ("garbage", "empty"):
        model.write_bytes(b"\x80\x04nonsense" if what == "garbage" else b"")
    if what == "truncated":
        model.write_bytes(saved(fitted(LogisticRegression()), tmp_path).read_bytes()[:500])
    with pytest.raises(ModelError) as caught:
        make(model, sample, tmp_path / "out", trust_joblib=True)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_progress_is_told(tmp_path: Path) -> None:
    """Whoever waits is told what is being done."""
    told: list[str] = []
    made(fitted(LogisticRegression()), people()[["age", "visits"]], tmp_path, progress=told.append)
    assert told[0] == "Reading the model"
    assert "Making the reference baseline" in told
    assert told[-1].startswith("Weighing what changes would cost")


def test_the_written_rules_compile(tmp_path: Path) -> None:
    """A fallback with the settings as written is whole."""
    created = made(fitted(LogisticRegression()), people()[["age", "visits"]], tmp_path)
    chosen = settings.load(created.folder / "stillsafe.toml")
    assert compile_fallback(chosen.fallback, chosen.schema_of_features).default == created.default
    assert folder_of(created.folder) == {"stillsafe.toml", "model.skops", "reference.json"}
