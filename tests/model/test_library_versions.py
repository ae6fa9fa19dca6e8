"""The versions of a model's libraries: in its file, in this Python, and what differs."""

from importlib import import_module
from pathlib import Path

import catboost
import lightgbm
import pytest
import sklearn
import skops.io
import xgboost
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from stillsafe.errors import ModelError
from stillsafe.model import library_versions
from stillsafe.model.artifact import parse_estimator
from stillsafe.model.boosters.adoption import adopt
from stillsafe.model.library_versions import running_versions, versions_in_file
from tests.model.boosters.tables import binary, cat, extreme, homes, light, numbers
from tests.model.versions import OTHER_VERSION, content_of
from tests.serving.services import fitted_pipeline, sample

FORMS = ("skops", "joblib", "zlib", "gzip", "bz2", "xz", "lzma", "pickle-2", "pickle-3", "pickle-4", "pickle-5")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(3, random_state=0)])
def test_the_version_of_a_file_is_read_from_its_bytes(form: str, last: object) -> None:
    """In whatever form a model is saved, its file names the version of scikit-learn that saved it."""
    estimator = fitted_pipeline(last)
    assert versions_in_file(content_of(estimator, form)) == {"scikit-learn": OTHER_VERSION}
    assert versions_in_file(content_of(estimator, form, "1.6.dev0")) == {"scikit-learn": "1.6.dev0"}
    assert versions_in_file(content_of(estimator, form, None)) == {"scikit-learn": sklearn.__version__}


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04 damaged", b"\x78\x9c damaged", b"BZ", b"plain", b"\x1f\x8b"]
)
def test_a_file_without_a_version_has_none(content: bytes) -> None:
    """A damaged file, or one of another kind, is no error here: loading it explains what is wrong."""
    assert versions_in_file(content) == {}


def test_a_conversion_keeps_the_origin() -> None:
    """A converted file names the versions of the original, and skops reads it as before."""
    content = library_versions.with_origin(content_of(fitted_pipeline(), "skops", None), {"scikit-learn": "1.4.2"})
    assert versions_in_file(content) == {"scikit-learn": "1.4.2"}
    estimator = parse_estimator(content, Path("model.skops"), kind="skops", trusted=False, trusted_types=())
    assert list(estimator.predict(sample()[:9])) == list(fitted_pipeline().predict(sample()[:9]))
    assert library_versions.with_origin(b"unchanged", {}) == b"unchanged"


def test_the_libraries_of_a_model() -> None:
    """Every package from which a part comes has its version here; own modules and Python's library have none."""
    versions = running_versions(fitted_pipeline())
    assert versions["scikit-learn"] == sklearn.__version__
    assert {"numpy", "scikit-learn"} <= set(versions) <= {"numpy", "pandas", "scikit-learn", "scipy"}
    sparse_machine = SVC().fit(sample()[["age"]].to_numpy(), sample()["member"])
    assert "scikit-learn" in running_versions(sparse_machine)
    assert library_versions.running_version("no-such-distribution") is None


BOOSTERS = {"lightgbm": (light(), lightgbm), "xgboost": (extreme(), xgboost), "catboost": (cat(), catboost)}


@pytest.mark.parametrize("name", sorted(BOOSTERS))
def test_the_library_of_a_booster(name: str) -> None:
    """An adapter has the version of its booster's library, whichever distribution that came in."""
    estimator, library = BOOSTERS[name]
    versions = running_versions(adopt(estimator.fit(numbers(homes()), binary(homes()))))
    assert versions[name] == library.__version__


def test_one_sentence_has_both_versions_and_the_remedy() -> None:
    """Equal versions give no sentence; a library that is missing here counts as different."""
    assert library_versions.origin_sentence({"scikit-learn": sklearn.__version__}) is None
    assert library_versions.origin_sentence({}) is None
    sentence = library_versions.origin_sentence({"scikit-learn": OTHER_VERSION, "no-such-distribution": "3"})
    assert sentence is not None
    for words in (
        f"scikit-learn {OTHER_VERSION} (here {sklearn.__version__})",
        f"scikit-learn=={OTHER_VERSION}",
        "here none",
    ):
        assert words in sentence


@pytest.mark.parametrize("form", ["skops", "joblib", "gzip"])
def test_loading_warns_about_no_version(form: str) -> None:
    """scikit-learn's warning for each estimator is suppressed: tests turn every warning into an error."""
    content = content_of(fitted_pipeline(), form)
    kind = "skops" if form == "skops" else "joblib"
    estimator = parse_estimator(content, Path("model"), kind=kind, trusted=True, trusted_types=())
    assert estimator.predict(sample()[:1])[0] in ("yes", "no")


@pytest.mark.parametrize("form", ["joblib", "xz", "pickle-2", "skops"])
def test_a_file_that_does_not_load_here_is_explained_by_its_version(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of scikit-learn that this version lacks: the sentence has both versions and the remedy."""
    content = content_of(GradientBoostingRegressor(n_estimators=2).fit([[0.0], [1.0]], [0.0, 1.0]), form)
    monkeypatch.delattr("sklearn.ensemble._gb.GradientBoostingRegressor")
    kind = "skops" if form == "skops" else "joblib"
    with pytest.raises(ModelError) as failure:
        parse_estimator(content, Path("model"), kind=kind, trusted=True, trusted_types=("sklearn.ensemble._gb",))
    if form != "skops":  # skops finds an absent class to be an untrusted type before it loads anything
        assert f"saved with scikit-learn {OTHER_VERSION} (here {sklearn.__version__})" in failure.value.problem
        assert f"scikit-learn=={OTHER_VERSION}" in failure.value.remedy


def test_an_own_module_is_not_explained_by_a_version(tmp_path: Path) -> None:
    """A class of another package has nothing to do with the version of scikit-learn."""
    content = content_of(fitted_pipeline(), "pickle-2").replace(b"sklearn.pipeline", b"own_sk.features")
    with pytest.raises(ModelError, match="Python does not find that module here"):
        parse_estimator(content, tmp_path / "m.joblib", kind="joblib", trusted=True, trusted_types=())


def test_skops_files_of_this_version_are_unchanged_by_the_scan() -> None:
    """Reading versions does not consume or change the content."""
    content = bytes(skops.io.dumps(fitted_pipeline()))
    copy = bytes(content)
    versions_in_file(content)
    assert content == copy


def test_a_package_may_be_named_otherwise_than_its_distribution() -> None:
    """The distribution that installed a package has its version; the owner's own modules have none."""
    for package, name in (("dateutil", "python-dateutil"), ("yaml", "PyYAML")):
        part = type("Part", (), {"__module__": f"{import_module(package).__name__}.parts", "transform": None})()
        assert running_versions(part).get(name) == library_versions.running_version(name) is not None
    own = type("Part", (), {"__module__": "tests.model.own", "transform": None})()
    assert set(running_versions(own)) == {"numpy"}
