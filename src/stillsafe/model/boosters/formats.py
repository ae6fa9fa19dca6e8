"""The own file formats of the boosters' libraries. None of them runs code when it is loaded."""

from importlib import import_module
from pathlib import Path
from typing import Any

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import BoosterModel, import_library

NATIVE_FORMATS = {"lightgbm": "LightGBMModel", "xgboost": "XGBoostModel", "catboost": "CatBoostModel"}
"""Format in the settings, which is also its library and module -> class of its models."""
HEAD = 4_096
"""Bytes at the start of a file by which its format is recognised."""
FILE_NAMES = ("model.txt", "model.json", "model.ubj", "model.cbm")
"""Names of files in these formats in a service folder."""


def native_format(head: bytes) -> str | None:
    """The format of a file by its first bytes (`HEAD` of them), or None if it is none of these.

    LightGBM's text starts with the line `tree`, CatBoost's file with `CBM1`, and XGBoost's JSON and UBJSON with an
    object whose first key is `learner`.
    """
    if head.startswith(b"CBM1"):
        return "catboost"
    if head.startswith((b"tree\n", b"tree\r\n")):
        return "lightgbm"
    return "xgboost" if head.lstrip().startswith(b"{") and b"learner" in head else None


def file_name(kind: str, content: bytes) -> str:
    """The name of a model's file in a service folder: `model.txt`, `model.skops` and so on."""
    if kind == "xgboost":
        is_text = content.lstrip()[1:2] in (b'"', b" ", b"\n", b"\r", b"\t")
        return "model.json" if is_text else "model.ubj"
    return {"lightgbm": "model.txt", "catboost": "model.cbm"}.get(kind, f"model.{kind}")


def parse_native(content: bytes, path: Path, kind: str) -> BoosterModel:
    """The model of a file in a library's own format; `path` is only used in error messages.

    Raises:
        ModelError: the library is missing, the file is damaged, or the model cannot be served.
    """
    library = import_library(kind)
    model_class: Any = getattr(import_module(f"{__package__}.{kind}"), NATIVE_FORMATS[kind])
    try:
        model: BoosterModel = model_class.parse(content)
    except ModelError as error:
        raise ModelError(error.problem, error.remedy, file=str(path)) from error
    except Exception as error:
        version = getattr(library, "__version__", "")
        problem = f"The file is no model that {kind} {version} can read: {type(error).__name__}."
        remedy = f"Save the model again with `save_model`, with {kind} {version} or an older version."
        raise ModelError(problem, remedy, file=str(path)) from error
    return model
