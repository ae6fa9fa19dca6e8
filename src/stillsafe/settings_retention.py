"""The section `[retention]` of `stillsafe.toml`: how long rows of persons stay in the database."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from stillsafe.settings_sections import Section, parse_duration

LONGEST_AGE_SECONDS = 36_500 * 86_400.0
Age = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=LONGEST_AGE_SECONDS)]


class Retention(Section):
    """How long rows stay in the database: `stillsafe prune` without `--older-than` deletes older ones."""

    predictions: Age | None = None
    """Answered requests, with their ids and labels; by default they stay."""
    refusals: Age | None = None
    """Refused requests; by default they stay."""
    labels: Age | None = None
    """Labels and their history, from their arrival; by default as long as their predictions."""
    explanations: Age | None = None
    """Explanations of incidents, and failed attempts of the language model; by default they stay."""

    @property
    def is_set(self) -> bool:
        """Whether anything is to be deleted."""
        return any(age is not None for age in (self.predictions, self.refusals, self.labels, self.explanations))
