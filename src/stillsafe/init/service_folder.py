"""Write the service folder: a new folder appears complete or not at all, an existing one changes in a single step.

In an existing folder nothing is overwritten: the new model and reference get new file names, the previous settings are
kept under another name, and the prediction log is not touched. Replacing the settings file is the single step.
"""

import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from stillsafe import settings
from stillsafe.errors import ConfigurationError
from stillsafe.init import inspect
from stillsafe.model.artifact import sha256_of
from stillsafe.model.boosters.formats import FILE_NAMES
from stillsafe.model.load import load_model
from stillsafe.own_modules import NO_OWN_MODULES, OwnModules
from stillsafe.settings_sections import Privacy
from stillsafe.store.disk import write_private

VERSION_LENGTH = 8
LONGEST_NAME = 100
"""Longest name of a service or version, as in the settings."""


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """The folder to write, as it is before.

    Attributes:
        path: absolute.
        generation: 1 for a new folder, 2 for the first replacement, and so on.
        versions: model versions that the folder has already used.
        log_settings: the previous settings of section `[service]` that belong to the prediction log: its address
            and the salt of its hashes.
        own_modules: of the previous settings.
        harm: the section `[harm]` of the previous settings.
        min_count: of the previous section `[privacy]`, or the default.
    """

    path: Path
    generation: int
    versions: frozenset[str]
    log_settings: Mapping[str, Any]
    own_modules: OwnModules = NO_OWN_MODULES
    harm: Mapping[str, Any] = field(default_factory=dict)
    min_count: int = Privacy().min_count

    def file_name(self, name: str) -> str:
        """The name of this generation's file: `model.skops`, then `model-2.skops`."""
        return numbered_name(name, self.generation) if self.generation > 1 else name

    @property
    def previous_settings(self) -> str:
        """The name under which the previous generation's settings are kept."""
        return numbered_name(settings.DEFAULT_FILE, self.generation - 1)


def inspect_folder(out: Path, *, force: bool) -> ServiceFolder:
    """Inspect the folder before anything is written.

    Raises:
        ConfigurationError: it contains something that must not be overwritten.
    """
    try:
        path = out.resolve()
        files = sorted(path.iterdir()) if path.exists() else []
    except (OSError, ValueError) as error:
        raise _unwritable(out, error) from error
    current = path / settings.DEFAULT_FILE
    if files and not current.exists():
        raise ConfigurationError(
            f"{out} is not empty and not a service folder.", "Name a new or an empty folder with --out."
        )
    if files and not force:
        raise ConfigurationError(
            f"{out} is a service folder already.",
            "Name another with --out, or replace its settings with --force.",
        )
    if not files:
        return ServiceFolder(path, 1, frozenset(), {})
    service = _section(current, "service")
    kept_keys = ("database", "hash_salt", "timezone")
    log_settings = {key: service[key] for key in kept_keys if isinstance(service.get(key), str)}
    own_modules = _own_modules(path, _section(current, "model"))
    harm = _section(current, "harm")
    min_count = _section(current, "privacy").get("min_count")
    return ServiceFolder(
        path,
        generation_of(path),
        frozenset(_versions(path)),
        log_settings,
        own_modules,
        harm,
        min_count if isinstance(min_count, int) and min_count > 0 else Privacy().min_count,
    )


def _own_modules(folder: Path, model: Mapping[str, Any]) -> OwnModules:
    """The owner's modules of a section `[model]`; none where it is invalid."""
    python_path, names = (
        tuple(each for each in value if isinstance(each, str)) if isinstance(value := model.get(key), list) else ()
        for key in ("python_path", "modules")
    )
    return OwnModules(tuple((folder / each).resolve() for each in python_path), names)


def model_version(folder: ServiceFolder, model_file: Path | None, version: str | None) -> str:
    """The model's version: one that the folder has not used yet; None for the start of the file's hash.

    An external model has no file: None is then the number of the folder's change.

    Raises:
        ConfigurationError: the version is too long or already used.
    """
    if version is None and model_file is None:
        return next(str(n) for n in count(folder.generation) if str(n) not in folder.versions)
    if version is None and model_file is not None:
        inspect.file_format(model_file, trusted=True)
        digest = sha256_of(model_file)[:VERSION_LENGTH]
        return digest if digest not in folder.versions else f"{digest}-{folder.generation}"
    if version is None or not 0 < len(version) <= LONGEST_NAME:
        raise ConfigurationError(f"A version has 1 to {LONGEST_NAME} characters.", "Name another with --version.")
    if version in folder.versions:
        problem = f"The version {version!r} has been used in {folder.path}, and its baseline is frozen."
        raise ConfigurationError(problem, "Name a new one with --version.")
    return version


def service_name(folder: ServiceFolder, name: str | None) -> str:
    """The service's name; None for the name of the folder.

    Raises:
        ConfigurationError: it is too long or empty.
    """
    chosen_name = (folder.path.name or "service")[:LONGEST_NAME] if name is None else name
    if not 0 < len(chosen_name) <= LONGEST_NAME:
        raise ConfigurationError(f"A service's name has 1 to {LONGEST_NAME} characters.", "Name another with --name.")
    return chosen_name


def write(folder: ServiceFolder, files: Mapping[str, bytes]) -> None:
    """Write the files to a temporary folder, load them as the service would, and only then move them into place.

    Args:
        folder: the result of `inspect_folder`.
        files: name -> content: the settings and every file that they name.

    Raises:
        ConfigurationError: the folder cannot be written or does not load; then nothing is left behind.
    """
    new_parents = [parent for parent in folder.path.parents if not parent.exists()]
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        same_disk = folder.path if folder.path.exists() else folder.path.parent
        with tempfile.TemporaryDirectory(dir=same_disk, prefix=".stillsafe-init-") as temporary:
            new_folder = Path(temporary) / "fresh"
            new_folder.mkdir()
            for name, content in files.items():
                write_private(new_folder / name, content)
            load_model(_from_final_folder(settings.load(new_folder / settings.DEFAULT_FILE), folder.path))
            _move(new_folder, folder)
    except OSError as error:
        _remove_empty(new_parents)
        raise _unwritable(folder.path, error) from error
    except BaseException:
        _remove_empty(new_parents)
        raise


def _from_final_folder(new_settings: settings.Settings, folder: Path) -> settings.Settings:
    """The settings with the owner's modules where they are seen from the final folder."""
    python_path = tuple(str((folder / each).resolve()) for each in new_settings.model.python_path)
    return new_settings.model_copy(update={"model": new_settings.model.model_copy(update={"python_path": python_path})})


def _move(new_folder: Path, folder: ServiceFolder) -> None:
    if not folder.path.exists():
        new_folder.rename(folder.path)
        return
    current = folder.path / settings.DEFAULT_FILE
    if current.exists():
        shutil.copy2(current, folder.path / folder.previous_settings)
        shutil.copymode(current, new_folder / settings.DEFAULT_FILE)
    # The settings come last: until they are replaced, the previous settings and the files that they name are in force.
    for file in sorted(new_folder.iterdir(), key=lambda file: file.name == settings.DEFAULT_FILE):
        file.replace(folder.path / file.name)


def _remove_empty(parents: list[Path]) -> None:
    """Remove new parent folders, innermost first, until one is not empty."""
    for parent in parents:
        try:
            parent.rmdir()
        except OSError:
            return


def generation_of(path: Path) -> int:
    """The number of the files that the folder's next change writes, 2 or more."""
    names = {file.name for file in path.iterdir()}
    generation = 2
    while any(
        numbered_name(name, generation) in names
        for name in ("model.skops", "model.joblib", *FILE_NAMES, "reference.json")
    ) or (numbered_name(settings.DEFAULT_FILE, generation - 1) in names):
        generation += 1
    return generation


def _versions(path: Path) -> Iterator[str]:
    name = Path(settings.DEFAULT_FILE)
    for file in path.glob(f"{name.stem}*{name.suffix}"):
        yield str(_section(file, "model").get("version", ""))


def _section(file: Path, name: str) -> Mapping[str, Any]:
    """A section of a settings file; empty if the file is invalid."""
    try:
        section = tomllib.loads(file.read_text(encoding="utf-8-sig")).get(name)
    except (OSError, ValueError):
        return {}
    return section if isinstance(section, dict) else {}


def numbered_name(name: str, number: int) -> str:
    """A file's name with a number: `model-2.skops`."""
    path = Path(name)
    return f"{path.stem}-{number}{path.suffix}"


def _unwritable(path: Path, error: OSError | ValueError) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigurationError(f"The folder {path} cannot be written: {reason}.", "Name another place with --out.")
