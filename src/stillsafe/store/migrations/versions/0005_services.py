"""Services and model versions share a database without sharing state; a run names exactly the rows that it read.

A database of before becomes the service that upgrades it. Its state belongs to the model version of its last run.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SERVICE_TABLES = (
    "prediction_logs",
    "refusals",
    "baseline_metrics",
    "current_window_metrics",
    "system_state",
    "incidents",
    "llm_explanations",
    "explanation_failures",
    "operator_actions",
    "prunes",
)
OPTIONAL_TABLES = ("llm_explanations", "explanation_failures")
"""An owner may have dropped these: no decision reads them."""


def upgrade() -> None:
    """Apply."""
    connection = op.get_bind()
    tables = set(sa.inspect(connection).get_table_names())
    op.create_table(
        "services",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
        sa.UniqueConstraint("name", name=op.f("uq_services_name")),
    )
    op.create_table(
        "feature_schemas",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_feature_schemas")),
    )
    for table in SERVICE_TABLES:
        if table in tables:
            op.add_column(table, sa.Column("service_id", sa.Integer(), nullable=False, server_default="1"))
    _index_requests()
    _key_by_service(tables)
    _extend_runs()
    _extend_state()
    name = context.config.attributes.get("service")
    if name is not None:
        op.execute(sa.text("INSERT INTO services (id, name) VALUES (1, :name)").bindparams(name=name))


def _index_requests() -> None:
    op.add_column("prediction_logs", sa.Column("synthetic", sa.Boolean(), nullable=False, server_default=sa.false()))
    for table in ("prediction_logs", "refusals"):
        op.drop_index(op.f(f"ix_{table}_timestamp"), table_name=table)
        columns = ["service_id", "model_version", "timestamp"]
        op.create_index(op.f(f"ix_{table}_service_id_model_version_timestamp"), table, columns)


def _key_by_service(tables: set[str]) -> None:
    for table, key in (("baseline_metrics", "baseline_id"), ("incidents", "incident_id")):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_constraint(op.f(f"pk_{table}"), type_="primary")
            batch_op.create_primary_key(op.f(f"pk_{table}"), ["service_id", key])
    if "llm_explanations" in tables:
        columns = ["incident_id", "incident_status", "source"]
        with op.batch_alter_table("llm_explanations") as batch_op:
            batch_op.drop_constraint(op.f("uq_llm_explanations_" + "_".join(columns)), type_="unique")
            name = op.f("uq_llm_explanations_" + "_".join(["service_id", *columns]))
            batch_op.create_unique_constraint(name, ["service_id", *columns])


def _extend_runs() -> None:
    with op.batch_alter_table("current_window_metrics") as batch_op:
        batch_op.drop_constraint(op.f("uq_current_window_metrics_window_end"), type_="unique")
        batch_op.add_column(sa.Column("rows", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("late_count", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("expired_count", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("inherited", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("schema_digest", NAME, nullable=True))
        batch_op.add_column(sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("superseded_reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("shadow_problem", sa.Text(), nullable=True))
    op.create_index(
        "uq_current_window_metrics_version_window_end",
        "current_window_metrics",
        ["service_id", "model_version", "window_end"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )


def _extend_state() -> None:
    with op.batch_alter_table("system_state") as batch_op:
        batch_op.add_column(sa.Column("model_version", NAME, nullable=True))
        batch_op.add_column(sa.Column("progress", sa.Text(), nullable=True))
        name = op.f("uq_system_state_service_id_model_version")
        batch_op.create_unique_constraint(name, ["service_id", "model_version"])
    op.execute(
        "UPDATE system_state SET model_version ="
        " (SELECT model_version FROM current_window_metrics ORDER BY id DESC LIMIT 1)"
    )
