"""The format of the log: a baseline and a log that hide different things are compared by what both show."""

from dataclasses import replace
from random import Random

import pytest

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Row, Schema, sanitise
from stillsafe.core.signals import Evidence, Reading
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.window_tally import both_tallies
from tests.core.healthy import START
from tests.monitoring.related import by_key

PLAIN = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("rent", FeatureType.NUMERIC, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("postcode", FeatureType.CATEGORY, required=False),
    )
)


def hiding(mode: LogMode, *names: str) -> LogFormat:
    """The format in which some features are hidden."""
    return LogFormat(
        Schema(tuple(replace(spec, log=mode) if spec.name in names else spec for spec in PLAIN.features)), "salt"
    )


def rows(count: int, seed: int) -> list[Row]:
    """Requests whose features go with one another."""
    random, requests = Random(seed), []
    for _ in range(count):
        town = random.choice("ABCD")
        size = random.gauss(50, 8) + 10 * "ABCD".index(town)
        postcode = f"{town}{random.randint(1, 3)}"
        row: Row = {"size": size, "rent": 9 * size + random.gauss(0, 20), "town": town, "postcode": postcode}
        requests.append(row)
    return requests


def log_columns(log_format: LogFormat, requests: list[Row]) -> Columns:
    """Requests as the log holds them, answered alike."""
    random = Random(5)
    confidences = [random.gauss(0.85, 0.03) for _ in requests]
    return reference_columns(log_format.schema, requests, confidences, ["1"] * len(requests), salt=log_format.salt)


def readings(baseline_format: LogFormat, log_format: LogFormat, requests: list[Row]) -> dict[str, Reading]:
    """The readings of a window in one format against a baseline in another."""
    healthy = log_columns(baseline_format, rows(3_000, 1))
    baseline = reference_baseline(healthy, baseline_format.schema, model_version="1", at=START)
    total, _ = both_tallies(log_columns(log_format, requests), log_format, baseline, 0, 0)
    return by_key(baseline, total)


FORMATS = [
    LogFormat(PLAIN, "salt"),
    hiding(LogMode.HASH, "postcode"),
    hiding(LogMode.HASH, "town", "postcode"),
    hiding(LogMode.HASH, "size"),
    hiding(LogMode.HASH, "size", "rent", "town", "postcode"),
    hiding(LogMode.DROP, "postcode"),
    hiding(LogMode.DROP, "size", "town"),
]


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("baseline_format", FORMATS[:3])
def test_healthy_traffic_is_healthy_in_every_format(baseline_format: LogFormat, log_format: LogFormat) -> None:
    """Whatever the owner hides, before or after the baseline was made."""
    results = readings(baseline_format, log_format, rows(600, 2))
    assert [key for key, reading in results.items() if reading.evidence is Evidence.BAD] == []
    assert results["missing_rate:rent"].evidence is Evidence.OK


@pytest.mark.parametrize("baseline_format", FORMATS[:2])
def test_a_hashed_category_is_compared_as_a_category(baseline_format: LogFormat) -> None:
    """Unseen ones, missing ones and wrong rows are found behind the hash, as they are without it."""
    log_format, requests = hiding(LogMode.HASH, "postcode"), rows(600, 3)
    unseen = readings(baseline_format, log_format, [{**row, "postcode": "Z9"} for row in requests])
    assert unseen["unseen_category_rate:postcode"].value == 1
    missing = readings(baseline_format, log_format, [{**row, "postcode": None} for row in requests])
    assert missing["missing_rate:postcode"].value == 1
    others = rows(600, 4)
    wrong_rows = [{**row, "postcode": other["postcode"]} for row, other in zip(requests, others, strict=True)]
    relation = readings(baseline_format, log_format, wrong_rows)["broken_relation_rate:postcode"]
    assert relation.evidence is Evidence.BAD
    assert relation.value == pytest.approx(1, abs=0.15)


def test_what_remains_keeps_its_relations() -> None:
    """A dropped feature, and a hashed number, leave the relations of the others as they were."""
    requests, others = rows(600, 6), rows(600, 7)
    wrong_rows = [{**row, "rent": other["rent"]} for row, other in zip(requests, others, strict=True)]
    for log_format in (hiding(LogMode.DROP, "postcode"), hiding(LogMode.HASH, "size")):
        results = readings(FORMATS[0], log_format, wrong_rows)
        assert results["broken_relation_rate:rent"].evidence is Evidence.BAD
        signals = {key.partition(":")[0] for key, each in results.items() if _is_hidden(log_format, each)}
        assert signals <= {"missing_rate"}


def _is_hidden(log_format: LogFormat, reading: Reading) -> bool:
    specs = [spec for spec in log_format.schema.features if spec.log is not LogMode.KEEP]
    return reading.feature == specs[0].name and reading.evidence is not Evidence.INSUFFICIENT


def test_rows_of_both_formats_are_one_window() -> None:
    """Rows from before and after the owner's change count alike, and equal categories become one."""
    hash_format, plain = hiding(LogMode.HASH, "town"), LogFormat(PLAIN, "salt")
    baseline = reference_baseline(log_columns(plain, rows(400, 8)), PLAIN, model_version="1", at=START)
    requests = rows(40, 9)
    snapshots = [*sanitise(plain.schema, requests[:20], "salt"), *sanitise(hash_format.schema, requests[20:], "salt")]
    columns = reference_columns(PLAIN, snapshots, [0.8] * 40, ["1"] * 40, salt="")
    towns = hash_format.comparable_columns(columns, baseline).categories["town"]
    assert towns.tolist() == [row["town"] for row in requests]
    assert len(set(towns.vocabulary)) == len(towns.vocabulary)


def test_another_salt_is_another_value() -> None:
    """Hashes with another salt than the log's are categories that nobody has seen."""
    other = replace(hiding(LogMode.HASH, "postcode"), salt="other")
    healthy = reference_baseline(log_columns(LogFormat(PLAIN), rows(400, 8)), PLAIN, model_version="1", at=START)
    columns = log_columns(hiding(LogMode.HASH, "postcode"), rows(50, 10))
    total, _ = both_tallies(columns, other, healthy, 0, 0)
    assert total.features["postcode"].unseen_count == 50
