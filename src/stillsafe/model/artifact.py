"""Read model files: verify the hash before parsing, and parse without running code from the file."""

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adoption import adopt
from stillsafe.model.boosters.formats import NATIVE_FORMATS, parse_native
from stillsafe.model.library_versions import change_text, changes, remedy, running_version, versions_in_file
from stillsafe.model.missing_class import missing_class, missing_class_error
from stillsafe.model.trusted_types import NEVER_TRUSTED, TRUSTED_TYPES
from stillsafe.own_modules import exception_text

_LIBRARIES = ("sklearn", "numpy", "scipy")
"""Packages whose missing classes are explained by their versions."""


def read_estimator(
    path: Path | str, *, kind: str = "skops", trusted: bool = False, trusted_types: Sequence[str] = ()
) -> Any:
    """Read the fitted object of a model file without verifying its hash.

    Args:
        path: the file.
        kind: `skops`, `lightgbm`, `xgboost` or `catboost`, which run no code, or `joblib`, which may run any code.
        trusted: whether a joblib file may be opened at all.
        trusted_types: exact names of further types that a skops file may contain.

    Raises:
        ModelError: the file cannot be read, parsed or trusted.
    """
    path = Path(path)
    return parse_estimator(_read(path), path, kind=kind, trusted=trusted, trusted_types=trusted_types)


def sha256_of(path: Path | str) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    return hashlib.sha256(_read(Path(path))).hexdigest()


def read_verified(path: Path, sha256: str, setting: str = "`model.sha256`") -> bytes:
    """Read a model file and compare its hash with the settings, where `setting` is its place in them.

    Raises:
        ModelError: the file cannot be read, or its hash differs.
    """
    content = _read(path)
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        remedy = "Restore the original file, or set the new hash and a new `version` if you replaced the model."
        raise ModelError(f"Its SHA-256 is {digest}, but {setting} is {sha256}.", remedy, file=str(path))
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "Check `model.file` in the settings."
        raise ModelError(f"The model cannot be read: {error.strerror}.", remedy, file=str(path)) from error


def parse_estimator(content: bytes, path: Path, *, kind: str, trusted: bool, trusted_types: Sequence[str]) -> Any:
    """Parse the bytes of a model file; see `read_estimator`. `path` is only used in error messages."""
    if kind in NATIVE_FORMATS:
        return parse_native(content, path, kind)
    if kind == "joblib":
        estimator = _with_adapters(_parse_joblib(content, path, trusted), path)
    else:
        estimator = _parse_skops(content, path, trusted_types)
    _require_parameters(estimator, content, path)
    return estimator


def _require_parameters(estimator: Any, content: bytes, path: Path) -> None:
    """Refuse an estimator that lacks a parameter which the installed version of its class reads."""
    try:
        if hasattr(estimator, "get_params"):
            estimator.get_params()
    except AttributeError as error:
        problem = f"The model lacks a parameter that its class has here: {exception_text(error)}."
        remedy = "Save the model again with the versions of its libraries that are installed here."
        raise _version_error(content, error, path) or ModelError(problem, remedy, file=str(path)) from error


def _parse_skops(content: bytes, path: Path, trusted_types: Sequence[str]) -> Any:
    import skops.io

    try:
        allowed_types = _allowed_types(skops.io.get_untrusted_types(data=content), path, trusted_types)
        with _without_version_warnings():
            return skops.io.loads(content, trusted=allowed_types)
    except ModelError:
        raise
    except Exception as error:
        if problem := _version_error(content, error, path) or missing_class_error(error, path):
            raise problem from error
        remedy = "Save the model with `skops.io.dump(model, file)`, with the same versions of scikit-learn and skops."
        raise ModelError(
            f"The file is not a readable skops file: {type(error).__name__}.", remedy, file=str(path)
        ) from error


def _with_adapters(estimator: Any, path: Path) -> Any:
    """The estimator with adapters in place of boosters."""
    try:
        return adopt(estimator)
    except ModelError as error:
        raise ModelError(error.problem, error.remedy, file=str(path)) from error


def _allowed_types(types: Sequence[str], path: Path, trusted_types: Sequence[str]) -> list[str]:
    """The types of a file that skops does not trust by itself, provided that each one is trusted by name."""
    if never := sorted(NEVER_TRUSTED.intersection(types)):
        remedy = (
            "These types can call any function, so they are never trusted. If they come from "
            "`categorical_features='from_dtype'`, put an OrdinalEncoder into the pipeline instead."
        )
        raise ModelError(f"The model contains {', '.join(never)}.", remedy, file=str(path))
    if unknown := sorted(set(types).difference(TRUSTED_TYPES, trusted_types)):
        remedy = "If you know these types and trust the origin of the file, list them in `model.trusted_types`."
        raise ModelError(
            f"The model contains types that are not trusted: {', '.join(unknown)}.", remedy, file=str(path)
        )
    return list(types)


def _parse_joblib(content: bytes, path: Path, trusted: bool) -> Any:
    if not trusted:
        remedy = "Save the model with skops, or set `model.trusted = true` if you made the file yourself."
        raise ModelError("A joblib file can run any code when it is opened.", remedy, file=str(path))
    import joblib

    try:
        with _without_version_warnings():
            return joblib.load(io.BytesIO(content))
    except Exception as error:
        if problem := _version_error(content, error, path) or missing_class_error(error, path):
            raise problem from error
        remedy = (
            "Save the model again with `joblib.dump(model, file)`, with the same versions of Python and scikit-learn."
        )
        raise ModelError(
            f"The file is not a readable joblib file: {type(error).__name__}.", remedy, file=str(path)
        ) from error


def _version_error(content: bytes, error: Exception, path: Path) -> ModelError | None:
    """The error of a file that other versions of its libraries saved; None where versions are not the cause."""
    versions = versions_in_file(content)
    differences = changes(versions, {name: running_version(name) or "none" for name in versions})
    module, _ = missing_class(error) or (_LIBRARIES[0], "")
    if not differences or module.partition(".")[0] not in _LIBRARIES:
        return None
    cause = exception_text(error).partition(" on <module")[0]
    problem = f"The model was saved with {change_text(differences)} and does not load: {cause}."
    return ModelError(problem, remedy(differences), file=str(path))


@contextmanager
def _without_version_warnings() -> Iterator[None]:
    """Without scikit-learn's warnings about its version, one for each estimator: `init` and `check` report it once."""
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        yield
