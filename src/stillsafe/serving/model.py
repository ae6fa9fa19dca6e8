"""The model: verified before it is parsed, fitted to the schema before it serves, and asked so that it cannot hurt.

The only import of scikit-learn, skops, joblib and pandas outside `demo` and `init`, and a late one: most
commands never touch a model.
"""

import hashlib
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.errors import ModelError
from stillsafe.serving.confidence import (
    ConfidenceMethod,
    ConfidenceScale,
    Numbers,
    choose_method,
    margin,
    raw_confidence,
    scale_from,
    top_probability,
)
from stillsafe.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ConfidenceMethod",
    "ConfidenceScale",
    "Model",
    "ModelKind",
    "Score",
    "as_text",
    "choose_method",
    "classes_of",
    "fit_problem",
    "frame",
    "kind_of",
    "load",
    "raw_confidence",
    "read_estimator",
    "scale_from",
    "sha256_of",
]

logger = logging.getLogger(__name__)
