"""The last backtest's comparison of fallback and model, stored next to the settings for `stillsafe check`.

It is valid for one `[fallback]` section and one model version only.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stillsafe.backtest.result import Backtest
from stillsafe.core.evidence.metric import Metric
from stillsafe.errors import ConfigurationError
from stillsafe.settings import Settings
from stillsafe.settings_fallback import FallbackSettings
from stillsafe.store.codec import dumps, from_document, to_document

FILE = "price.json"
FIRST_KEYS = ("default", "minimum", "maximum", "rules", "function")
"""Keys of `[fallback]` whose defaults are part of the digests of earlier releases."""


@dataclass(frozen=True, slots=True)
class FallbackEvaluation:
    """The scores of model and fallback over the runs that the fallback would have answered.

    Attributes:
        fallback_digest: of the section `[fallback]`, see `digest`.
        model_version: that the fallback replaced.
        metric: of the scores.
        model_score, fallback_score: if the model, or the fallback, had answered.
        run_count: number of these runs.
        injected: faults injected into the history.
        made_at: aware UTC.
        source: file name of the history.
    """

    fallback_digest: str
    model_version: str
    metric: Metric
    model_score: float
    fallback_score: float
    run_count: int
    injected: tuple[str, ...]
    made_at: datetime
    source: str


def digest(fallback: FallbackSettings) -> str:
    """SHA-256 of a `[fallback]` section, as hexadecimal digits. A key that is not set changes it only if it is old."""
    settings_of_owner = fallback.model_dump(mode="json", exclude_defaults=True)
    section = fallback.model_dump(mode="json")
    section = {key: value for key, value in section.items() if key in settings_of_owner or key in FIRST_KEYS}
    return hashlib.sha256(dumps(section).encode()).hexdigest()


def write(settings: Settings, result: Backtest, *, at: datetime, source: str) -> Path | None:
    """Store the comparison of a backtest; None, and nothing is written, if the backtest has none.

    Args:
        settings: of the service.
        result: the backtest.
        at: current time, aware UTC.
        source: file name of the history.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    scores = result.price
    if result.metric is None or scores is None or scores.model_score is None or scores.fallback_score is None:
        return None
    evaluation = FallbackEvaluation(
        digest(settings.fallback),
        settings.model.version,
        result.metric,
        scores.model_score,
        scores.fallback_score,
        scores.run_count,
        () if result.injection is None else result.injection.faults,
        at,
        source,
    )
    path = settings.path(FILE)
    try:
        path.write_text(f"{dumps(to_document(evaluation))}\n", encoding="utf-8")
    except OSError as error:
        message = f"The file cannot be written: {error.strerror or error}."
        raise ConfigurationError(message, "Check its permissions.", file=str(path)) from error
    return path


def read(settings: Settings) -> FallbackEvaluation | None:
    """The stored comparison, or None if there is none.

    Raises:
        ConfigurationError: the file is invalid.
    """
    path = settings.path(FILE)
    if not path.exists():
        return None
    try:
        return from_document(FallbackEvaluation, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        message, remedy = "The fallback evaluation is invalid.", "Delete the file, or run `stillsafe backtest` again."
        raise ConfigurationError(message, remedy, file=str(path)) from error
