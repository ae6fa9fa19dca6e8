"""Model files as another version of scikit-learn writes them."""

import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import pytest
import skops.io

OTHER_VERSION = "1.5.2"
"""A version of scikit-learn that is not the one of the tests."""


def content_of(estimator: Any, form: str, version: str | None = OTHER_VERSION) -> bytes:
    """The bytes of a model file that names a version of scikit-learn; None for the one of the tests.

    Args:
        estimator: fitted.
        form: `skops`, `joblib`, a compressor of joblib, or `pickle-N` with a protocol.
        version: of scikit-learn.
    """
    with pytest.MonkeyPatch.context() as patch:
        if version is not None:
            patch.setattr("sklearn.base.__version__", version)
        if form == "skops":
            return bytes(skops.io.dumps(estimator))
        if form.startswith("pickle-"):
            return pickle.dumps(estimator, int(form[-1]))
        buffer = io.BytesIO()
        joblib.dump(estimator, buffer, compress=0 if form == "joblib" else (form, 3))
        return buffer.getvalue()


def save_elsewhere(estimator: Any, path: Path, version: str = OTHER_VERSION) -> Path:
    """Write a model file as another version of scikit-learn does; its suffix gives the form."""
    path.write_bytes(content_of(estimator, path.suffix[1:], version))
    return path
