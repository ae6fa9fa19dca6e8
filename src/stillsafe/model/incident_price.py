"""What the bypass of an incident won or lost, by the labels that runs have read since."""

from sqlalchemy import Connection

from stillsafe.core.evidence.bypass_price import BypassPrice, bypass_price
from stillsafe.core.evidence.label_tally import LabelTally
from stillsafe.core.evidence.metric import MetricDefinition
from stillsafe.core.evidence.realised_loss import judged_impact
from stillsafe.store.codec import stored_value
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.incidents import IncidentRecord, recent_incidents
from stillsafe.store.read.runs import label_documents

MOST_INCIDENTS = 20


def incident_price(connection: Connection, incident: IncidentRecord) -> BypassPrice | None:
    """The price of an incident's bypass; None where it did not bypass, or no label has come for it.

    Labels that come later change it.
    """
    baseline = None if incident.baseline_id is None else baseline_by_id(connection, incident.baseline_id)
    impact = None if baseline is None else judged_impact(baseline)
    if impact is None or not incident.fallback_activated or incident.model_version is None:
        return None
    start, end = incident.escalated_at or incident.detected_at, incident.fallback_ended_at or incident.resolved_at
    documents = label_documents(connection, incident.model_version, start)
    tallies = [stored_value(LabelTally, document) for document in documents]
    own_tallies = [
        each
        for each in tallies
        if each.start is not None and each.end is not None and each.end >= start and (end is None or each.start <= end)
    ]
    # An area under the curve needs rows of both classes.
    own_tallies = [each for each in own_tallies if each.fallback.least_class_count != 0]
    definition = impact.definition or MetricDefinition(impact.metric)
    return bypass_price(
        definition, [each.paired_model for each in own_tallies], [each.fallback for each in own_tallies]
    )


def newest_price(connection: Connection, model_version: str) -> tuple[IncidentRecord, BypassPrice] | None:
    """The newest incident of a version whose bypass has a price, and the price."""
    for incident in recent_incidents(connection, MOST_INCIDENTS):
        price = incident_price(connection, incident) if incident.model_version == model_version else None
        if price is not None:
            return incident, price
    return None
