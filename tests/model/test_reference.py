"""The reference file keeps what `init` measured; an invalid section is absent, not an obstacle."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode
from stillsafe.errors import ModelError
from stillsafe.model.compiled.predictors import EquivalenceCheck
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.reference import FORMAT, NO_REFERENCE, ModelFacts, Reference, read_baseline, read_reference

TOWN = FeatureSpec("town", FeatureType.CATEGORY)
BASELINE = Baseline(
    "reference-1",
    "1",
    datetime(2026, 1, 1, tzinfo=UTC),
    BaselineSource.REFERENCE,
    300,
    300,
    0.9,
    0.1,
    0.7,
    0.1,
    features={"town": FeatureBaseline(FeatureType.CATEGORY, 300, 0, category_counts={"Ulm": 200, "Bonn": 100})},
)
REFERENCE = Reference(
    BASELINE,
    ConfidenceScale(ConfidenceMethod.MARGIN_RANK, (0.0, 0.5, 1.0)),
    ModelFacts("classifier", ("no", "yes"), "1.7", "0" * 64, EquivalenceCheck(300, 90, 0.0)),
)


def write_file(folder: Path, text: str) -> Path:
    (folder / "reference.json").write_text(text, encoding="utf-8")
    return folder / "reference.json"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Every section survives the file, and the keys of the file are part of its format."""
    path = write_file(tmp_path, REFERENCE.to_json())
    assert read_reference(path) == REFERENCE
    assert read_baseline(path) == BASELINE
    document = json.loads(path.read_text())
    assert document["confidence"] == {"method": "margin_rank", "of_answer": False, "quantiles": [0.0, 0.5, 1.0]}
    assert document["model"] == {
        "kind": "classifier",
        "classes": ["no", "yes"],
        "sklearn_version": "1.7",
        "sha256": "0" * 64,
        "compiled": {"row_count": 300, "split_count": 90, "largest_difference": 0.0},
        "library_versions": {},
        "origin_versions": {},
    }


def test_a_missing_file_is_an_empty_reference(tmp_path: Path) -> None:
    """Loading a model with probabilities needs no reference; reading a baseline does."""
    assert read_reference(tmp_path / "reference.json") == NO_REFERENCE
    with pytest.raises(ModelError, match="There is no reference baseline"):
        read_baseline(tmp_path / "reference.json")


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '{"baseline": {}}', '{"baseline": 1, "confidence": {"method": "?"}, "model": []}']
)
def test_invalid_sections_are_absent(text: str, tmp_path: Path) -> None:
    """A damaged section costs only itself, and the baseline is missed where it is needed."""
    path = write_file(tmp_path, text)
    assert replace(read_reference(path), format=NO_REFERENCE.format) == NO_REFERENCE
    with pytest.raises(ModelError, match="no valid reference baseline") as failure:
        read_baseline(path)
    assert "stillsafe init" in failure.value.remedy


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    """The error names the file and the remedy."""
    path = write_file(tmp_path, "{")
    with pytest.raises(ModelError, match="not a reference file") as failure:
        read_reference(path)
    assert failure.value.file == str(path)


def test_a_profile_has_values_only_if_the_log_keeps_them() -> None:
    """The profile of a hashed or dropped feature counts hashes, so it is not used as a source of values."""
    assert REFERENCE.profile(TOWN) == BASELINE.features["town"]
    assert REFERENCE.profile(replace(TOWN, log=LogMode.HASH)) is None
    assert REFERENCE.profile(replace(TOWN, name="street")) is None
    assert NO_REFERENCE.profile(TOWN) is None


def test_the_format_has_a_number(tmp_path: Path) -> None:
    """A file without one is of the first format and read as it is; one of a newer version is refused."""
    assert json.loads(REFERENCE.to_json())["format"] == FORMAT
    document = json.loads(REFERENCE.to_json())
    del document["format"]
    assert read_reference(write_file(tmp_path, json.dumps(document))) == replace(REFERENCE, format=1)
    path = write_file(tmp_path, json.dumps(document | {"format": FORMAT + 1}))
    with pytest.raises(ModelError, match="reads formats up to"):
        read_reference(path)
