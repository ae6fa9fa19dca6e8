"""Models of many kinds become services; a model that cannot be served is refused with a remedy."""

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
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from stillsafe import settings
from stillsafe.core.schema import FeatureType
from stillsafe.demo import shipped_flights
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.load import load_model
from stillsafe.model.model import ModelKind
from stillsafe.rules import compile_fallback
from tests.init.services import (
    FEATURES,
    PERSON,
    SERVICE_FILES,
    folder_of,
    init_service,
    people,
    predictions_of,
    row_of,
    run_init,
    save_model,
    write_sample,
)
from tests.model.models import NamedRegressor, OddTransformer


def pipeline(last: Any, *, unknown: str = "ignore") -> Any:
    towns = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown=unknown))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(make_column_transformer((numbers, ["age", "visits", "member"]), (towns, ["town"])), last)


def shuffle(data: Any) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
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
@pytest.mark.parametrize("with_names", [True, False], ids=["named", "nameless"])
def test_classifiers_are_served(
    estimator: Any, method: ConfidenceMethod, data: Any, with_names: bool, tmp_path: Path
) -> None:
    """A classifier of any kind, fitted with or without names, predicts one of its classes from its new folder."""
    features, target = shuffle(data(as_frame=True))
    features = features.iloc[:, :6]
    estimator = clone(estimator).fit(features if with_names else features.to_numpy(), target)
    created_service = init_service(estimator, features.assign(truth=target), tmp_path, label="truth", form="csv")
    (answer,) = predictions_of(created_service.folder, row_of(features))
    assert answer["prediction"] in set(target)
    assert answer["decided_by"] == "model"
    assert answer["watched"]
    assert created_service.kind is ModelKind.CLASSIFIER
    assert created_service.method is method
    assert created_service.default == target.mode()[0]
    assert created_service.model_score is not None
    assert created_service.fallback_score is not None
    assert created_service.fallback_score >= (target == created_service.default).mean() - 0.05
    assert created_service.model_score == pytest.approx(
        (estimator.predict(features if with_names else features.to_numpy()) == target).mean()
    )


REGRESSORS = [
    (LinearRegression(), ConfidenceMethod.PREDICTION_TYPICALITY),
    (RandomForestRegressor(n_estimators=5, random_state=0), ConfidenceMethod.ENSEMBLE_SPREAD),
    (HistGradientBoostingRegressor(max_iter=5), ConfidenceMethod.PREDICTION_TYPICALITY),
    (TransformedTargetRegressor(LinearRegression()), ConfidenceMethod.PREDICTION_TYPICALITY),
]


@pytest.mark.parametrize(("estimator", "method"), REGRESSORS)
@pytest.mark.parametrize("with_names", [True, False], ids=["named", "nameless"])
def test_regressors_are_served(estimator: Any, method: ConfidenceMethod, with_names: bool, tmp_path: Path) -> None:
    """A regressor predicts a number with a confidence in [0, 1]; its default is the median."""
    features, target = shuffle(load_diabetes(as_frame=True))
    estimator = clone(estimator).fit(features if with_names else features.to_numpy(), target)
    created_service = init_service(estimator, features.assign(truth=target), tmp_path, label="truth")
    (answer,) = predictions_of(created_service.folder, row_of(features))
    assert answer["decided_by"] == "model"
    assert 0 <= answer["confidence"] <= 1
    assert created_service.method is method
    assert created_service.default == target.median()
    assert created_service.fallback_score is not None
    assert created_service.fallback_score < (target - target.median()).abs().mean()


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
    created_service = init_service(model, table[FEATURES].assign(truth=answers), tmp_path, form=form, label="truth")
    assert type(created_service.default) is type(truth[0])
    assert created_service.model_score is not None
    assert created_service.model_score > 0.9
    assert predictions_of(created_service.folder, PERSON)[0]["prediction"] in truth


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_labels_may_be_missing_here_and_there(form: str, tmp_path: Path) -> None:
    """Rows without a label are left out with a warning; integer labels that CSV turned into decimals still match."""
    table = people()
    answers = (table["stays"] == "yes").astype(int)
    model = pipeline(LogisticRegression()).fit(table[FEATURES], answers)
    truth = answers.astype("Int64").mask(np.arange(len(table)) % 10 == 0)
    created_service = init_service(model, table[FEATURES].assign(truth=truth), tmp_path, form=form, label="truth")
    assert any(warning == "24 rows without a label were left out." for warning in created_service.warnings)
    assert created_service.baseline.sample_size == 216
    assert created_service.model_score is not None
    assert created_service.model_score > 0.9


def test_booleans_in_a_file_with_words(tmp_path: Path) -> None:
    """A column of the words true and false is the model's true and false."""
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"] == "yes")
    words = np.where(table["stays"] == "yes", "true", "False")
    created_service = init_service(model, table[FEATURES].assign(truth=words), tmp_path, label="truth")
    assert created_service.model_score is not None
    assert created_service.model_score > 0.9


def test_without_labels(tmp_path: Path) -> None:
    """Without labels the default is the model's most frequent prediction, and nothing is scored as right or wrong.

    The rules are learnt from the model's own answers, and the settings say that their scores are agreement.
    """
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"])
    created_service = init_service(model, table[FEATURES], tmp_path)
    assert created_service.default == pd.Series(model.predict(table[FEATURES])).mode()[0]
    assert (created_service.model_score, created_service.fallback_score) == (None, None)
    settings_text = (created_service.folder / "stillsafe.toml").read_text()
    assert "the model's predictions" in settings_text
    assert "by the model's own answers, as there are no labels" in settings_text
    assert created_service.proposal.evaluation is not None
    assert not created_service.proposal.evaluation.labelled


def test_flights(tmp_path: Path) -> None:
    """The shipped flights: categories, missing values, and a timestamp that orders the rows and is no feature."""
    flights = shipped_flights().sample(1500, random_state=1)
    features = flights.drop(columns=["timestamp", "label"])
    words = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words), remainder="passthrough"
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=10)).fit(features, flights["label"])
    created_service = init_service(model, flights, tmp_path, label="label")
    assert "timestamp" not in created_service.schema.names
    assert not any("left out" in warning for warning in created_service.warnings)
    assert {spec.name for spec in created_service.schema.features if spec.type is FeatureType.CATEGORY} == set(words)
    gap = row_of(features) | {"wind_gust": None, "carrier": "??"}
    assert predictions_of(created_service.folder, gap)[0]["decided_by"] == "model"


def test_gradient_boosting_with_a_categorical_dtype(tmp_path: Path) -> None:
    """A model fitted on pandas categories is served from joblib; skops refuses its types, with a remedy."""
    table = people().astype({"town": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    model.fit(table[FEATURES], table["stays"])
    with pytest.raises(ModelError, match=r"functools\.partial.*OrdinalEncoder"):
        init_service(model, table, tmp_path, label="stays")
    created_service = init_service(model, table, tmp_path, label="stays", trust_joblib=True)
    assert predictions_of(created_service.folder, PERSON)[0]["decided_by"] == "model"


def test_joblib_only_with_trust(tmp_path: Path) -> None:
    """A joblib file is opened only if it is trusted; a model that skops can store is then converted."""
    table = people()
    model = save_model(pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"]), tmp_path, "joblib")
    sample = write_sample(table, tmp_path)
    with pytest.raises(ModelError, match=r"can run any code .* --trust-joblib"):
        run_init(model, sample, tmp_path / "out", label="stays")
    created_service = run_init(model, sample, tmp_path / "out", label="stays", trust_joblib=True)
    assert settings.load(created_service.folder / "stillsafe.toml").model.format == "skops"
    assert predictions_of(created_service.folder, PERSON)[0]["decided_by"] == "model"


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_the_model_is_probed_with_unseen_categories(unknown: str, tmp_path: Path) -> None:
    """Categories are closed if the model fails on unseen ones, and only then; its trained categories stay allowed."""
    table = people()
    model = pipeline(LogisticRegression(), unknown=unknown).fit(table[FEATURES], table["stays"])
    created_service = init_service(model, table[table["town"] != "Kiel"], tmp_path, label="stays")
    town = created_service.schema.features[3]
    assert town.categories == (None if unknown == "ignore" else ("Bonn", "Kiel", "Ulm"))
    unseen_response, known_response = predictions_of(
        created_service.folder, {**PERSON, "town": "Oslo"}, {**PERSON, "town": "Kiel"}
    )
    assert unseen_response.get("status", 200) == (200 if unknown == "ignore" else 422)
    assert known_response["decided_by"] == "model"
    assert any("was not trained on" in warning for warning in created_service.warnings) == (unknown == "error")


def test_the_model_is_probed_with_missing_values(tmp_path: Path) -> None:
    """A feature is required if the model fails without it, and only then."""
    table = people()
    age_steps = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (age_steps, ["age"]), (StandardScaler(), ["visits"]), (OrdinalEncoder(), ["town"]), ("passthrough", ["member"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table[FEATURES], table["stays"])
    created_service = init_service(model, table, tmp_path, label="stays")
    assert {spec.name: spec.required for spec in created_service.schema.features} == {
        "age": False,
        "visits": True,
        "member": True,
        "town": True,
    }
    incomplete, refusal = predictions_of(created_service.folder, {**PERSON, "age": None}, {**PERSON, "visits": None})
    assert incomplete["decided_by"] == "model"
    assert refusal["violations"][0]["feature"] == "visits"


def test_single_failures_are_reported(tmp_path: Path) -> None:
    """One failing row among many costs only itself, and a warning counts it."""
    table = people()
    model = pipeline(LinearSVC(), unknown="error").fit(table[FEATURES], table["stays"])
    table.loc[5, "town"] = "Oslo"
    created_service = init_service(model, table, tmp_path, label="stays")
    assert "The model failed on 1 rows of the sample." in created_service.warnings
    assert created_service.schema.features[3].categories == ("Bonn", "Kiel", "Ulm")


def test_columns_the_model_does_not_take(tmp_path: Path) -> None:
    """They are left out with a warning, whatever their values."""
    table = people()
    model = pipeline(LogisticRegression()).fit(table[FEATURES], table["stays"])
    table = table.assign(seen=pd.Timestamp("2026-01-01"), many=pd.Series([[1, 2] for _ in table.index], dtype=object))
    created_service = init_service(model, table, tmp_path, label="stays")
    assert created_service.schema.names == tuple(FEATURES)
    assert "Columns that the model does not take were left out: seen, many." in created_service.warnings


def test_a_sorted_sample_gives_a_warning(tmp_path: Path) -> None:
    """If the halves of the sample deviate from each other, a warning says what to do."""
    flowers = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    created_service = init_service(model, flowers.frame, tmp_path, label="target")
    assert any("shuffle it if it is sorted" in warning for warning in created_service.warnings)


def test_names_of_every_kind(tmp_path: Path) -> None:
    """Names and categories with spaces, quotes, other scripts and TOML's own signs come through unharmed."""
    names = ['a "quoted" one', "größe=ü", "[x] # y\t\\n", "日本 語\x7f"]
    table = people()[FEATURES]
    towns = {"Ulm": 'U"l\\m', "Bonn": "Ḃ'''\n#", "Kiel": "キール 🙂"}
    table = table.assign(town=table["town"].map(towns)).set_axis(names, axis="columns")
    columns = make_column_transformer((OneHotEncoder(), [names[3]]), remainder="passthrough")
    answers = np.where(table[names[0]] > 50, 'j"a\\', "näh")
    model = make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(table, answers)
    created_service = init_service(model, table, tmp_path, name='n"\\ü', version="v #1")
    assert created_service.schema.names == tuple(names)
    assert created_service.schema.features[3].categories == tuple(sorted(towns.values()))
    (answer,) = predictions_of(created_service.folder, dict(zip(names, [30.0, 3, True, 'U"l\\m'], strict=True)))
    assert answer["prediction"] == "näh"
    assert answer["model_version"] == "v #1"


def test_features_with_the_same_name_in_rules(tmp_path: Path) -> None:
    """They are served without rules, and a warning names them."""
    table = people()[["age", "visits"]].set_axis(["a b", "a_b"], axis="columns")
    model = LogisticRegression().fit(table, table["a b"] > 50)
    created_service = init_service(model, table, tmp_path)
    assert any("there are no rules: a_b" in warning for warning in created_service.warnings)
    assert "[[fallback.rules]]" not in (created_service.folder / "stillsafe.toml").read_text()
    assert predictions_of(created_service.folder, {"a b": 60, "a_b": 1})[0]["prediction"] is True


def test_warnings_of_the_model_are_no_failures(tmp_path: Path) -> None:
    """An encoder that only warns about unseen categories tolerates them."""
    table = people()
    columns = make_column_transformer((OneHotEncoder(drop="first", handle_unknown="ignore"), ["town"]))
    model = make_pipeline(columns, LogisticRegression()).fit(table[["town"]], table["stays"])
    assert init_service(model, table[["town"]], tmp_path).schema.features[0].categories is None


def fit(estimator: Any, answers: Any = None) -> Any:
    table = people()[["age", "visits"]]
    return estimator.fit(table, (table["age"] > 50).astype(int) if answers is None else answers)


class CustomModel:
    """A class without a base class of scikit-learn."""

    def predict(self, inputs: Any) -> Any:
        """The inputs."""
        return inputs


UNSERVABLE = [
    (LogisticRegression(), "is not fitted. Fit it"),
    (make_pipeline(StandardScaler(), LinearRegression()), "is not fitted. Fit it"),
    (fit(KMeans(2, n_init=1)), "KMeans is neither a classifier nor a regressor. Serve the"),
    (fit(StandardScaler()), "StandardScaler makes no predictions. Stillsafe serves"),
    (fit(LocalOutlierFactor()), "LocalOutlierFactor makes no predictions. Fit it with novelty=True"),
    (fit(LinearRegression(), people()[["age", "visits"]]), "not give one plain prediction per row. Fit it on one"),
    (fit(LinearRegression(), people()[["age"]]), "not give one plain prediction per row. Fit it on one label column"),
    (fit(RandomForestRegressor(2), people()[["age", "visits"]]), "not give one plain prediction per row."),
    (fit(RandomForestClassifier(2), people()[["member", "town"]].astype(str)), "one of them for each row"),
    (
        fit(MultiOutputClassifier(LogisticRegression(max_iter=500)), people()[["member", "town"]].astype(str)),
        "one of them for each row",
    ),
    ({"weights": [1, 2]}, "dict makes no predictions. Stillsafe serves"),
    (CustomModel(), "CustomModel does not say that it is a classifier or a regressor. Derive its class from"),
]


@pytest.mark.parametrize(("estimator", "message"), UNSERVABLE, ids=lambda value: type(value).__name__)
def test_what_cannot_be_served_is_refused(estimator: Any, message: str, tmp_path: Path) -> None:
    """Each kind of unsuitable model gets one sentence with a remedy, and leaves nothing behind."""
    with pytest.raises(ModelError) as failure:
        init_service(estimator, people()[["age", "visits"]], tmp_path, trust_joblib=True)
    assert message in str(failure.value)
    assert failure.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("last", [LogisticRegression(), NamedRegressor()], ids=lambda each: type(each).__name__)
def test_models_of_other_libraries_become_services(last: Any, tmp_path: Path) -> None:
    """Attributes of other libraries may have scikit-learn's names and mean something else; the answers are theirs."""
    table = people().iloc[:120]
    model = make_pipeline(OddTransformer(), last).fit(table, (table["age"] > 50).astype(int))
    init_service(model, table, tmp_path, trust_joblib=True)
    score = load_model(settings.load(tmp_path / "out" / "stillsafe.toml")).score([PERSON])[0]
    assert score.prediction == pytest.approx(float(model.predict(pd.DataFrame([PERSON]))[0]))


def test_untrusted_types_in_skops(tmp_path: Path) -> None:
    """A skops file with a custom type is refused with a remedy that `init` offers."""
    table = people()[["age", "visits"]]
    model = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(table, table["age"] > 50)
    model.steps[0] = ("custom", CustomModel())
    with pytest.raises(ModelError, match=r"not trusted: .*CustomModel\..*--trusted-type"):
        init_service(model, table, tmp_path)


def test_a_sample_of_another_model(tmp_path: Path) -> None:
    """The error contains the model's exception for a sample that does not belong to it."""
    table = people()
    model = fit(LogisticRegression())
    with pytest.raises(ModelError, match=r"60 of 60 rows of its own sample: ValueError: could not convert"):
        init_service(model, table.assign(visits=table["town"]), tmp_path)


def test_missing_values_that_the_model_does_not_take(tmp_path: Path) -> None:
    """The error names the columns."""
    table = people()[["age", "visits"]]
    model = fit(LogisticRegression())
    table.loc[::9, "age"] = np.nan
    with pytest.raises(ConfigurationError, match=r"missing values of 'age', and the model fails on them\. Add"):
        init_service(model, table, tmp_path)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("nonsense", "There is no column 'nonsense'. --label names one of: age, visits, empty, word"),
        ("empty", "The column 'empty' is empty. Name another"),
        ("age", "is a feature of the model, so it cannot be the label. Name"),
        ("word", "No value of the label column is a class of the model (0, 1). Name"),
        ("few", "10 rows are too few for a baseline. Give"),
    ],
)
def test_labels_that_cannot_be(label: str, message: str, tmp_path: Path) -> None:
    """A label that is not a column, is empty, is a feature, or is not a class of the model is refused."""
    table = people()[["age", "visits"]]
    few = pd.Series([1.0] * 10 + [np.nan] * 230)
    with pytest.raises(ConfigurationError) as failure:
        init_service(fit(LogisticRegression()), table.assign(empty=None, word="x", few=few), tmp_path, label=label)
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["ten"] * 240, "No value of the label column is a finite number"),
        ([float("inf")] * 240, "No value of the label column is a finite number"),
        (["ten", *["1.5"] * 239], "'truth' has values that are not finite numbers"),
        ([float("inf"), *[1.5] * 239], "'truth' has values that are not finite numbers"),
    ],
    ids=["words", "infinite", "one word", "one infinite"],
)
def test_labels_of_a_regressor_are_numbers(labels: list[Any], message: str, tmp_path: Path) -> None:
    """A single other value is refused."""
    table = people()[["age", "visits"]].assign(truth=labels)
    with pytest.raises(ConfigurationError, match=rf"{message}.*--label"):
        init_service(fit(LinearRegression()), table, tmp_path, label="truth")


@pytest.mark.parametrize(
    ("columns", "message"),
    [(["age"], "columns that the sample lacks: visits"), ([], "columns that the sample lacks: age, visits")],
)
def test_missing_columns(columns: list[str], message: str, tmp_path: Path) -> None:
    """The columns that the sample lacks are named."""
    with pytest.raises(ConfigurationError, match=message):
        init_service(fit(LogisticRegression()), people()[[*columns, "town"]], tmp_path)


def test_the_count_of_a_nameless_model(tmp_path: Path) -> None:
    """A model without names takes as many columns as it was fitted with."""
    table = people()[["age", "visits"]]
    model = LogisticRegression().fit(table.to_numpy(), table["age"] > 50)
    with pytest.raises(ConfigurationError, match=r"takes 2 features without names, and the sample has 3.*--label"):
        init_service(model, table.assign(other=1), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "--name"),
        ({"name": "n" * 101}, "--name"),
        ({"version": ""}, "--version"),
        ({"version": "v" * 101}, "--version"),
    ],
)
def test_names_of_the_service_and_the_version(options: dict[str, str], message: str, tmp_path: Path) -> None:
    """They have between 1 and 100 characters."""
    with pytest.raises(ConfigurationError, match=message):
        init_service(fit(LogisticRegression()), people()[["age", "visits"]], tmp_path, **options)


@pytest.mark.parametrize("what", ["missing", "directory", "garbage", "empty", "truncated"])
def test_a_model_file_that_cannot_be_read(what: str, tmp_path: Path) -> None:
    """The error names the problem of the file."""
    model, sample = tmp_path / "model", write_sample(people(), tmp_path)
    if what == "directory":
        model.mkdir()
    if what in ("garbage", "empty"):
        model.write_bytes(b"\x80\x04nonsense" if what == "garbage" else b"")
    if what == "truncated":
        model.write_bytes(save_model(fit(LogisticRegression()), tmp_path).read_bytes()[:500])
    with pytest.raises(ModelError) as failure:
        run_init(model, sample, tmp_path / "out", trust_joblib=True)
    assert failure.value.remedy
    assert not (tmp_path / "out").exists()


def test_progress_is_reported(tmp_path: Path) -> None:
    """The caller receives the name of each activity."""
    activities: list[str] = []
    model, sample = fit(LogisticRegression()), people()[["age", "visits"]]
    init_service(model, sample, tmp_path, progress=lambda activity, _share: activities.append(activity))
    assert activities[0] == "Reading the model"
    assert "Making the reference baseline" in activities
    assert activities[-1] == "Measuring the impact of each feature"


def test_the_written_rules_compile(tmp_path: Path) -> None:
    """A fallback with the settings as written is whole, with its rule lists in the file that they name."""
    created_service = init_service(fit(LogisticRegression()), people()[["age", "visits"]], tmp_path)
    service_settings = settings.load(created_service.folder / "stillsafe.toml")
    assert (
        compile_fallback(service_settings.fallback, service_settings.schema_of_features).default
        == created_service.default
    )
    assert folder_of(created_service.folder) == SERVICE_FILES
    assert service_settings.fallback.lists_file in SERVICE_FILES
    assert [len(each.rules) for each in service_settings.fallback.lists] == [
        len(each.rules) for each in created_service.proposal.lists
    ]
