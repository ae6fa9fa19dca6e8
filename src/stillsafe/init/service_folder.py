"""The service folder on disk: a new one appears whole or not at all, an existing one changes in a single step.

In an existing folder nothing is overwritten: the new model and reference get names of their own, the old settings are
kept under another one, and the log is not touched. The step is the new settings taking the place of the old.
"""

import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillsafe import settings
from stillsafe.errors import ConfigurationError
from stillsafe.model.model import load


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service folder goes.

    Attributes:
        folder: absolute.
        generation: 1 for a new folder, 2 for the first replacement, and so on.
        versions: model versions that the folder has already used.
        inherited: the old settings of section `[service]` that belong to the log: its address and the salt of its
            hashes.
    """

    folder: Path
    generation: int
    versions: frozenset[str]
    inherited: Mapping[str, Any]

    def numbered(self, name: str) -> str:
        """A file name that is this generation's own: `model.skops`, then `model-2.skops`."""
        return _numbered(name, self.generation) if self.generation > 1 else name

    @property
    def kept_settings(self) -> str:
        """The name under which the settings before this generation are kept."""
        return _numbered(settings.DEFAULT_FILE, self.generation - 1)


def look(out: Path, *, force: bool) -> Place:
    """What is at the place now.

    Raises:
        ConfigurationError: something that must not be written over.
    """
    try:
        folder = out.resolve()
        held = sorted(folder.iterdir()) if folder.exists() else []
    except (OSError, ValueError) as error:
        raise _unwritable(out, error) from error
    current = folder / settings.DEFAULT_FILE
    if held and not current.exists():
        raise ConfigurationError(
            f"{out} is not empty and no service folder.", "Name a new or an empty folder with --out."
        )
    if held and not force:
        raise ConfigurationError(
            f"{out} is a service folder already.",
            "Name another with --out, or replace its settings with --force.",
        )
    if not held:
        return Place(folder, 1, frozenset(), {})
    service = _section(current, "service")
    inherited = {key: service[key] for key in ("database", "hash_salt") if isinstance(service.get(key), str)}
    return Place(folder, _generation(folder), frozenset(_versions(folder)), inherited)


def write(place: Place, files: Mapping[str, bytes]) -> None:
    """Write the folder beside its place, try it as the service would, and only then put it there.

    Args:
        place: as `look` found it.
        files: name -> content: the settings and all that they name.

    Raises:
        ConfigurationError: it cannot be written, or does not load; nothing is left behind then.
    """
    made = [parent for parent in place.folder.parents if not parent.exists()]
    try:
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        beside = place.folder if place.folder.exists() else place.folder.parent
        with tempfile.TemporaryDirectory(dir=beside, prefix=".stillsafe-init-") as temporary:
            fresh = Path(temporary) / "fresh"
            _fill(fresh, files)
            load(settings.load(fresh / settings.DEFAULT_FILE))
            _put(fresh, place)
    except OSError as error:
        _forget(made)
        raise _unwritable(place.folder, error) from error
    except BaseException:
        _forget(made)
        raise


def _fill(fresh: Path, files: Mapping[str, bytes]) -> None:
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)


def _put(fresh: Path, place: Place) -> None:
    if not place.folder.exists():
        fresh.rename(place.folder)
        return
    current = place.folder / settings.DEFAULT_FILE
    if current.exists():
        shutil.copy2(current, place.folder / place.kept_settings)
    # The settings last: until they are there, the old ones and all that they name are in force.
    for file in sorted(fresh.iterdir(), key=lambda file: file.name == settings.DEFAULT_FILE):
        file.replace(place.folder / file.name)


def _forget(made: list[Path]) -> None:
    """Take back the parents that were made, innermost first, as far as nobody else has used them."""
    for parent in made:
        try:
            parent.rmdir()
        except OSError:
            return


def _generation(folder: Path) -> int:
    names = {file.name for file in folder.iterdir()}
    generation = 2
    while any(_numbered(name, generation) in names for name in ("model.skops", "model.joblib", "reference.json")) or (
        _numbered(settings.DEFAULT_FILE, generation - 1) in names
    ):
        generation += 1
    return generation


def _versions(folder: Path) -> Iterator[str]:
    path = Path(settings.DEFAULT_FILE)
    for file in folder.glob(f"{path.stem}*{path.suffix}"):
        yield str(_section(file, "model").get("version", ""))


def _section(file: Path, name: str) -> Mapping[str, Any]:
    """A section of a settings file that may be damaged: nothing of it then."""
    try:
        section = tomllib.loads(file.read_text(encoding="utf-8-sig")).get(name)
    except (OSError, ValueError):
        return {}
    return section if isinstance(section, dict) else {}


def _numbered(name: str, number: int) -> str:
    path = Path(name)
    return f"{path.stem}-{number}{path.suffix}"


def _unwritable(folder: Path, error: OSError | ValueError) -> ConfigurationError:
    told = getattr(error, "strerror", None) or str(error)
    return ConfigurationError(f"The folder {folder} cannot be written: {told}.", "Name another place with --out.")
