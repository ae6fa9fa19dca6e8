"""How a realised loss came about, step by step."""

from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Reading
from stillsafe.monitoring.derivation import Step


def realised_steps(policy: Policy, reading: Reading) -> tuple[Step, ...]:
    """The derivation of a realised loss: which labels it rests on, its noise, its limits and its level."""
    truth = reading.truth
    steps = [
        Step("labels", reading.sample_count, "answers of the model whose labels have come since the last such run")
    ]
    if truth is not None:
        steps += [
            Step("coverage", truth.coverage, f"of the predictions from {time_text(truth.start)} on have a label"),
            Step("end", time_text(truth.end), "time of the newest of these answers"),
        ]
        if truth.advantage is not None:
            steps.append(Step("advantage", truth.advantage, "what the fallback won per row on rows that both answered"))
    steps += [
        Step("healthy", reading.healthy_performance, f"{reading.metric} of the healthy model on the same answers"),
        Step("value", reading.value, "what is lost of it; of a mean absolute error the share by which it has grown"),
        Step("standard_error", reading.standard_error, "of the loss, by the labels and by the healthy rows"),
        Step("deviations", policy.evidence.realised_loss_deviations, "realised_loss_deviations of the policy"),
        Step("noise", reading.noise, "standard error and healthy variation, so many times"),
        Step("moderate_limit", reading.moderate_limit, "the larger of what matters and of the noise"),
        Step("severe_limit", reading.severe_limit, "the larger of what matters and of the noise"),
    ]
    formula = "'SEVERE' if value > severe_limit else 'MODERATE' if value > moderate_limit else 'NONE'"
    return (*steps, Step("level", None, "how far the loss is from healthy", formula))
