"""Each run stores the versions of the rules and of the wording that decided it, and the policy its evidence numbers.

Every run before this schema was decided by rules 1 and worded by wording 1.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BATCH = 1000
EVIDENCE_OF_RULES_1 = {
    "repeat_min_distinct": 21,
    "repeat_max_usual_rate": 0.1,
    "repeat_factor": 6.0,
    "silence_pause_factor": 3.0,
    "silence_recheck_fraction": 0.5,
    "far_rate_min": 0.05,
    "weaker_side_deviations": 0.5,
    "shift_tolerance": 0.4,
    "power_deviations": 6.0,
    "rebuttal_deviations": 4.0,
    "shift_deviations": 2.0,
    "mean_prediction_deviations": 4.0,
    "untested_factor": 2.0,
    "negligible_shift": 0.1,
    "label_shift_explained_min": 0.3,
    "impact_deviations": 4.0,
    "label_shift_deviations": 8.0,
    "label_shift_prior_rows": 2.0,
    "association_prior_rows": 3.0,
    "association_deviations": 6.0,
    "association_min_nats": 0.01,
    "association_min_remaining": 0.25,
    "association_noise_floor": 0.005,
    "own_break_min": 0.02,
    "others_break_min": 0.2,
    "state_valid_intervals": 2.0,
    "clock_tolerance_seconds": 3600.0,
}


def upgrade() -> None:
    """Apply."""
    op.add_column("current_window_metrics", sa.Column("rules_version", sa.Integer(), nullable=True))
    op.add_column("current_window_metrics", sa.Column("wording_version", sa.Integer(), nullable=True))
    runs = sa.table(
        "current_window_metrics",
        sa.column("id", sa.Integer()),
        sa.column("policy", sa.JSON(none_as_null=True)),
        sa.column("rules_version", sa.Integer()),
        sa.column("wording_version", sa.Integer()),
    )
    connection = op.get_bind()
    connection.execute(sa.update(runs).values(rules_version=1, wording_version=1))
    query = sa.select(runs.c.id, runs.c.policy).where(runs.c.policy.is_not(None)).order_by(runs.c.id).limit(BATCH)
    update = sa.update(runs).where(runs.c.id == sa.bindparam("run_id")).values(policy=sa.bindparam("new_policy"))
    rows = connection.execute(query).all()
    while rows:
        policies = [{"run_id": row.id, "new_policy": {**row.policy, "evidence": EVIDENCE_OF_RULES_1}} for row in rows]
        connection.execute(update, policies)
        rows = connection.execute(query.where(runs.c.id > rows[-1].id)).all()
