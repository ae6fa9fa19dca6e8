"""Why a model file does not load: which class of which module it lacks, and what to do about it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import library_remedy
from stillsafe.model.boosters.adoption import LIBRARIES
from stillsafe.own_modules import exception_text

SETTING = '[model], for example python_path = ["."] for the folder of the settings (of `init`: --python-path)'
"""Where the folder of an own module is named."""
_IMPORTERS = {"find_class": ("module", "name"), "_import_obj": ("module", "cls_or_func")}
"""Functions of pickle and of skops that look a class up, with the names of their arguments."""


def missing_class_error(error: BaseException, path: Path) -> ModelError | None:
    """The error that names module and class, or None if the file failed for another reason.

    Args:
        error: what loading the file raised.
        path: the model file.
    """
    class_name = missing_class(error)
    if class_name is None:
        return None
    module, name = class_name
    problem, remedy = _problem(module, name, error)
    return ModelError(problem, remedy, file=str(path))


def missing_class(error: BaseException) -> tuple[str, str] | None:
    """Module and name of the class whose look-up raised; None if the file failed for another reason."""
    return next(_wanted_classes(error), None)


def _problem(module: str, name: str, error: BaseException) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    owner = f"The model needs {name!r} of the module {module!r}"
    if module == "__main__":
        return (
            f"The model needs {name!r}, which was defined in a script (`__main__`), where no other process finds it.",
            "Move it to a module of its own, import it from there, save the model again, and name the module's folder "
            f"in {SETTING}.",
        )
    package = module.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and error.name == package and package in LIBRARIES:
        return f"The model needs {package}, which is not installed.", library_remedy(package)
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return (
            f"{owner}, and Python does not find that module here.",
            f"If {package!r} is your own module, name its folder in {SETTING}. If it is a package, install it for "
            f"{sys.executable}.",
        )
    if isinstance(error, AttributeError):
        return (
            f"{owner}, and the module that Python finds has none.",
            "Restore the module as it was when the model was saved, or save the model again.",
        )
    return (
        f"{owner}, which cannot be imported: {exception_text(error)}.",
        "Correct the module, or install what it needs.",
    )


def _wanted_classes(error: BaseException) -> Iterator[tuple[str, str]]:
    """Module and name of the classes whose look-up raised, innermost first."""
    frames: list[FrameType] = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in reversed(frames):
        values = [frame.f_locals.get(each) for each in _IMPORTERS.get(frame.f_code.co_name, ())]
        if len(values) == 2 and all(isinstance(value, str) for value in values):
            yield str(values[0]), str(values[1])
