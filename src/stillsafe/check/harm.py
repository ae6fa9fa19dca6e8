"""Findings of `stillsafe check` about how harm is measured: the owner's metric, and what accuracy cannot see."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.realised_loss import judged_impacts
from stillsafe.model.external import NO_HARM
from stillsafe.settings import Settings

RARE_SHARE = 0.1
"""A class that at most one row in ten belongs to is rare: accuracy hardly sees what happens to it."""
REFRESH = "`stillsafe init --refresh --sample DATA`"


def _are_same(owners: Sequence[MetricDefinition], studied_metrics: Sequence[MetricDefinition]) -> bool:
    """Whether the owner's metrics are the studied ones: a class may be written as text, or left to `init`."""
    if len(owners) != len(studied_metrics):
        return False
    for metric, studied_metric in zip(owners, studied_metrics, strict=True):
        names = None if metric.positive is None else str(metric.positive), str(studied_metric.positive)
        if names[0] not in (None, names[1], names[1].lower()):
            return False
        if replace(metric, positive=None) != replace(studied_metric, positive=None):
            return False
    return True


def _external_findings(reference: Baseline) -> Iterator[Finding]:
    """What is not known of a model elsewhere, and whether its labels count."""
    yield warning("harm", f"Missing: {NO_HARM}.")
    impact = reference.answer_impact
    if impact is None:
        message = "No reading: the sample had no labels, so there is no healthy error to compare with. Give --label."
        yield warning("labels", message)
        return
    if not judged_impacts(reference):
        message = (
            f"No reading: {impact.metric.phrase} of a model elsewhere is not judged. Set `metric` in [harm] to one of "
        )
        yield warning("labels", f"{message}the answers alone, such as balanced_accuracy, and make the settings again.")
        return
    performance = impact.metric.performance(impact.healthy_error)
    yield ok("labels", f"compared with the sample: {impact.metric.phrase} {performance:.3g} on {impact.row_count} rows")


def harm_findings(settings: Settings, reference: Baseline) -> Iterator[Finding]:
    """Which metric the loss is estimated in, whether the reference knows what a failure costs in it, and its limits."""
    impact, subject = reference.harm, "harm"
    if settings.model.external:
        yield from _external_findings(reference)
        return
    if impact is None:
        yield ok(subject, "not estimated: the reference has no impact study, so signals are judged by their own limits")
        return
    owners = settings.harm.definitions
    studied_metrics = [each.definition for each in (impact, *impact.also) if each.definition is not None]
    if owners and not _are_same(owners, studied_metrics):
        titles = " and ".join(each.metric.phrase for each in owners)
        message = (
            f"[harm] asks for {titles} (or a cost, class or threshold of its own), and the reference was studied for "
            f"{impact.metric.phrase}: the loss is estimated in {impact.metric.phrase}, by its default limits. "
            f"{REFRESH} studies the other."
        )
        yield warning(subject, message)
        return
    titles = " and ".join(each.metric.phrase for each in (impact, *impact.also))
    performance = impact.metric.performance(impact.healthy_error)
    message = f"the loss is estimated in {titles}; healthy {impact.metric.phrase} {performance:.3g}"
    if impact.labelled and impact.needs_scores and impact.score_table is None:
        message += (
            f"; labels do not judge {impact.metric.phrase}, because the reference lacks the healthy rows by score: "
            f"{REFRESH} or `stillsafe baseline create --with-labels` adds them where the model's scores allow it"
        )
    yield ok(subject, message)
    if impact.metric is Metric.ACCURACY and impact.truths:
        rarest = min(label.share for label in impact.truths)
        if rarest <= RARE_SHARE:
            yield warning(
                "rare class",
                f"The rarest class is {rarest:.1%} of the sample: accuracy cannot see that the model misses it. Set "
                f"`metric` in [harm] to auc, recall or balanced_accuracy, then {REFRESH}.",
            )
