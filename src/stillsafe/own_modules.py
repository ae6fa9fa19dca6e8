"""Python modules of the service's owner: classes in the model, or the function of the fallback.

`python_path` and `modules` of `[model]` name them, so that every process finds them, whatever its environment. Cron,
for example, knows no PYTHONPATH.
"""

import importlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stillsafe.errors import ConfigurationError

_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_MAIN_NAMES = ("__main__", "__mp_main__")
"""The script that runs, under its own name and the one that `multiprocessing` adds: no model needs it."""


@dataclass(frozen=True, slots=True)
class OwnModules:
    """Where a service's own modules are.

    Attributes:
        folders: absolute, searched before all others, as those of PYTHONPATH are.
        names: modules to import before the model is loaded.
        file: the settings file, for messages.
    """

    folders: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    file: Path | None = None

    def load(self) -> None:
        """Make the folders importable and import the modules. A second call changes nothing.

        Raises:
            ConfigurationError: a folder does not exist, or a module cannot be imported.
        """
        for folder in reversed(self.folders):
            if not folder.is_dir():
                raise self._error(f"The folder {folder} in `model.python_path` does not exist.", "Correct the path.")
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        for name in self.names:
            try:
                importlib.import_module(name)
            except Exception as error:  # the import runs an owner's code, which may raise anything
                remedy = "Name its folder in `python_path` of [model], or install the package that has it."
                problem = f"The module {name!r} in `model.modules` cannot be imported: {exception_text(error)}."
                raise self._error(problem, remedy) from error

    def _error(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(problem, remedy, file=None if self.file is None else str(self.file))


NO_OWN_MODULES = OwnModules()


def exception_text(error: BaseException) -> str:
    """Kind and first line of an exception's message, without a full stop at the end."""
    message = next(iter(str(error).splitlines()), "").rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def folders_of(names: Iterable[str]) -> list[Path]:
    """The folders on Python's path from which modules came that belong to no installed package.

    Only this process finds such modules: through PYTHONPATH, the working folder, or a folder that it added.

    Args:
        names: of imported modules; others are ignored.
    """
    return sorted(set(_own_folders(names)))


def _own_folders(names: Iterable[str]) -> Iterator[Path]:
    libraries = [Path(sysconfig.get_path(name)).resolve() for name in _LIBRARIES]
    searched_folders = [Path(entry or os.curdir).resolve() for entry in sys.path]
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if (
            file is None
            or name in _MAIN_NAMES
            or any(Path(file).resolve().is_relative_to(library) for library in libraries)
        ):
            continue
        parts = name.split(".")
        folder = Path(file).resolve().parents[len(parts) - (Path(file).name != "__init__.py")]
        if folder in searched_folders:
            yield folder
