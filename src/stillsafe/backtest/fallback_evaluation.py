"""What a backtest found the fallback to be worth, kept beside the settings so that `check` can tell it.

A price holds for one fallback and one model version; of another it says nothing.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stillsafe.backtest.result import Backtest
from stillsafe.core.evidence.impact import Metric
from stillsafe.errors import ConfigurationError
from stillsafe.settings import FallbackSettings, Settings
from stillsafe.store.codec import dumps, from_document, to_document

FILE = "price.json"


@dataclass(frozen=True, slots=True)
class Price:
    """The scores of model and fallback over the runs that the fallback would have answered.

    Attributes:
        fallback_digest: of the section `[fallback]`, as `digest` makes it.
        model_version: whose answers the fallback replaced.
        metric: what the scores are.
        model_score, fallback_score: had the model gone on, and with the fallback.
        run_count: how many runs.
        injected: faults that the history was broken with on purpose.
        made_at: aware UTC.
        source: the history's file name.
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
    """What tells one `[fallback]` from another: the SHA-256 of what it says."""
    return hashlib.sha256(dumps(fallback.model_dump(mode="json")).encode()).hexdigest()


def write(settings: Settings, found: Backtest, *, at: datetime, source: str) -> Path | None:
    """Keep the price that a backtest found; None, and nothing is written, where it found none.

    Args:
        settings: the service.
        found: the backtest.
        at: the time of making, aware UTC.
        source: the history's file name.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    price = found.price
    if found.metric is None or price is None or price.model_score is None or price.fallback_score is None:
        return None
    kept = Price(
        digest(settings.fallback),
        settings.model.version,
        found.metric,
        price.model_score,
        price.fallback_score,
        price.run_count,
        () if found.injection is None else found.injection.faults,
        at,
        source,
    )
    path = settings.path(FILE)
    try:
        path.write_text(f"{dumps(to_document(kept))}\n", encoding="utf-8")
    except OSError as error:
        told = error.strerror or str(error)
        raise ConfigurationError(f"It cannot be written: {told}.", "Check its rights.", file=str(path)) from error
    return path


def read(settings: Settings) -> Price | None:
    """The price that was kept last, or None where there is none.

    Raises:
        ConfigurationError: the file is no price.
    """
    path = settings.path(FILE)
    if not path.exists():
        return None
    try:
        return from_document(Price, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        remedy = "Delete it, or make it again with `stillsafe backtest`."
        raise ConfigurationError("It is no price.", remedy, file=str(path)) from error
