"""The bytes of a model file and the object in them: hashed before they are parsed, parsed without running code."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillsafe.errors import ModelError

# Types that ordinary scikit-learn models hold and skops does not know: exact names, each a plain container of
# numbers or an optimiser's leftovers. Never one that can call something of the file's choosing.
TRUSTED_TYPES = (
    "numpy.dtype",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
NEVER_TRUSTED = frozenset(["functools.partial", "operator.methodcaller"])


def read_estimator(
    path: Path | str, *, kind: str = "skops", trusted: bool = False, trusted_types: Sequence[str] = ()
) -> Any:
    """The fitted object in a model file, whose hash the caller has verified or has no reason to.

    Args:
        path: the file.
        kind: `skops`, which runs no code, or `joblib`, which may run any.
        trusted: whether a joblib file may be opened at all.
        trusted_types: exact names of further types that a skops file may hold.

    Raises:
        ModelError: with the remedy.
    """
    path = Path(path)
    return parsed(_read(path), path, kind=kind, trusted=trusted, trusted_types=trusted_types)


def sha256_of(path: Path | str) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        ModelError: it cannot be read.
    """
    return hashlib.sha256(_read(Path(path))).hexdigest()


def verified(path: Path, sha256: str) -> bytes:
    """The bytes of the model file that is meant, and of no other.

    Raises:
        ModelError: it cannot be read, or is another file.
    """
    content = _read(path)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        remedy = "Restore that file, or put the new hash and a new `version` into the settings if it was replaced."
        raise ModelError(f"Its SHA-256 is {found}, and the settings say {sha256}.", remedy, file=str(path))
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "Check `model.file` in the settings."
        raise ModelError(f"The model cannot be read: {error.strerror}.", remedy, file=str(path)) from error


def parsed(content: bytes, path: Path, *, kind: str, trusted: bool, trusted_types: Sequence[str]) -> Any:
    """The fitted object in a model file's bytes; see `read_estimator`. `path` is for the message only."""
    if kind == "joblib":
        return _parsed_joblib(content, path, trusted)
    import skops.io

    try:
        allowed = _allowed(skops.io.get_untrusted_types(data=content), path, trusted_types)
        return skops.io.loads(content, trusted=allowed)
    except ModelError:
        raise
    except Exception as error:
        remedy = "Save the model with `skops.io.dump(model, file)`, with the same versions of scikit-learn and skops."
        raise ModelError(
            f"Not a skops file that can be read: {type(error).__name__}.", remedy, file=str(path)
        ) from error


def _allowed(held: Sequence[str], path: Path, trusted_types: Sequence[str]) -> list[str]:
    """The types that a file holds beyond those that skops knows, if every one of them is trusted by name."""
    if never := sorted(NEVER_TRUSTED.intersection(held)):
        remedy = (
            "It can call anything and is never trusted. Where it comes from `categorical_features='from_dtype'`, "
            "put an OrdinalEncoder into the pipeline instead."
        )
        raise ModelError(f"The model holds {', '.join(never)}.", remedy, file=str(path))
    if strange := sorted(set(held).difference(TRUSTED_TYPES, trusted_types)):
        remedy = "If you know them and trust the file's origin, name each one in `model.trusted_types`."
        raise ModelError(f"The model holds types that are not trusted: {', '.join(strange)}.", remedy, file=str(path))
    return list(held)


def _parsed_joblib(content: bytes, path: Path, trusted: bool) -> Any:
    if not trusted:
        remedy = "Save it with skops, or set `model.trusted = true` if you made the file yourself."
        raise ModelError("A joblib file can run any code when it is opened.", remedy, file=str(path))
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:
        remedy = "Save it again with `joblib.dump(model, file)`, with the same versions of Python and scikit-learn."
        raise ModelError(
            f"Not a joblib file that can be read: {type(error).__name__}.", remedy, file=str(path)
        ) from error
