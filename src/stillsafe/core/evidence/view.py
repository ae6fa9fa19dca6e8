"""Views: what is watched of dates and free texts, whose values are new all the time.

A date is watched by its lag, the time from the value to the request, and by its hour and weekday where the lag leaves
these free. A text is watched by its length, the script of its letters, and the share of its words that the healthy
period does not know. A view is a column of numbers or categories like any other, and belongs to the feature that the
model takes. The columns are computed outside of `core`, in `monitoring.views`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ViewKind(StrEnum):
    """What a view shows of a value."""

    LAG = "lag"  #: Days from a date to the time of the request; negative for a date in the future.
    HOUR = "hour"  #: The hour of a time.
    WEEKDAY = "weekday"  #: The weekday of a date.
    LENGTH = "length"  #: Characters of a text.
    SCRIPT = "script"  #: The script of most letters of a text.
    UNKNOWN_WORDS = "unknown words"  #: Share of a text's words that the healthy period does not know, in [0, 1].


CATEGORY_KINDS = frozenset((ViewKind.HOUR, ViewKind.WEEKDAY, ViewKind.SCRIPT))
"""Views with categories; the others are numbers."""
ASSOCIATED_KINDS = frozenset((ViewKind.LAG, ViewKind.LENGTH))
"""Views of which associations with other features are watched: one for each feature, as views of one value agree."""


@dataclass(frozen=True, slots=True)
class View:
    """How a view is computed; stored with the baseline, so that each replay computes the same.

    Attributes:
        of: the feature.
        kind: what it shows.
        timezone: IANA name, of values and requests alike.
        is_daily: whether lags are whole days, because the values have no time of day.
        is_rough: whether only lags far from all healthy ones count, because the times of the healthy rows are unknown.
        follows_clock: whether only the range of the lags counts, because rows of one time have one lag: that of the
            first day of a month, or of the last load of a table.
        words: the known words, as `monitoring.known_words` stores them.
    """

    of: str
    kind: ViewKind
    timezone: str = "UTC"
    is_daily: bool = False
    is_rough: bool = False
    follows_clock: bool = False
    words: str = ""

    @property
    def name(self) -> str:
        """The name of its column and its readings."""
        return view_name(self.of, self.kind)


class MayBeView(Protocol):
    """What may be a view: the profile of a feature."""

    @property
    def view(self) -> View | None:
        """The view, or None of a feature itself."""


def view_name(feature: str, kind: ViewKind) -> str:
    """The name of a view, such as `signup (lag)`."""
    return f"{feature} ({kind.value})"


def with_views_of(names: Collection[str], features: Mapping[str, MayBeView]) -> frozenset[str]:
    """Some features and all views of them."""
    return frozenset(names) | {name for name, each in features.items() if each.view and each.view.of in names}


def viewed_features(names: Iterable[str], features: Mapping[str, MayBeView] | None) -> tuple[str, ...]:
    """The features that the model takes, in order of name: in place of a view the feature that it belongs to."""
    views = {name: each.view.of for name, each in (features or {}).items() if each.view}
    return tuple(sorted({views.get(name, name) for name in names}))
