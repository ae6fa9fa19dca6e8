"""Samples of models that run elsewhere, and the services that `init` makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.init.create import CreatedService, ServiceRequest, create_service
from stillsafe.init.recorded_answers import AnswerColumns
from tests.init.services import NOW, write_sample

FEATURES = ("age", "income", "town")
PROBABILITIES = AnswerColumns("answer", ("p_no", "p_yes"))


def applicants(count: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Applicants with what a model elsewhere answered, its probabilities, and labels that follow them."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": random.normal(40, 12, count).clip(18, 90).round(1),
            "income": random.lognormal(10, 0.5, count).round().astype(int),
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
        }
    )
    logit = 0.2 * (table["age"] - 40) + 1.5 * (table["town"] == "Ulm") - 0.5
    share = 1 / (1 + np.exp(-logit))
    return table.assign(
        answer=np.where(share > 0.5, "yes", "no"),
        p_no=1 - share,
        p_yes=share,
        label=np.where(random.random(count) < share, "yes", "no"),
    )


def external_service(
    folder: Path, table: pd.DataFrame | None = None, answers: AnswerColumns = PROBABILITIES, **options: Any
) -> CreatedService:
    """What `init` makes of a sample with answers."""
    sample = write_sample(applicants() if table is None else table, folder)
    arguments: dict[str, Any] = {"now": NOW, "salt": "pinch", "label": "label", "answers": answers} | options
    return create_service(ServiceRequest(None, sample, folder / "out", **arguments))
