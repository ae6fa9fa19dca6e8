"""The reference file of a new service has the versions of the model's libraries and its answers."""

import json
from pathlib import Path

import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

from stillsafe import settings
from stillsafe.init.reference_file import model_facts, reference_content
from stillsafe.model.load import load_model
from stillsafe.model.reference import read_reference
from tests.init.services import init_service, people, run_init, write_sample
from tests.model.versions import OTHER_VERSION, save_elsewhere


@pytest.mark.parametrize("form", ["joblib", "skops"])
def test_the_origin_survives_a_conversion(tmp_path: Path, form: str) -> None:
    """`init` says with both versions that the file is of another one, and the folder keeps the origin, twice over."""
    table = people()
    estimator = LogisticRegression().fit(table[["age"]], table["stays"])
    model = save_elsewhere(estimator, tmp_path / f"given.{form}")
    sample = write_sample(table[["age", "stays"]], tmp_path)
    created_service = run_init(model, sample, tmp_path / "one", label="stays", trust_joblib=True)
    sentences = [each for each in created_service.warnings if "saved with scikit-learn" in each]
    assert len(sentences) == 1
    for words in (f"{OTHER_VERSION} (here {sklearn.__version__})", f"scikit-learn=={OTHER_VERSION}"):
        assert words in sentences[0]
    again = run_init(created_service.folder / "model.skops", sample, tmp_path / "two", label="stays")
    for folder in (created_service.folder, again.folder):
        facts = read_reference(folder / "reference.json").model
        assert facts is not None
        assert facts.origin_versions == {"scikit-learn": OTHER_VERSION}
        assert facts.library_versions["scikit-learn"] == sklearn.__version__


def test_a_file_of_this_version_is_no_warning(tmp_path: Path) -> None:
    """Equal versions are not worth a sentence."""
    table = people()
    created_service = init_service(LogisticRegression().fit(table[["age"]], table["stays"]), table[["age"]], tmp_path)
    assert not any("saved with" in each for each in created_service.warnings)


def test_the_content_depends_on_nothing_else(made_service: Path) -> None:
    """The same model and baseline give the same bytes; a file without facts stays without them."""
    service_settings = settings.load(made_service / "stillsafe.toml")
    model, reference = load_model(service_settings), read_reference(made_service / "reference.json")
    assert reference.baseline is not None
    content = reference_content(model, reference.baseline, reference.model)
    assert content == (made_service / "reference.json").read_bytes()
    document = json.loads(reference_content(model, reference.baseline, None))
    assert (document["model"], len(document["probes"]["rows"])) == (None, 60)
    assert reference.model is not None
    assert model_facts(model, "0" * 64, {"scikit-learn": "1"}).origin_versions == {"scikit-learn": "1"}
