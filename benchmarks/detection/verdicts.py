"""A monitor's verdict on a stream, run by run, as severities of the product."""

from collections.abc import Iterable
from dataclasses import dataclass

from stillsafe.core.state import Severity

WARNING_AFTER, CRITICAL_AFTER = 2, 3  # deviating runs in a row


@dataclass(frozen=True, slots=True)
class Verdict:
    """One monitor on one stream.

    Attributes:
        severities: one per run.
        gains: per run what the fallback's answers are worth more than the model's: in accuracy, or as a share of the
            reference error; None where that is unknown.
        refusal_rates: per run the share of its requests that the schema refused; empty of a peer, which has none.
        bypasses: per run whether the model is bypassed after it; empty of a peer, whose CRITICAL always bypasses.
    """

    severities: tuple[Severity, ...]
    gains: tuple[float | None, ...]
    refusal_rates: tuple[float, ...] = ()
    bypasses: tuple[bool, ...] = ()

    @property
    def bypassed_runs(self) -> tuple[bool, ...]:
        """Whether the fallback answers, of each run."""
        return self.bypasses or tuple(severity is Severity.CRITICAL for severity in self.severities)

    def has_reached(self, severity: Severity, since: int, within: int | None = None) -> bool:
        """Whether a run from `since` on was that severe or worse, among the next `within` runs."""
        until = None if within is None else since + within
        return any(_ORDER[one] >= _ORDER[severity] for one in self.severities[since:until])


_ORDER = {Severity.NORMAL: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def streaks(deviating: Iterable[bool]) -> tuple[Severity, ...]:
    """Severities by the streak rule, for a monitor that only decides whether a run deviates."""
    severities = []
    length = 0
    for bad in deviating:
        length = length + 1 if bad else 0
        severities.append(
            Severity.CRITICAL
            if length >= CRITICAL_AFTER
            else Severity.WARNING
            if length >= WARNING_AFTER
            else Severity.NORMAL
        )
    return tuple(severities)
