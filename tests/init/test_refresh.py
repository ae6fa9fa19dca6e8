"""`init --refresh` adds what an older folder lacks, and keeps everything that its owner wrote."""

import json
import shutil
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stillsafe import service, settings
from stillsafe.errors import ConfigurationError
from stillsafe.init.refresh import RefreshedService, RefreshRequest, refresh_service
from stillsafe.model.reference import FORMAT, read_reference
from stillsafe.monitoring.baseline import adopt_reference
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline

KEPT_FOLDER = Path(__file__).parent.parent / "kept" / "loan"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def people(count: int = 1_500, *, timestamps: bool = True) -> pd.DataFrame:
    """Customers as those of the kept service, three of them from a rare country."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 80, count),
            "income": random.lognormal(10, 0.5, count).round(2),
            "ratio": random.beta(2, 3, count).round(3),
            "country": random.choice(["de", "fr", "it", "es"], count, p=[0.4, 0.3, 0.2, 0.1]),
            "channel": random.choice(["web", "shop"], count),
        }
    )
    table.loc[:2, "country"] = "Rareland"
    table["granted"] = (table["ratio"] > 0.38).astype(int)
    times = pd.date_range("2026-02-01", periods=count, freq="17min", tz="UTC")
    return table.assign(timestamp=times) if timestamps else table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of an older release."""
    return Path(shutil.copytree(KEPT_FOLDER, tmp_path / "loan"))


def refresh(folder: Path, table: pd.DataFrame) -> RefreshedService:
    """Refresh the service of a folder with a sample."""
    sample = folder.parent / "sample.parquet"
    table.to_parquet(sample)
    return refresh_service(RefreshRequest(folder / "stillsafe.toml", sample, NOW, "granted"))


def test_an_older_folder_becomes_complete(folder: Path) -> None:
    """The new file has hours, errors and the threshold; the settings have zone, threshold and prices."""
    result = refresh(folder, people())
    new_settings = settings.load(folder / "stillsafe.toml")
    reference = read_reference(new_settings.path(new_settings.model.reference))
    assert reference.format == FORMAT
    assert reference.baseline == result.baseline
    assert result.baseline.baseline_id == "reference-49b4989a-20260501T000000Z"
    assert result.baseline.slots is not None
    assert result.baseline.harm is not None
    assert any(impact.permuted_error for impact in result.baseline.harm.features.values())
    assert "Rareland" not in result.reference.read_text()
    assert {section: set(values) for section, values in result.additions.items()} == {
        "service": {"timezone"},
        "privacy": {"min_count"},
        "fallback": {"model_score", "default_score", "default_error", "lists_file"},
    }
    assert new_settings.fallback.model_score is not None
    assert new_settings.fallback.lists


def test_every_line_of_the_owner_stays(folder: Path) -> None:
    """Edited limits, comments and rules; only the name of the reference changes, and nothing is overwritten."""
    config = folder / "stillsafe.toml"
    text = config.read_text().replace("# critical_runs = 3", "critical_runs = 4", 1) + "# my last word\n"
    config.write_text(text)
    old_files = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = refresh(folder, people())
    assert result.previous_settings.read_text() == text
    lines, new_lines = text.splitlines(), config.read_text().splitlines()
    assert [line for line in lines if line not in new_lines] == [
        next(line for line in lines if line.startswith("reference = "))
    ]
    old, new = tomllib.loads(text), tomllib.loads(config.read_text())
    assert {**new["fallback"], **old["fallback"]} == new["fallback"]
    assert (new["policy"], new["features"], new["monitor"]) == (old["policy"], old["features"], old["monitor"])
    new_files = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed_names = [name for name in old_files if name != config.name and new_files[name] != old_files[name]]
    assert changed_names == ["reference.json"]


def test_the_previous_reference_loses_what_few_values_share(folder: Path) -> None:
    """It stays in the folder, and is read as before: the service can go back to it, and it shows no single income."""
    old = read_reference(folder / "reference.json")
    assert old.shows_rare_values
    result = refresh(folder, people())
    new = read_reference(folder / "reference.json")
    assert (new.shows_rare_values, new.baseline, new.model) == (False, old.baseline, old.model)
    assert any("were removed from reference.json" in warning for warning in result.warnings)
    assert "114143" not in (folder / "reference.json").read_text()


def test_own_rules_keep_the_unconditional_bypass(folder: Path) -> None:
    """Without a price of their own they bypass at each CRITICAL, as before, and that is said; without rules not."""
    result = refresh(folder, people())
    assert settings.load(folder / "stillsafe.toml").fallback.bypass == "always"
    assert any("Your own rules" in warning for warning in result.warnings)


def test_a_folder_without_rules_gets_a_priced_bypass(folder: Path) -> None:
    """The lists that are learnt have prices, so the bypass asks whether it pays."""
    config = folder / "stillsafe.toml"
    text = config.read_text()
    start, end = text.index("[[fallback.rules]]"), text.index("[[features]]")
    config.write_text(text[:start] + text[end:])
    refresh(folder, people())
    assert settings.load(config).fallback.bypass == "when_it_pays"


def test_prices_of_an_earlier_release_get_their_errors(folder: Path) -> None:
    """Each price has one afterwards, those of the owner's own list too; every other line of both files stays."""
    config = folder / "stillsafe.toml"
    text = config.read_text()
    config.write_text(text[: text.index("[[fallback.rules]]")] + text[text.index("[[features]]") :])
    refresh(folder, people())
    first = settings.load(config).fallback
    assert first.lists_file is not None
    lists_file = folder / first.lists_file
    for file in (lists_file, config):
        lines = [line for line in file.read_text().splitlines() if not line.startswith(("error =", "default_error ="))]
        file.write_text("\n".join(lines) + "\n")
    own_list = (
        '[[fallback.lists]]\nreads = ["country"]\nscore = 0.5\nrules = [{when = "country == \'de\'", answer = 1}]\n'
    )
    config.write_text(f"{config.read_text()}\n{own_list}")
    old_lists, old_text = lists_file.read_text(), config.read_text()
    result = refresh(folder, people())
    prices = settings.load(config).fallback
    assert prices.lists_file is not None
    assert [(each.reads, each.score, each.rules) for each in prices.lists[:-1]] == [
        (each.reads, each.score, each.rules) for each in first.lists
    ]
    errors = [each.error for each in prices.lists]
    assert None not in errors
    assert (prices.default_error, errors[:-1]) == (first.default_error, [each.error for each in first.lists])
    assert set(old_lists.splitlines()) <= set((folder / prices.lists_file).read_text().splitlines())
    missing_lines = [line for line in old_text.splitlines() if line not in config.read_text().splitlines()]
    assert [line.split(" =")[0] for line in missing_lines] == ["reference", "lists_file"]
    assert any("had no error" in warning for warning in result.warnings)
    assert refresh(folder, people()).additions == {}


def test_a_second_refresh_adds_nothing_to_the_settings(folder: Path) -> None:
    """Everything is there; it writes a further reference with a name of its own."""
    first = refresh(folder, people())
    second = refresh(folder, people())
    assert second.additions == {}
    assert second.reference != first.reference
    assert json.loads(first.reference.read_text())["baseline"]["sample_size"] == 1_500


def test_without_timestamps_the_hours_stay_unknown(folder: Path) -> None:
    """What the sample does not show is not made up."""
    result = refresh(folder, people(timestamps=False))
    assert result.baseline.slots is None
    assert "service" not in result.additions


def test_a_sample_without_a_feature_is_refused_and_nothing_is_written(folder: Path) -> None:
    """The message names the column."""
    old_names = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigurationError, match="ratio"):
        refresh(folder, people().drop(columns="ratio"))
    assert sorted(path.name for path in folder.iterdir()) == old_names


def test_settings_that_cannot_be_edited_stay_untouched(folder: Path) -> None:
    """A section as an inline table: the message names it, and no file is left behind."""
    config = folder / "stillsafe.toml"
    text = config.read_text()
    inline = f'service = {{name = "loan", database = "sqlite:///stillsafe.db"}}\n{text[text.index("[model]") :]}'
    config.write_text(inline)
    old_names = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigurationError, match=r"Write the sections .*\[service\]"):
        refresh(folder, people())
    assert (config.read_text(), sorted(path.name for path in folder.iterdir())) == (inline, old_names)


def test_the_new_reference_is_adopted_in_place_of_the_old_one(folder: Path) -> None:
    """A reference follows a reference; both stay stored."""
    config = folder / "stillsafe.toml"
    engine = service.open_store(service.settings_of(config), create=True)
    result = refresh(folder, people())
    new_settings = service.settings_of(config)
    assert adopt_reference(engine, new_settings)
    with database.reading(engine) as connection:
        active = active_baseline(connection, new_settings.model.version)
    assert active is not None
    assert active.baseline_id == result.baseline.baseline_id
    engine.dispose()
