"""Documents of older releases lose what few values share, and stay what they were otherwise."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.impact import LabelProfile, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.monitoring import profile
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.window_tally import both_tallies
from stillsafe.store.codec import from_document, to_document
from stillsafe.store.redaction import (
    MIN_COUNT,
    baseline_columns,
    is_of_older_release,
    redacted_baseline,
    redacted_window,
)
from stillsafe.store.write.baselines import baseline_columns as all_columns
from tests.core.healthy import START

SCHEMA = Schema(
    (
        FeatureSpec("income", FeatureType.NUMERIC, required=False),
        FeatureSpec("age", FeatureType.INTEGER, required=False),
        FeatureSpec("level", FeatureType.NUMERIC, required=False),
        FeatureSpec("mail", FeatureType.CATEGORY, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
    )
)
COUNT = 1_500


def people(seed: int, count: int = COUNT) -> list[dict[str, Any]]:
    """Unique incomes, addresses that few rows share, and a town with a rare suburb."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        "income": random.lognormal(10, 1, count).round(2).tolist(),
        "age": random.integers(18, 80, count).tolist(),
        "level": random.choice([0.5, 1.25, 7.0], count, p=[0.699, 0.3, 0.001]).tolist(),
        "mail": [f"user{i}@example.org" for i in random.integers(0, count // 2, count)],
        "town": random.choice(["Ulm", "Bonn", "Kiel", "Hamlet"], count, p=[0.5, 0.3, 0.199, 0.001]).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def older_document(rows: list[dict[str, Any]]) -> Any:
    """A baseline as a release without a threshold stored it."""
    columns = reference_columns(SCHEMA, rows, [0.8] * len(rows), ["1"] * len(rows), salt="pinch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "with_groups", lambda feature, *_: feature)  # categories had no groups then
        document = to_document(reference_baseline(columns, SCHEMA, model_version="1", at=START))
    del document["min_count"]
    return json.loads(json.dumps(document))


@pytest.fixture(scope="module")
def document() -> Any:
    """The older document of a healthy period."""
    return older_document(people(1))


def numbers_of(document: Any) -> Iterator[float]:
    """Every number in a document."""
    if isinstance(document, dict | list):
        for item in document.values() if isinstance(document, dict) else document:
            yield from numbers_of(item)
    elif isinstance(document, int | float):
        yield float(document)


def test_no_exact_number_and_no_rare_category_is_left(document: Any) -> None:
    """Neither an income of one person, as listed number, end, edge or limit, nor an address, nor the suburb."""
    incomes = {row["income"] for row in people(1)}
    assert len(set(numbers_of(document)) & incomes) > 20
    text = json.dumps(redacted_baseline(document))
    assert not set(numbers_of(json.loads(text))) & incomes
    counts = Counter(row["mail"] for row in people(1))
    rare_mails = [mail for mail, count in counts.items() if count < MIN_COUNT]
    assert len(rare_mails) > 500
    assert [name for name in ("Hamlet", *rare_mails) if f'"{name}"' in text] == []
    assert all(name in text for name in ("Ulm", "Bonn", "Kiel"))


def test_the_range_holds_what_it_held_and_hardly_more(document: Any) -> None:
    """An end moves outward by as much as a few rows lie apart; a number that many rows share stays exact."""
    old, new = document["features"], redacted_baseline(document)["features"]
    for name in ("income", "age", "level"):
        assert new[name]["minimum"] <= old[name]["minimum"] <= old[name]["maximum"] <= new[name]["maximum"]
    assert (new["age"]["minimum"], new["age"]["maximum"]) == (18, 79)
    assert (new["level"]["minimum"], new["level"]["maximum"]) == (0.5, 10)
    assert new["income"]["maximum"] < 1.5 * old["income"]["maximum"]


def test_edges_stay_in_order_and_near_their_place(document: Any) -> None:
    """Each edge is the roundest number among a few rows, so healthy rows stay in their bins but for these."""
    incomes = np.sort([row["income"] for row in people(1)])
    old, new = (each["features"]["income"]["bins"]["edges"] for each in (document, redacted_baseline(document)))
    assert new == sorted(new)
    ranks = [np.searchsorted(incomes, edges) for edges in (old, new)]
    assert np.abs(ranks[0] - ranks[1]).max() <= 3 * MIN_COUNT
    edges = redacted_baseline(document)["features"]["level"]["bins"]["edges"]
    assert all(any(low < edge < high for low, high in ((0.5, 1.25), (1.25, 7))) for edge in edges)


def test_what_follows_is_judged_as_before(document: Any) -> None:
    """Windows of the same people have the same bins but for a few rows, and as many unseen categories as expected."""
    old, new = (from_document(Baseline, each) for each in (document, redacted_baseline(document)))
    columns = reference_columns(SCHEMA, people(1), [0.8] * COUNT, ["1"] * COUNT, salt="pinch")
    earlier_tally, now = (both_tallies(columns, LogFormat(SCHEMA), each, 0, 0)[0] for each in (old, new))
    for name, feature in earlier_tally.features.items():
        difference = np.abs(np.subtract(feature.bin_counts, now.features[name].bin_counts)).sum()
        assert difference <= 4 * MIN_COUNT * 8
        healthy = np.abs(np.subtract(new.features[name].bin_counts, now.features[name].bin_counts)).sum()
        assert healthy <= 4 * MIN_COUNT * 8
    mail = new.features["mail"]
    assert now.features["mail"].unseen_count / COUNT == pytest.approx(mail.expected_unseen_rate, abs=0.001)
    assert earlier_tally.features["mail"].unseen_count == 0


def test_the_tables_move_with_the_bins() -> None:
    """A rare category with a bin of its own counts in the bin of rare ones, in the joint table and by label alike."""
    town = FeatureBaseline(
        FeatureType.CATEGORY,
        12,
        0,
        category_counts={"Ulm": 10, "Hamlet": 2},
        bins=Bins(categories=("Hamlet", "Ulm")),
        bin_counts=(2, 10, 0, 0, 0),
    )
    size = FeatureBaseline(FeatureType.NUMERIC, 12, 0, 1, 9, bins=Bins((5.0,), -3, 13), bin_counts=(7, 5, 0, 0, 0))
    table = np.zeros((10, 10), dtype=int)
    for bins, count in (((0, 5), 2), ((1, 5), 5), ((1, 6), 5)):
        for cell in ((bins[0], bins[0]), (bins[1], bins[1]), bins):
            table[cell] += count
    joint = Joint(("town", "size"), tuple(tuple(table[row, row:].tolist()) for row in range(10)), (0.1, 0.1))
    label = LabelProfile(1.0, 0.1, {"town": (0.2, 0.8, 0.0, 0.0, 0.0), "size": (0.6, 0.4, 0.0, 0.0, 0.0)}, {})
    harm = PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.2, {}, truths=(label,))
    new = from_document(Baseline, redacted_baseline(older_of({"town": town, "size": size}, joint=joint, harm=harm)))
    assert new.features["town"].bin_counts == (0, 10, 2, 0, 0)
    assert new.joint is not None
    assert new.harm is not None
    expected = table.copy()
    expected[2, 2], expected[2, 5], expected[0, 0], expected[0, 5] = 2, 2, 0, 0
    assert new.joint.counts == tuple(tuple(expected[row, row:].tolist()) for row in range(10))
    assert new.harm.truths[0].features == {"town": (0.0, 0.8, 0.2, 0.0, 0.0), "size": label.features["size"]}


def test_a_document_with_a_threshold_stays(document: Any) -> None:
    """Also one with a threshold of 1, which its owner chose; and redaction is done once."""
    new_document = redacted_baseline(document)
    assert redacted_baseline(new_document) is new_document
    own_choice = {**document, "min_count": 1}
    assert redacted_baseline(own_choice) is own_choice
    assert [is_of_older_release(each) for each in (document, new_document, None, ())] == [True, False, False, False]


def test_the_columns_copy_the_document(document: Any) -> None:
    """They are those that a baseline of that document is stored with, which a replay compares."""
    new_document = redacted_baseline(document)
    expected = all_columns(from_document(Baseline, new_document))
    assert {name: expected[name] for name in ("feature_ranges", "category_frequencies")} == baseline_columns(
        new_document
    )


def test_few_values_leave_no_range() -> None:
    """The range of three values is that of three persons; missing values and outputs without numbers stay."""
    few = FeatureBaseline(
        FeatureType.NUMERIC, 3, 97, 1.25, 7.75, bins=Bins((2.5,), -2.0, 11.0), bin_counts=(1, 2, 0, 0, 97)
    )
    hidden_feature = FeatureBaseline(None, 50, 50)
    old = older_of({"few": few, "hidden": hidden_feature})
    new = redacted_baseline(old)["features"]
    assert (new["few"]["minimum"], new["few"]["maximum"]) == (None, None)
    assert not {1.25, 2.5, 7.75} & set(numbers_of(new["few"]))
    assert new["hidden"] == old["features"]["hidden"]


def older_of(features: dict[str, FeatureBaseline], **fields: Any) -> Any:
    """An older document with given features."""
    columns = reference_columns(SCHEMA, people(2, 60), [0.8] * 60, ["1"] * 60, salt="pinch")
    baseline = reference_baseline(columns, SCHEMA, model_version="1", at=START)
    document = to_document(replace(baseline, features=features, **{"joint": None, **fields}))
    del document["min_count"]
    return document


def test_a_constant_and_codes_stay_what_many_share() -> None:
    """A number that all rows have is no single row's; of codes the rare one goes."""
    constant = FeatureBaseline(
        FeatureType.NUMERIC, 90, 0, 3.75, 3.75, bins=Bins((), 1.9, 5.6), bin_counts=(90, 0, 0, 0)
    )
    codes = FeatureBaseline(
        FeatureType.INTEGER,
        93,
        0,
        1,
        77,
        category_counts={"1": 50, "2": 40, "77": 3},
        bins=Bins(categories=("1", "2", "77")),
        bin_counts=(50, 40, 3, 0, 0, 0),
    )
    new = redacted_baseline(older_of({"constant": constant, "codes": codes}))["features"]
    assert (new["constant"]["minimum"], new["constant"]["maximum"]) == (3.75, 3.75)
    assert (new["codes"]["minimum"], new["codes"]["maximum"], new["codes"]["unlisted_count"]) == (1, 2, 3)
    assert new["codes"]["bin_counts"] == [50, 40, 0, 3, 0, 0]


def test_predictions_of_a_regressor_go_and_classes_stay() -> None:
    """As in new baselines."""
    assert redacted_baseline(older_of({}, prediction_counts={"yes": 1, "no": 59}))["prediction_counts"] == {
        "yes": 1,
        "no": 59,
    }
    assert redacted_baseline(older_of({}, prediction_counts={"1.5": 1, "2.5": 59}))["prediction_counts"] == {"2.5": 59}


def test_a_window_loses_single_examples() -> None:
    """Of unseen categories and the commonest number, what enough values share; all counts stay."""
    rare = FeatureTally(9, unseen_count=9, unseen_examples={"a": 6, "b": 3}, commonest=(7432.0, 1))
    common = FeatureTally(9, commonest=(0.0, 9))
    tally = Tally(9, features={"rare": rare, "common": common}, prediction_counts={"1.5": 2})
    document = to_document(Window(START, START, "1", tally, tally))
    del document["min_count"]
    window = from_document(Window, redacted_window(document))
    assert (window.min_count, window.fresh) == (MIN_COUNT, window.total)
    features = window.total.features
    assert features["rare"] == replace(rare, unseen_examples={"a": 6}, commonest=None)
    assert (features["common"], window.total.prediction_counts) == (common, {})
    assert redacted_window(redacted_window(document)) == redacted_window(document)
