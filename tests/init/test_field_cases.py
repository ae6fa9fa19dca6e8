"""Cases that people met: each is one of a kind, made and played through the public functions from a file to a state."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale

from stillsafe import service, settings
from stillsafe.backtest.history import text_columns
from stillsafe.check.checks import check
from stillsafe.check.findings import Verdict
from stillsafe.core.schema import FeatureType, Row
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Severity, State
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.table_file import read_table
from tests.init.services import NOW, init_service, predictions_of, write_sample

ROWS_PER_RUN = 500


def logit(score: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Labels with these log odds."""
    return np.asarray(random.random(len(score)) < 1 / (1 + np.exp(-score)), dtype=int)


def play(folder: Path, history: pd.DataFrame, label: str | None = "label") -> list[Any]:
    """The runs of a backtest."""
    runs = service.backtest(folder / "out" / "stillsafe.toml", history, label=label, rows_per_run=ROWS_PER_RUN).runs
    return list(runs)


def bad_keys(runs: list[Any]) -> set[str]:
    """The keys of all readings that deviated."""
    return {reading.key for run in runs for reading in run.readings if reading.evidence is Evidence.BAD}


def code_rows(count: int, seed: int, codes: tuple[Any, ...] = ("007", "1E5", "x-1", "02139")) -> pd.DataFrame:
    """Rows whose codes look like numbers."""
    random = np.random.default_rng(seed)
    code = random.choice(codes, count)
    amount = random.gamma(2.0, 50.0, count)
    effect = np.array([2.0 if each in ("007", "x-1") else -2.0 for each in code])
    return pd.DataFrame({"code": code, "amount": amount, "label": logit(effect + (amount - 100) / 60, random)})


def test_codes_as_text_in_a_csv_history(tmp_path: Path) -> None:
    """A history as CSV, of the very rows of the service, is as calm as the same rows as Parquet."""
    sample = code_rows(3_000, 1)
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["code"]), (StandardScaler(), ["amount"]))
    model = make_pipeline(encode, LogisticRegression()).fit(sample[["code", "amount"]], sample["label"])
    init_service(model, sample, tmp_path, label="label")
    config = tmp_path / "out" / "stillsafe.toml"
    for history in (code_rows(4_000, 2), code_rows(4_000, 3)):
        history.to_csv(tmp_path / "history.csv", index=False)
        read = read_table(tmp_path / "history.csv", text_columns(settings.load(config)), noun="history")
        assert read["code"].tolist() == history["code"].tolist()
        states = {run.state for run in play(tmp_path, read)}
        assert states == {run.state for run in play(tmp_path, history)} == {State.NORMAL}
    only_numbers = code_rows(3_000, 4, ("007", "1E5"))
    only_numbers.to_csv(tmp_path / "history.csv", index=False)
    read = read_table(tmp_path / "history.csv", text_columns(settings.load(config)), noun="history")
    assert "unseen_category_rate:code" not in bad_keys(play(tmp_path, read))


def test_an_encoder_fitted_on_texts_gets_texts(tmp_path: Path) -> None:
    """The sample as CSV holds 1, 2 and 3; the encoder was fitted on "1", "2" and "3", so they are read as texts."""
    sample = code_rows(600, 1, ("1", "2", "3"))
    encode = make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(sample[["code", "amount"]], sample["label"])
    created_service = init_service(model, sample, tmp_path, form="csv", label="label")
    assert created_service.schema.features[0].type is FeatureType.CATEGORY
    assert created_service.baseline.features["code"].category_counts.keys() == {"1", "2", "3"}


def branches(count: int, seed: int, codes: tuple[int, ...] = (1, 2, 3, 5, 9)) -> pd.DataFrame:
    """Rows with a branch as a whole number; two of five have another chance."""
    random = np.random.default_rng(seed)
    branch = random.choice(codes, count)
    income = random.normal(0, 1, count)
    effect = np.where(np.isin(branch, (2, 9)), 2.5, -1.0) + 0.8 * income
    return pd.DataFrame({"branch": branch, "income": income, "label": logit(effect, random)})


def branch_model(sample: pd.DataFrame) -> Any:
    """A pipeline with an encoder of the branch."""
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["branch"]), remainder="passthrough")
    return make_pipeline(encode, LogisticRegression()).fit(sample[["branch", "income"]], sample["label"])


@pytest.mark.parametrize("as_text", [False, True])
def test_whole_codes_are_watched_as_texts_are(as_text: bool, tmp_path: Path) -> None:
    """Unseen codes are named, their harm is estimated as that of unseen texts, and the model is bypassed in time."""
    kind: type = str if as_text else int
    sample = branches(4_000, 1).astype({"branch": kind})
    created_service = init_service(branch_model(sample), sample, tmp_path, label="label")
    profile = created_service.baseline.features["branch"]
    assert profile.type is (FeatureType.CATEGORY if as_text else FeatureType.INTEGER)
    assert profile.category_counts.keys() == {"1", "2", "3", "5", "9"}
    assert profile.bins is not None
    assert profile.bins.categories == ("1", "2", "3", "5", "9")
    healthy, broken_rows = branches(4 * ROWS_PER_RUN, 2), branches(6 * ROWS_PER_RUN, 3)
    broken_rows["branch"] = broken_rows["branch"].replace({2: 4, 9: 7})
    runs = play(tmp_path, pd.concat([healthy, broken_rows]).astype({"branch": kind}))
    assert {run.state for run in runs[:4]} == {State.NORMAL}
    assert runs[6].severity is Severity.CRITICAL
    # Without the branch no rule does better than the damaged model, so the bypass would not pay.
    assert (runs[6].state, (runs[6].fallback_score or 0.0) < (runs[6].model_score or 0.0)) == (State.WARNING, True)
    assert "unseen_category_rate:branch" in bad_keys(runs[4:])
    loss = max(reading.value or 0.0 for reading in runs[5].readings if reading.key == "estimated_accuracy_loss")
    assert loss > 0.05


def test_unseen_codes_are_named(tmp_path: Path) -> None:
    """The examples of a run are the codes themselves, as texts."""
    from stillsafe.monitoring.baseline import reference_columns
    from stillsafe.monitoring.tally import tally

    sample = branches(1_000, 1)
    created_service = init_service(branch_model(sample), sample, tmp_path, label="label")
    rows: list[Any] = [{"branch": code, "income": 0.0} for code in (1, 4, 4, 7, None)]
    columns = reference_columns(created_service.schema, rows, [0.9] * 5, ["1"] * 5, salt="")
    counts = tally(columns, created_service.baseline, 0).features["branch"]
    assert (counts.unseen_count, counts.missing_count) == (3, 1)
    assert counts.unseen_examples == {"4": 2, "7": 1}


def test_a_model_with_statistics_of_the_batch_is_refused(tmp_path: Path) -> None:
    """`init` refuses it and names the function; `check` calls it an error in a folder that has it already."""
    sample = branches(600, 1)[["income", "branch", "label"]].assign(size=np.linspace(0, 9, 600))
    columns, last = ["income", "size"], LogisticRegression()
    batch_model = make_pipeline(FunctionTransformer(scale), last).fit(sample[columns], sample["label"])
    with pytest.raises(ModelError, match=r"depend on the other rows of a batch.*FunctionTransformer\(scale\)"):
        init_service(batch_model, sample[[*columns, "label"]], tmp_path, label="label", trust_joblib=True)
    fitted_model = make_pipeline(StandardScaler(), LogisticRegression()).fit(sample[columns], sample["label"])
    init_service(fitted_model, sample[[*columns, "label"]], tmp_path, label="label", trust_joblib=True)
    config = tmp_path / "out" / "stillsafe.toml"
    findings = {finding.subject: finding for finding in check(config, now=NOW)}
    assert findings["batches"].verdict is Verdict.OK
    import hashlib

    import joblib

    joblib.dump(batch_model, tmp_path / "out" / "model.joblib")
    digest = hashlib.sha256((tmp_path / "out" / "model.joblib").read_bytes()).hexdigest()
    text = config.read_text()
    old = next(line for line in text.splitlines() if line.startswith("sha256"))
    text = text.replace(old, f'sha256 = "{digest}"').replace('"model.skops"', '"model.joblib"')
    text = text.replace('format = "skops"', 'format = "joblib"').replace("trusted = false", "trusted = true")
    config.write_text(text)
    findings = {finding.subject: finding for finding in check(config, now=NOW)}
    assert findings["batches"].verdict is Verdict.ERROR
    assert "FunctionTransformer(scale)" in findings["batches"].message


def test_day_first_times_keep_their_order(tmp_path: Path) -> None:
    """Rows every two minutes from 25/01 to 02/02: one format for the column; the first run ends on the first day."""
    sample = branches(6_000, 1)
    init_service(branch_model(sample), sample, tmp_path, label="label")
    times = pd.date_range("2026-01-25", periods=6_000, freq="2min")
    history = branches(6_000, 2).assign(timestamp=times.strftime("%d/%m/%Y %H:%M"))
    runs = service.backtest(tmp_path / "out" / "stillsafe.toml", history, rows_per_run=ROWS_PER_RUN).runs
    ends = [run.data_until for run in runs]
    assert ends[0] is not None
    assert ends[0].strftime("%Y-%m-%d") == "2026-01-25"
    assert ends == sorted(end for end in ends if end is not None)
    ambiguous = history.iloc[:100].assign(timestamp="01/02/2026 10:00")
    ambiguous.loc[ambiguous.index[0], "timestamp"] = "02/01/2026 10:00"
    with pytest.raises(ConfigurationError, match=r"2026-01-02 \(day first\) or 2026-02-01 \(month first\)"):
        service.backtest(tmp_path / "out" / "stillsafe.toml", ambiguous)


def test_whole_prices_of_a_measure_are_numbers(tmp_path: Path) -> None:
    """A price that is whole in the sample is served as 12.5; a code of the same model is not; `init` says both."""
    random = np.random.default_rng(1)
    sample = branches(2_000, 1).assign(price=random.choice([10, 12, 15, 20, 25, 30], 2_000))
    columns = ["branch", "income", "price"]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["branch"]), (StandardScaler(), ["income", "price"])
    )
    model = make_pipeline(encode, LogisticRegression()).fit(sample[columns], sample["label"])
    created_service = init_service(model, sample, tmp_path, label="label")
    types = {spec.name: spec.type for spec in created_service.schema.features}
    assert types == {"branch": FeatureType.INTEGER, "income": FeatureType.NUMERIC, "price": FeatureType.NUMERIC}
    row: Row = {"branch": 1, "income": 0.5, "price": 12.5}
    answers = predictions_of(tmp_path / "out", row, {**row, "branch": 1.5}, {**row, "price": -3})
    assert "prediction" in answers[0]
    assert [problem["feature"] for answer in answers[1:] for problem in answer["violations"]] == ["branch", "price"]
    text = " ".join(created_service.warnings)
    assert "treats as measures are numeric, so fractions are served: price." in text
    assert "watched as a category is: branch." in text
    assert "The minimum is 0 where no value of the sample is negative: branch, price." in text
    assert "From 2000 values it is 95% sure that fewer than 0.15% are" in text


def test_a_function_may_treat_a_number_as_a_code(tmp_path: Path) -> None:
    """A whole number that a function of the model takes stays whole, and `init` says that it is not certain."""
    sample = branches(600, 1)
    absolute = make_pipeline(FunctionTransformer(np.abs), LogisticRegression())
    created_service = init_service(
        absolute.fit(sample[["branch", "income"]], sample["label"]), sample, tmp_path, label="label", trust_joblib=True
    )
    assert created_service.schema.features[0].type is FeatureType.INTEGER
    assert any("stay integer, since it is not certain" in warning for warning in created_service.warnings)


def test_columns_that_occur_twice_are_refused(tmp_path: Path) -> None:
    """A CSV file with `amount,amount,late` gives no feature `amount.1`."""
    (tmp_path / "sample.csv").write_text("amount,amount,late\n" + "1,2,0\n3,4,1\n" * 60)
    table = pd.DataFrame({"amount": [1, 3] * 60, "amount.1": [2, 4] * 60})
    model = LogisticRegression().fit(table, [0, 1] * 60)
    from tests.init.services import run_init, save_model

    with pytest.raises(ConfigurationError, match=r"Columns that occur twice: amount\."):
        run_init(save_model(model, tmp_path), tmp_path / "sample.csv", tmp_path / "out", label="late")


def listings(count: int, seed: int) -> pd.DataFrame:
    """Rows with a title, an order number, a day and a price."""
    random = np.random.default_rng(seed)
    words = [f"{a}{b}" for a in ("grün", "rot", "blau", "alt", "neu") for b in ("haus", "boot", "rad", "tisch")]
    price = random.gamma(3.0, 30.0, count)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(seed * 10_000 + np.arange(count), unit="h")
    return pd.DataFrame(
        {
            "title": [" ".join(random.choice(words, random.integers(3, 7))) for _ in range(count)],
            "order": [
                f"{letters}-{number}"
                for letters, number in zip(
                    random.choice(["AB", "CD"], count), random.integers(10**7, 10**8, count), strict=True
                )
            ],
            "day": days.strftime("%Y-%m-%d"),
            "price": price,
            "label": logit((price - 90) / 30, random),
        }
    )


FEATURES = ["title", "order", "day", "price"]


def listing_service(folder: Path) -> Any:
    """A service with open-ended features, which its model ignores except for the title's presence."""
    sample = listings(3_000, 1)
    encode = make_column_transformer(
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", max_categories=5)
            ),
            ["title", "order", "day"],
        ),
        (StandardScaler(), ["price"]),
    )
    model = make_pipeline(encode, LogisticRegression()).fit(sample[FEATURES], sample["label"])
    return init_service(model, sample, folder, label="label")


def test_open_ended_features_are_kinds_of_their_own(tmp_path: Path) -> None:
    """Titles, order numbers and days are no categories: they are served, and healthy runs stay calm."""
    created_service = listing_service(tmp_path)
    types = {spec.name: spec.type.value for spec in created_service.schema.features}
    assert types == {"title": "text", "order": "identifier", "day": "date", "price": "numeric"}
    row: Row = dict(zip(FEATURES, ["Ein neues Boot", "XY-1", "2031-12-31", 10.0], strict=True))
    answers = predictions_of(tmp_path / "out", row, {**row, "day": "31/12/2031"}, {**row, "title": 3})
    assert "prediction" in answers[0]
    assert [problem["feature"] for answer in answers[1:] for problem in answer["violations"]] == ["day", "title"]
    runs = play(tmp_path, listings(10_000, 2))
    assert {run.state for run in runs} == {State.NORMAL}
    assert not bad_keys(runs)


@pytest.mark.parametrize(
    ("feature", "value", "key"),
    [
        ("title", None, "missing_rate:title"),
        ("title", "4711", "unseen_category_rate:title"),
        ("order", "unknown", "unseen_category_rate:order"),
        ("day", None, "missing_rate:day"),
        ("day", "1970-01-01T00:00:00+00:00", "unseen_category_rate:day"),
    ],
)
def test_open_ended_features_are_watched_by_their_form(
    feature: str, value: str | None, key: str, tmp_path: Path
) -> None:
    """A feed that fails shows in missing values, in the length or in the characters."""
    listing_service(tmp_path)
    history = listings(3_000, 2)
    history.loc[history.index[1_500:], feature] = value
    runs = play(tmp_path, history)
    assert not bad_keys(runs[:3])
    assert key in bad_keys(runs[3:])
    assert runs[-1].state is not State.NORMAL


def test_a_feature_that_is_not_watched_is_named(tmp_path: Path) -> None:
    """`watch = false` ends every reading of a feature; `limits` raise one for it alone; `check` says so."""
    listing_service(tmp_path)
    config = tmp_path / "out" / "stillsafe.toml"
    text = config.read_text()
    lines = text.splitlines()
    names = {line.split('"')[1]: index for index, line in enumerate(lines) if line.startswith("name = ") and index > 20}
    lines[names["title"]] += "\nwatch = false"
    lines[names["order"]] += "\nlimits = {missing_rate = 0.8, distribution_change = 0.9}"
    config.write_text("\n".join(lines))
    new_settings = settings.load(config)
    assert new_settings.policy.unwatched_features == ("title",)
    assert new_settings.policy.feature_limits == {"missing_rate:order": 0.8, "distribution_change:order": 0.9}
    history = listings(3_000, 2)
    history.loc[history.index[1_500:], "title"] = None
    history.loc[history.index[1_500::2], "order"] = None
    runs = play(tmp_path, history)
    assert {run.state for run in runs} == {State.NORMAL}
    assert not any(reading.key.endswith(":title") for run in runs for reading in run.readings)
    findings = {finding.subject: finding for finding in check(config, now=NOW)}
    assert findings["features"].verdict is Verdict.WARNING
    assert "not watched: title" in findings["features"].message
    assert "missing_rate:order 0.8" in findings["features"].message


def test_a_sample_with_ambiguous_times_is_refused(tmp_path: Path) -> None:
    """`init` reads times as `backtest` does."""
    sample = branches(100, 1).assign(timestamp=["01/02/2026", "03/04/2026"] * 50)
    with pytest.raises(ConfigurationError, match="in two ways"):
        init_service(branch_model(sample), sample, tmp_path, label="label")
    assert write_sample(sample, tmp_path, "csv").exists()
