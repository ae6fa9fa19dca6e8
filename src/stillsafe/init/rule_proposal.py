"""The fallback that `init` proposes: rule lists, second models, and their scores on held-out rows."""

from dataclasses import dataclass

from stillsafe.core.fallback import Answer
from stillsafe.core.policy import FallbackPrice


@dataclass(frozen=True, slots=True)
class ProposedRule:
    """One proposed rule.

    Attributes:
        when: the condition, in CEL.
        answer: one of the model's classes, or a number.
        about: the share of rows that it answers and its score, one phrase.
    """

    when: str
    answer: Answer
    about: str


@dataclass(frozen=True, slots=True)
class ProposedList:
    """One proposed rule list.

    Attributes:
        rules: in order of evaluation.
        reads: the features that the rules read, in the schema's order.
        without: the features for whose damage the list was learnt.
        score: on the held-out rows while those features are damaged, as the settings hold it: higher is better.
        error: standard error of what the model's score leads it by in a later run; None if the model's is unknown.
    """

    rules: tuple[ProposedRule, ...]
    reads: tuple[str, ...]
    without: tuple[str, ...]
    score: float
    error: float | None = None


@dataclass(frozen=True, slots=True)
class ProposedModel:
    """One member of the file of second models.

    Attributes:
        reads: the features that it takes.
        without: the features for whose damage it was trained.
        score, error: as of a list; None if the model's score is unknown.
    """

    reads: tuple[str, ...]
    without: tuple[str, ...]
    score: float | None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class DamageScore:
    """The score of the best usable list while some features are damaged: accuracy in [0, 1], or mean absolute error."""

    features: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class RuleEvaluation:
    """Scores on the held-out rows: accuracy in [0, 1], or mean absolute error.

    Attributes:
        metric: `accuracy` or `mean absolute error`.
        row_count: number of held-out rows.
        default: score of the default answer alone.
        rules: score of the lists while every feature is intact; equal to `default` without lists.
        damage_scores: scores while single features are damaged that the first list reads, the largest loss first.
        model: score of the model, or None if its predictions are unknown.
        labelled: whether the scores are against labels; else against the model's own predictions.
    """

    metric: str
    row_count: int
    default: float
    rules: float
    damage_scores: tuple[DamageScore, ...]
    model: float | None
    labelled: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """The rule lists that `init` proposes.

    Attributes:
        lists: the best score first; empty if no list scores clearly better than the default.
        evaluation: the scores; None if the sample does not allow a search.
        model_score, default_score: as the settings hold them: accuracy, or minus the error as a multiple of the
            model's; None where the model's score is unknown.
        default_error: of the default, as of a list.
        lists_file: name of the file with the lists, next to the settings.
        models: second models, in the order of their file; empty unless the owner wants them.
        models_file, models_digest: name and SHA-256 of that file.
    """

    lists: tuple[ProposedList, ...] = ()
    evaluation: RuleEvaluation | None = None
    model_score: float | None = None
    default_score: float | None = None
    default_error: float | None = None
    lists_file: str = "fallback_rules.toml"
    models: tuple[ProposedModel, ...] = ()
    models_file: str = "fallback_models.skops"
    models_digest: str = ""

    @property
    def prices(self) -> tuple[FallbackPrice, ...]:
        """The prices of the lists and of the default."""
        default = () if self.default_score is None else (FallbackPrice((), self.default_score, self.default_error),)
        lists = (FallbackPrice(each.reads, each.score, each.error) for each in self.lists)
        priced_models = (each for each in self.models if each.score is not None)
        models = (FallbackPrice(each.reads, each.score or 0.0, each.error) for each in priced_models)
        return (*lists, *models, *default)

    @property
    def rules(self) -> tuple[ProposedRule, ...]:
        """The rules of the list that answers while every feature is intact."""
        return self.lists[0].rules if self.lists else ()


NO_PROPOSAL = Proposal()
