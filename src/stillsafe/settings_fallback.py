"""The section `[fallback]`: what answers instead of the model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from stillsafe.settings_sections import FixedAnswer, Number, Section, Words, error_at
from stillsafe.settings_texts import digest


class FallbackRule(Section):
    """One rule: a CEL condition, and an answer that is fixed or computed by a CEL expression."""

    when: str
    """The condition, in CEL over the features."""
    answer: FixedAnswer = None
    """The answer if the condition holds."""
    compute: str | None = None
    """Or a CEL expression that computes the answer."""

    @model_validator(mode="after")
    def _one_answer(self) -> "FallbackRule":
        if (self.answer is None) == (self.compute is None):
            raise ValueError("a rule needs either `answer` (a fixed value) or `compute` (an expression)")
        return self


class FallbackRuleList(Section):
    """A short list of rules that read some features only, and its score; the best usable list answers."""

    reads: Words
    """The features that its rules read. While one of them is damaged, the list is not used."""
    score: Number | None = None
    """Its score on held-out rows; higher is better. Without it the list is used last and has no price."""
    error: Annotated[Number, Field(ge=0)] | None = None
    """Standard error of what the model's score leads it by in a later run; without it any advantage counts."""
    rules: Annotated[tuple[FallbackRule, ...], Field(strict=False, min_length=1)]
    """Tried in order; the first whose condition holds answers."""


class FallbackModel(Section):
    """A second model that reads some features only, and its score; it is ranked among the rule lists."""

    file: str
    """The model file."""
    sha256: Annotated[str, AfterValidator(digest)]
    """The file's SHA-256: no other file is used."""
    member: int | None = Field(default=None, ge=0)
    """The position of the model, from 0, in a file that holds a list of models."""
    format: Literal["skops", "joblib"] = "skops"
    """`skops` runs no code when it is loaded; `joblib` can run any code."""
    trusted: bool = False
    """Must be true for joblib: it confirms that the file comes from a source you trust."""
    trusted_types: Words = ()
    """Further exact type names that a skops file may contain."""
    reads: Words
    """The features that the model takes. While one of them is damaged, the model is not used."""
    score: Number | None = None
    """Its score on held-out rows; higher is better. Without it the model is used last and has no price."""
    error: Annotated[Number, Field(ge=0)] | None = None
    """Standard error of what the model's score leads it by in a later run; without it any advantage counts."""


class FallbackLists(Section):
    """The file of `lists_file`: the rule lists and second models of the fallback."""

    lists: Annotated[tuple[FallbackRuleList, ...], Field(strict=False)] = ()
    """Short rule lists, each for other damaged features; the usable one with the best score answers."""
    models: Annotated[tuple[FallbackModel, ...], Field(strict=False)] = ()
    """Second models, ranked among the lists."""


class FallbackSettings(FallbackLists):
    """The conservative answer that replaces the model's prediction."""

    default: FixedAnswer = None
    """The answer if no rule applies."""
    safe_class: FixedAnswer = None
    """Your own choice of the answer if no rule applies, in place of `default`: an error on the safe side."""
    bypass: Literal["always", "when_it_pays"] = "always"
    """`always`: each CRITICAL bypasses the model. `when_it_pays`: only where the fallback is expected to do better."""
    answer: Literal["rules", "abstain"] = "rules"
    """`abstain`: no prediction (null) where none of your own rules applies, for a person or system to take over."""
    abstention_cost: Annotated[Number, Field(ge=0)] | None = None
    """What no answer costs, as a share of an error's cost; without it each CRITICAL abstains."""
    model_score: Number | None = None
    """The model's score on the held-out rows: what the scores of lists, models and default are compared with."""
    default_score: Number | None = None
    """The score of `default` on the held-out rows. Delete it if you change `default`."""
    default_error: Annotated[Number, Field(ge=0)] | None = None
    """Standard error of what the model's score leads that of `default` by in a later run."""
    lists_file: str | None = None
    """The file with the rule lists and models that `init` learnt."""
    minimum: Number | None = None
    """Lower limit of the fallback's numbers."""
    maximum: Number | None = None
    """Upper limit of the fallback's numbers."""
    cap_model: bool = False
    """Whether `minimum` and `maximum` limit a regressor's answers too. The log has what was served; the reference of
    `init` has uncapped answers, so make a baseline of the log (`stillsafe baseline create`) where many are capped."""
    rules: Annotated[tuple[FallbackRule, ...], Field(strict=False)] = ()
    """Your own rules, tried in order before everything else; the first whose condition holds answers."""
    function: str | None = None
    """A Python function in place of rules, as `module:function`: it gets the row and returns the answer or None."""

    @model_validator(mode="after")
    def _require_default(self) -> "FallbackSettings":
        if self.last_answer is None:
            raise ValueError("`default` is required: the answer if no rule applies")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise error_at("`minimum` must not exceed `maximum`", "minimum")
        if self.cap_model and self.minimum is None and self.maximum is None:
            raise error_at("`cap_model` needs `minimum` or `maximum`", "cap_model")
        if self.bypass == "when_it_pays" and self.model_score is None:
            raise error_at("`when_it_pays` needs `model_score`, which the price is compared with", "bypass")
        return self

    @property
    def last_answer(self) -> bool | int | float | str | None:
        """The answer if no rule applies: the safe class, or else the default."""
        return self.default if self.safe_class is None else self.safe_class

    @property
    def prices(self) -> tuple[tuple[tuple[str, ...], float, float | None], ...]:
        """Features that it reads, score and its error, of each priced way to answer; the last answer reads none."""
        fallbacks: tuple[FallbackRuleList | FallbackModel, ...] = (*self.lists, *self.models)
        sources = [(each.reads, each.score, each.error) for each in fallbacks]
        error = self.default_error if self.answer == "rules" else None
        last_answer: tuple[tuple[str, ...], float | None, float | None] = ((), self._last_score, error)
        answers = [last_answer] if self.answer == "abstain" else [*sources, last_answer]
        return tuple((reads, score, error) for reads, score, error in answers if score is not None)

    @property
    def _last_score(self) -> float | None:
        if self.answer == "rules":
            return self.default_score if self.safe_class in (None, self.default) else None
        if self.abstention_cost is None:
            return None
        # A score of accuracy is at most 1, and a regressor's error is minus 1 for the model itself.
        is_accuracy = self.model_score is None or self.model_score >= 0
        return 1 - self.abstention_cost if is_accuracy else -self.abstention_cost
