"""Kinds of signals: their units, what they are about, and what a deviation means."""

from enum import StrEnum


class Unit(StrEnum):
    """How a reading's numbers are shown."""

    SCORE = "score"  #: A number in [0, 1], shown as a decimal.
    SHARE = "share"  #: A share, shown in percent.
    DISTANCE = "distance"  #: A total variation distance in [0, 1], shown as a decimal.
    POINTS = "points"  #: Accuracy, shown in points of a hundred.
    LOSS = "loss"  #: A loss in the unit of the owner's metric, shown as a decimal.
    GROWTH = "growth"  #: A relative growth, shown in percent.
    SECONDS = "seconds"  #: A duration, whose limit counts from zero and not from the reference.


class Subject(StrEnum):
    """What a signal is about."""

    FEATURE = "feature"  #: One feature of the requests.
    OUTPUT = "output"  #: The model's predictions and confidences.
    TRAFFIC = "traffic"  #: The requests as a whole.


class Group(StrEnum):
    """What a deviation means."""

    CHANGE = "change"  #: The data differs from the baseline.
    DAMAGE = "damage"  #: A feature's values are not to be trusted: fallback rules that read it are skipped.
    FAILURE = "failure"  #: Predictions are lost or wrong: where the impact can be estimated, only these are severe.
    CLIENT = "client"  #: What clients send, and nothing about the model: never severe, and no obstacle to a recovery.
