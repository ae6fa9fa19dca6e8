"""Statistical disclosure control: what of single values a stored aggregate may show.

A category or a number stands in an aggregate only if at least `min_count` values share it. A rarer category is kept as
a salted hash, so that it stays known. `core.evidence.shared_numbers` has the ends of ranges and the edges of bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stillsafe.core.schema import FeatureSpec, LogMode, salted_hash
from stillsafe.core.window import FeatureTally, Tally
from stillsafe.monitoring.tally import are_decimals
from stillsafe.settings import Settings


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The threshold of an aggregate.

    Attributes:
        min_count: values that share what the aggregate shows, at least 1; 1 withholds nothing.
        salt: of the hashes that stand for rare categories; None leaves them as they are, for an aggregate that is not
            stored or whose texts are hashes already.
    """

    min_count: int = 1
    salt: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Disclosure":
        """The threshold of a service."""
        return cls(settings.privacy.min_count, settings.service.hash_salt)

    def rare_key(self, category: str, spec: FeatureSpec) -> str:
        """What stands for a rare category: its hash, or the category where the log holds hashes."""
        return category if self.salt is None or spec.log is not LogMode.KEEP else salted_hash(category, self.salt)


NO_DISCLOSURE_CONTROL = Disclosure()


def shared_counts(counts: Mapping[str, int], min_count: int) -> tuple[dict[str, int], dict[str, int]]:
    """The categories with at least `min_count` values, and the rarer ones; both in the given order."""
    return (
        {category: count for category, count in counts.items() if count >= min_count},
        {category: count for category, count in counts.items() if count < min_count},
    )


def window_tally(tally: Tally, min_count: int) -> Tally:
    """A window's tally as it may be stored: without categories and numbers that fewer than `min_count` values share."""
    features = {name: _shared_part(feature, min_count) for name, feature in tally.features.items()}
    prediction_counts = shared_predictions(tally.prediction_counts, min_count)
    return replace(tally, features=features, prediction_counts=prediction_counts) if min_count > 1 else tally


def shared_predictions(counts: Mapping[str, int], min_count: int) -> Mapping[str, int]:
    """The counts of classes; of a regressor's predictions only those that enough rows share."""
    return shared_counts(counts, min_count)[0] if are_decimals(counts.keys()) else counts


def _shared_part(feature: FeatureTally, min_count: int) -> FeatureTally:
    examples = shared_counts(feature.unseen_examples, min_count)[0]
    is_shared = feature.commonest is not None and feature.commonest[1] >= min_count
    return replace(feature, unseen_examples=examples, commonest=feature.commonest if is_shared else None)
