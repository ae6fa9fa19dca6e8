"""How a reading of broken relations came about: one feature's associations with the others, partner by partner."""

import numpy as np

from stillsafe.core.evidence import association
from stillsafe.core.evidence.association import Numbers
from stillsafe.core.evidence.corruption import AssociationSearch, Diagnosis, Limits
from stillsafe.core.evidence.measures import RunMeasures
from stillsafe.core.evidence.relation_record import Record, noise_factor_formula
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Level, Reading, Signal, reading_key
from stillsafe.monitoring.derivation import Step, level_steps, noise_steps

_BROKEN_SHARE = "share of the rows on which the relations are broken"


def association_search(policy: Policy, run: RunMeasures, record: Record) -> AssociationSearch | None:
    """The joint table and the window as the diagnosis of a run compares them, or None without either."""
    if run.shift is None:
        return None
    table = association.baseline_association_table(run.baseline, policy.evidence, run.shift.features)
    if table is None or len(run.tally.agreement) != len(table.sizes) * (len(table.sizes) - 1) // 2:
        return None
    limits = Limits(run.z, policy.broken_relation_rate_moderate, policy.evidence, record)
    return AssociationSearch(table, run.baseline, run.tally, run.shift, limits)


def relation_steps(
    policy: Policy, run: RunMeasures, search: AssociationSearch, diagnosis: Diagnosis, reading: Reading
) -> tuple[Step, ...]:
    """The derivation of one feature's broken relations.

    Args:
        policy: the rules' numbers.
        run: what the window measures.
        search: the joint table and the window.
        diagnosis: of the run.
        reading: of the feature.
    """
    name = reading.feature or ""
    without = diagnosis.associations[name].without
    index, table, window = search.index[name], search.table, search.window
    partners = [
        search.index[other]
        for other in search.names
        if table.is_associated[index, search.index[other]] and other not in without
    ]
    return (
        Step("partner", tuple(search.names[each] for each in partners), "features that it is associated with"),
        Step("without", tuple(without), "features left out: their corruption explains what they break"),
        *_column("information", table.mutual_information[index, partners], "mutual information of the pair, in nats"),
        *_column("observed", window.observed_pmi[index, partners], "mean PMI in the window, in nats"),
        *_column("expected_own", window.from_own[index, partners], "expected by the feature's own distribution"),
        *_column("expected_others", window.from_others[index, partners], "expected by the partner's distribution"),
        *_column("chance", window.chance[index, partners], "mean PMI if the two were independent"),
        *_column("overfit", table.optimism[index, partners], "mean PMI by which the table fits its own rows better"),
        *_column("full_break", table.full_break[index, partners], "mean PMI that a full break costs healthy rows"),
        *_offset_steps(search, index),
        *_direction_steps(search, index, "own"),
        *_direction_steps(search, index, "others"),
        *_result_steps(policy, run, search, reading, without),
    )


def _column(name: str, values: Numbers, meaning: str) -> tuple[Step, ...]:
    return (Step(name, tuple(np.asarray(values, dtype=np.float64).tolist()), meaning),)


def _offset_steps(search: AssociationSearch, index: int) -> tuple[Step, ...]:
    table, noise = search.table, search.noise
    policy = table.policy
    return (
        Step("total_information", float(table.total_information[index]), "with all its associated features"),
        Step("strength", None, "with these partners", "sum(information)"),
        Step("rest", None, "share of its information that remains", "min(strength / total_information, 1)"),
        Step("healthy_offset", float(noise.offset[index]), "share that healthy rows show on average"),
        Step("offset", None, "share to subtract", "max(healthy_offset, sum(overfit) / max(sum(full_break), 1e-12))"),
        Step("variation", float(noise.variation[index]), "standard deviation between healthy chunks, beyond sampling"),
        Step("floor", policy.association_noise_floor, "association_noise_floor of the policy"),
    )


def _direction_steps(search: AssociationSearch, index: int, side: str) -> tuple[Step, ...]:
    """The broken share in one direction: given the feature's `own` distribution, or that of the `others`."""
    policy, window, noise = search.table.policy, search.window, search.noise
    if side == "own":
        smallest = Step("own_break_min", policy.own_break_min, "own_break_min of the policy")
        sampling: tuple[Step, ...] = (
            Step("sampling_own", float(window.standard_error[index]), "standard error by sampling, with all partners"),
        )
        spread = "sampling_own * sqrt(rest)"
    else:
        smallest = Step("others_break_min", policy.others_break_min, "others_break_min of the policy")
        sampling = (
            Step("row_sd", float(noise.row_sd[index]), "standard deviation of one healthy row's broken share"),
            Step("effective_count", float(window.effective_count), "rows of window and baseline in one"),
        )
        spread = "row_sd * strength / sqrt(effective_count) * sqrt(rest)"
    full, loss, error = f"full_{side}", f"loss_{side}", f"error_{side}"
    return (
        Step(full, None, "mean PMI that a full break costs", f"sum(expected_{side} - chance)"),
        Step(loss, None, "mean PMI lost", f"sum(expected_{side} - observed) - offset * max({full}, 0)"),
        smallest,
        Step(f"share_{side}", None, _BROKEN_SHARE, f"{loss} / max({full}, {smallest.name} * strength + 1e-12)"),
        *sampling,
        Step(
            error,
            None,
            "standard error of the loss",
            f"sqrt(({spread})**2 + (variation * max({full}, 0))**2 + (floor * strength)**2)",
        ),
        Step(f"deviations_{side}", None, "standard errors beyond health", f"{loss} / {error}"),
    )


def _result_steps(
    policy: Policy, run: RunMeasures, search: AssociationSearch, reading: Reading, without: tuple[str, ...]
) -> tuple[Step, ...]:
    name, evidence = reading.feature or "", policy.evidence
    index = search.index[name]
    own_limit = policy.feature_limits.get(reading_key(Signal.BROKEN_RELATION_RATE, name), 0.0)
    shift_elsewhere = float(search.shift_elsewhere(set(without))[index])
    reason = "not judged by the number alone: the corruption of another feature explains it"
    steps = (
        *_noise_steps(policy, run, reading),
        Step("least_share", policy.broken_relation_rate_moderate, "broken_relation_rate_moderate of the policy"),
        Step("shift_elsewhere", shift_elsewhere, "largest certain shift of another intact feature"),
        Step("tolerance", evidence.shift_tolerance, "shift_tolerance of the policy"),
        Step("own_limit", own_limit, "limit of this feature in the settings; 0 without one"),
        Step(
            "moderate_limit",
            reading.moderate_limit,
            "share that is MODERATE",
            "max(least_share + tolerance * shift_elsewhere, own_limit)",
        ),
    )
    if reading.severe_limit is not None:
        severe = policy.broken_relation_rate_severe
        steps += (
            Step("severe_effect", severe, "broken_relation_rate_severe"),
            Step("severe_limit", reading.severe_limit, "share that is SEVERE", "max(moderate_limit, severe_effect)"),
        )
    else:
        steps += (Step("severe_limit", None, "no severe limit: only what is estimated to be harmful is severe"),)
    level = list(level_steps(reading, "value - reference"))
    is_explained = reading.moderate_limit is not None and (reading.value or 0.0) > reading.moderate_limit
    if is_explained and reading.level is Level.NONE and not reading.is_change:
        level[-1] = Step("level", reading.level.value, reason)
    return (*steps, *level)


def _noise_steps(policy: Policy, run: RunMeasures, reading: Reading) -> tuple[Step, ...]:
    """The share, and whether it is beyond the noise of the runs that are judged together."""
    return (
        Step("value", None, _BROKEN_SHARE, "min(max(min(share_own, share_others), 0), 1)"),
        Step("reference", 0.0, "no relation is broken when healthy"),
        *(step for step in noise_steps(run, reading.key) if step.name != "variation"),
        *_before_steps(policy, reading),
        Step(
            "noise",
            None,
            "share that noise explains, in the weaker direction",
            "z * noise_factor * abs(share_own / deviations_own if deviations_own <= deviations_others else "
            "share_others / deviations_others)",
        ),
        Step("deviations", None, "the weaker direction", "min(deviations_own, deviations_others)"),
        Step("most_deviations", None, "the clearer direction", "max(deviations_own, deviations_others)"),
        Step("allowance", policy.evidence.weaker_side_deviations, "weaker_side_deviations of the policy"),
        Step(
            "is_clear",
            None,
            "whether both are beyond noise",
            "deviations > (z - allowance) * noise_factor and most_deviations > z * noise_factor",
        ),
    )


def _before_steps(policy: Policy, reading: Reading) -> tuple[Step, ...]:
    """What the runs before showed, and the part of the noise of one run that counts together with them."""
    shares = [*reading.shares_before, *[0.0] * int(policy.evidence.relation_runs)]
    return (
        *(
            Step(f"before_{k}", shares[k - 1], "broken share in units of the noise of one run, so many runs before")
            for k in range(1, int(policy.evidence.relation_runs))
        ),
        Step("noise_factor", None, "part of the noise that counts in this run", noise_factor_formula(policy.evidence)),
    )
