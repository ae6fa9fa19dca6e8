"""A service folder appears complete or not at all, and replacing a service loses neither log nor settings."""

import sqlite3
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from stillsafe import service, settings
from stillsafe.core.schema import Row
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import write
from tests.init.services import SERVICE_FILES, folder_of, people, predictions_of, run_init, save_model, write_sample
from tests.init.test_write import text_of

PERSON: Row = {"age": 30.0, "visits": 3}
TABLE = people()[["age", "visits"]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return save_model(LogisticRegression().fit(TABLE, TABLE["age"] > 50), folder), write_sample(TABLE, folder)


def test_a_new_folder_appears_with_its_parents(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """It has the settings, the model, the reference and the rule lists, and no temporary files remain beside it."""
    run_init(*inputs, tmp_path / "a" / "b" / "out")
    assert folder_of(tmp_path / "a" / "b" / "out") == SERVICE_FILES
    assert folder_of(tmp_path / "a" / "b") == {"out"}


def test_an_empty_folder_is_filled_in_place(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stays the same one, so that `--out .` works where one stands, and a mounted volume does."""
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    run_init(*inputs, Path("."))
    assert folder_of(tmp_path) == SERVICE_FILES
    assert tmp_path.stat().st_ino == inode
    assert settings.load("stillsafe.toml").service.name == tmp_path.name


@pytest.mark.parametrize("force", [False, True])
def test_other_files_are_never_overwritten(inputs: tuple[Path, Path], force: bool, tmp_path: Path) -> None:
    """A folder that is not a service folder, and a file, are refused."""
    (tmp_path / "photo").write_bytes(b"me")
    for out in (tmp_path, tmp_path / "photo", tmp_path / "photo" / "out"):
        with pytest.raises(ConfigurationError, match=r"with --out"):
            run_init(*inputs, out, force=force)
    assert folder_of(tmp_path) == {"photo"}


def test_a_service_is_replaced_only_by_force(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Without --force an existing service is refused and stays as it is."""
    run_init(*inputs, tmp_path / "out")
    settings_text = (tmp_path / "out" / "stillsafe.toml").read_text()
    with pytest.raises(ConfigurationError, match=r"a service folder already\. .*--force"):
        run_init(*inputs, tmp_path / "out", name="other")
    assert (tmp_path / "out" / "stillsafe.toml").read_text() == settings_text


def count(folder: Path) -> int:
    connection = sqlite3.connect(folder / "stillsafe.db")
    (row_count,) = connection.execute("SELECT count(*) FROM prediction_logs").fetchone()
    connection.close()
    return int(row_count)


def test_force_never_loses_the_log(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Recorded predictions stay in the same database file, and the new version has a baseline at once."""
    out = tmp_path / "out"
    first = run_init(*inputs, out, salt="first")
    predictions_of(out, *[PERSON] * 5)
    (out / "rules.py").write_text("mine")
    old, inode = (out / "stillsafe.toml").read_text(), (out / "stillsafe.db").stat().st_ino
    second = run_init(*inputs, out, salt="second", force=True)
    assert count(out) == 5
    assert (out / "stillsafe.db").stat().st_ino == inode
    assert (out / "stillsafe-1.toml").read_text() == old
    assert (out / "rules.py").read_text() == "mine"
    assert second.version == f"{first.version}-2"
    assert settings.load(out / "stillsafe.toml").service.hash_salt == "first"
    assert any("stillsafe-1.toml" in warning for warning in second.warnings)
    assert predictions_of(out, PERSON)[0]["watched"]
    assert count(out) == 6
    assert settings.load(out / "stillsafe-1.toml").model.file == "model.skops"
    service.create_app(out / "stillsafe-1.toml")
    third = run_init(*inputs, out, force=True)
    assert third.version == f"{first.version}-3"
    assert {"stillsafe-2.toml", "model-3.skops", "reference-3.json"} < folder_of(out)


def test_force_keeps_the_address_of_the_log(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A log at another address stays there."""
    out = tmp_path / "out"
    run_init(*inputs, out)
    file = out / "stillsafe.toml"
    file.write_text(file.read_text().replace("sqlite:///stillsafe.db", "sqlite:///elsewhere.db"))
    run_init(*inputs, out, force=True)
    assert settings.load(file).service.database == "sqlite:///elsewhere.db"


def test_a_used_version_is_refused(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A version's baseline is frozen, so a new sample needs a new version."""
    run_init(*inputs, tmp_path / "out", version="v1")
    run_init(*inputs, tmp_path / "out", version="v2", force=True)
    for version in ("v1", "v2"):
        with pytest.raises(ConfigurationError, match=r"has been used .* Name a new one with --version"):
            run_init(*inputs, tmp_path / "out", version=version, force=True)


def test_force_replaces_invalid_settings(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Settings that do not parse are replaced too, and a copy is kept."""
    out = tmp_path / "out"
    run_init(*inputs, out)
    (out / "stillsafe.toml").write_text("not = = toml")
    run_init(*inputs, out, force=True)
    assert (out / "stillsafe-1.toml").read_text() == "not = = toml"
    assert predictions_of(out, PERSON)[0]["decided_by"] == "model"


def test_nothing_is_half_written(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A failure at any stage leaves no folder, parents or temporary files, and an existing service unchanged."""
    out = tmp_path / "deep" / "out"

    def fail(activity: str, _share: float | None) -> None:
        if activity == "Making the reference baseline":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_init(*inputs, out, progress=fail)
    assert folder_of(tmp_path) == set()
    run_init(*inputs, out)
    file_names = folder_of(out)
    with pytest.raises(KeyboardInterrupt):
        run_init(*inputs, out, force=True, progress=fail)
    assert folder_of(out) == file_names


def test_a_folder_that_does_not_load_is_never_put_in_place(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new files are loaded as the service would load them, and removed if that fails."""
    other_settings = text_of()
    monkeypatch.setattr(write, "settings_text", lambda **_parts: other_settings)
    with pytest.raises(ModelError):
        run_init(*inputs, tmp_path / "deep" / "out")
    assert folder_of(tmp_path) == set()


@pytest.mark.parametrize("place", ["/proc/out", "/proc/1/fd/deep/out", "n" * 300, "x\0y"])
def test_places_that_cannot_be_written(place: str, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """They are refused with a remedy."""
    with pytest.raises(ConfigurationError, match=r"cannot be written: .*\. Name another place with --out\."):
        run_init(*inputs, tmp_path / place)
    assert folder_of(tmp_path) == set()
