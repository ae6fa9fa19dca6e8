"""What is evidence, through the public interface: probes, refusals, hidden features, and limits that an owner wrote."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import stillsafe
from stillsafe.backtest.result import Backtest
from stillsafe.core.signals import Evidence, Level, Reading
from stillsafe.core.state import State
from tests.init.services import init_service

NUMBERS, TEXTS = ["age", "income", "ratio"], ["country", "channel"]
REAL, COPIES = 60, 120


def loans(count: int, seed: int) -> pd.DataFrame:
    """Requests for loans with their labels; most of the accuracy is carried by the ratio."""
    draw = np.random.default_rng(seed)
    age, income = draw.normal(45, 12, count).clip(18, 90), draw.lognormal(10, 0.5, count)
    ratio, country = draw.gamma(2, 0.2, count), draw.choice(["DE", "FR", "IT", "PL"], count, p=[0.5, 0.2, 0.2, 0.1])
    logit = 6 * (ratio - 0.4) - 0.02 * (age - 45) + np.where(country == "PL", 1.0, 0.0)
    table = pd.DataFrame({"age": age, "income": income, "ratio": ratio, "country": country})
    table["channel"] = draw.choice(["web", "shop", "phone"], count)
    return table.assign(default=(logit + draw.logistic(0, 0.5, count) > 0).astype(int))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings file of a service that `init` made."""
    columns = [("numbers", SimpleImputer(), NUMBERS), ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)]
    training = loans(4_000, 1)
    model = make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=2_000))
    model.fit(training[NUMBERS + TEXTS], training["default"])
    folder = tmp_path_factory.mktemp("loans")
    init_service(model, loans(3_000, 2), folder, label="default", trust_joblib=True)
    return folder / "out" / "stillsafe.toml"


def with_probes(rows: pd.DataFrame) -> pd.DataFrame:
    """Copies of one row after every sixty requests."""
    probes = loans(1, 99).loc[[0] * COPIES]
    parts = [part for at in range(0, len(rows), REAL) for part in (rows.iloc[at : at + REAL], probes)]
    return pd.concat(parts, ignore_index=True)


def with_setting(config: Path, pattern: str, replacement: str, folder: Path) -> Path:
    """The service with one change of its settings."""
    text, count = re.subn(pattern, replacement, config.read_text(encoding="utf-8"), count=1)
    assert count == 1
    file = config.with_name(f"{folder.name}.toml")
    file.write_text(text, encoding="utf-8")
    return file


def with_hidden(config: Path, name: str, mode: str, folder: Path) -> Path:
    """The service with a feature that its log hides."""
    return with_setting(config, rf'(name = "{name}"[^\[]*log = )"keep"', rf'\1"{mode}"', folder)


def with_bypass(config: Path, folder: Path) -> Path:
    """The service with rules that take over whenever the severity is CRITICAL: here they win little over the damage."""
    return with_setting(config, 'bypass = "when_it_pays"', 'bypass = "always"', folder)


def play(config: Path, rows: pd.DataFrame, rows_per_run: int) -> Backtest:
    """The runs over a history."""
    return stillsafe.backtest(config, rows, label="default", rows_per_run=rows_per_run)


def test_a_probe_is_told_as_what_it_is(config: Path) -> None:
    """Sixty requests and 120 copies of one row a run: a warning about the copies, and nothing else deviates."""
    runs = play(config, with_probes(loans(10 * REAL, 4)), REAL + COPIES).runs
    assert {run.state for run in runs} <= {State.NORMAL, State.WARNING}
    bad = {reading.key for run in runs for reading in run.readings if reading.evidence is Evidence.BAD}
    assert bad == {"repeated_row_rate"}
    assert all(reading.level is not Level.SEVERE for run in runs for reading in run.readings)
    assert "The same row again and again in 66.7% of 180 predictions" in runs[1].reason


def test_a_fault_behind_a_probe_degrades_and_its_mending_recovers(config: Path, tmp_path: Path) -> None:
    """The copies hide neither."""
    rows = loans(15 * REAL, 5)
    rows.loc[5 * REAL : 9 * REAL - 1, "ratio"] = np.nan
    states = [run.state for run in play(with_bypass(config, tmp_path), with_probes(rows), REAL + COPIES).runs]
    assert State.DEGRADED not in states[:6]
    assert states[7] is State.DEGRADED
    assert states[-1] is not State.DEGRADED


@pytest.mark.parametrize("mode", ["hash", "drop"])
@pytest.mark.parametrize("name", [*NUMBERS, *TEXTS])
def test_healthy_traffic_is_healthy_behind_a_hidden_feature(config: Path, mode: str, name: str, tmp_path: Path) -> None:
    """The baseline of `init` has it in clear, and the log does not."""
    runs = play(with_hidden(config, name, mode, tmp_path), loans(2_500, 6), 500).runs
    assert [key for run in runs for key in _bad(run.readings)] == []


def test_an_unseen_category_is_seen_behind_its_hash(config: Path, tmp_path: Path) -> None:
    """Where all hashes are new, the category is."""
    runs = play(with_hidden(config, "country", "hash", tmp_path), loans(1_000, 7).assign(country="ES"), 500).runs
    assert "unseen_category_rate:country" in _bad(runs[0].readings)


def test_an_owner_s_limit_bypasses_the_model(config: Path, tmp_path: Path) -> None:
    """A second limit that stands in the file holds, though the impact can be estimated; a default rests."""
    rows = loans(2_500, 8).assign(channel=None)
    assert {run.state for run in play(config, rows, 500).runs} == {State.NORMAL, State.WARNING}
    strict = with_setting(config, r"\[policy\]", "[policy]\nmissing_rate_severe = 0.06", tmp_path)
    states = [run.state for run in play(strict, rows, 500).runs]
    assert states[1:3] == [State.WARNING, State.DEGRADED]


def test_refusals_take_the_model_from_nobody(config: Path, tmp_path: Path) -> None:
    """Half of the requests violate the schema, for ever: a warning. They block no recovery from a fault either."""
    config, rows = with_bypass(config, tmp_path), loans(6_000, 9)
    rows["age"] = rows["age"].astype(object)
    rows.loc[::2, "age"] = "old"
    states = [run.state for run in play(config, rows, 500).runs]
    assert State.DEGRADED not in states
    rows.loc[2_000:3_499, "ratio"] = np.nan
    states = [run.state for run in play(config, rows, 500).runs]
    assert states[6] is State.DEGRADED
    assert State.NORMAL in states[7:]


def _bad(readings: Iterable[Reading]) -> list[str]:
    return [reading.key for reading in readings if reading.evidence is Evidence.BAD]
