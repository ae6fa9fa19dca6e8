"""Explanations by a language model beside the offline ones, and a count of those that failed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply. An owner may have dropped the table of explanations: no decision reads it."""
    if sa.inspect(op.get_bind()).has_table("llm_explanations"):
        _extend_explanations()
    op.create_table(
        "explanation_failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("incident_id", NAME, nullable=False),
        sa.Column("incident_status", NAME, nullable=False),
        sa.Column("llm_model", NAME, nullable=False),
        sa.Column("failure", NAME, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_explanation_failures")),
    )


def _extend_explanations() -> None:
    with op.batch_alter_table("llm_explanations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source", NAME, nullable=True))
        batch_op.add_column(sa.Column("likely_causes", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("prompt_version", NAME, nullable=True))
        batch_op.add_column(sa.Column("seconds", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("unverified", sa.JSON(), nullable=True))
        batch_op.drop_constraint("uq_llm_explanations_incident_id_incident_status", type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_llm_explanations_incident_id_incident_status_source"),
            ["incident_id", "incident_status", "source"],
        )
    op.execute("UPDATE llm_explanations SET source = 'offline' WHERE llm_model = 'offline'")
