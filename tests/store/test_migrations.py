"""The migrations lead to the schema that the code uses, and the schema has the mission's tables and columns."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from stillsafe.core.policy import RULES_VERSION, EvidencePolicy
from stillsafe.errors import SchemaMismatch, StoreMissing
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.runs import all_runs
from stillsafe.store.tables import metadata
from tests.postgres import running_postgres
from tests.store.processes import python

_RULES_VERSION = import_module("stillsafe.store.migrations.versions.0004_rules_version")
BATCH, EVIDENCE_OF_RULES_1 = _RULES_VERSION.BATCH, _RULES_VERSION.EVIDENCE_OF_RULES_1
MISSION = {
    "prediction_logs": {
        "id",
        "timestamp",
        "model_version",
        "system_state",
        "input_summary",
        "prediction",
        "confidence_score",
        "fallback_used",
    },
    "baseline_metrics": {
        "baseline_id",
        "created_at",
        "sample_size",
        "avg_confidence",
        "low_confidence_rate",
        "feature_ranges",
        "category_frequencies",
        "missing_value_rates",
    },
    "current_window_metrics": {
        "window_start",
        "window_end",
        "prediction_count",
        "avg_confidence",
        "low_confidence_rate",
        "feature_anomalies",
        "unseen_categories",
    },
    "system_state": {"id", "current_state", "last_updated", "reason"},
    "incidents": {
        "incident_id",
        "detected_at",
        "severity",
        "trigger_signals",
        "decision_reason",
        "fallback_activated",
        "resolved",
    },
    "llm_explanations": {"incident_id", "generated_at", "summary", "recommendations", "llm_model"},
}
OURS = {
    "prediction_logs": {
        "prediction_id",
        "decided_by",
        "reason",
        "model_error",
        "synthetic",
        "service_id",
        "source",
        "trace_id",
    },
    "baseline_metrics": {"model_version", "source", "active", "document", "is_redacted", "service_id"},
    "current_window_metrics": {
        "id",
        "model_version",
        "baseline_id",
        "policy",
        "window",
        "readings",
        "memory",
        "evidence",
        "severity",
        "state_before",
        "state_after",
        "shadow",
        "reason",
        "incident_id",
        "last_prediction_row",
        "last_refusal_row",
        "fresh_since",
        "rules_version",
        "wording_version",
        "service_id",
        "rows",
        "late_count",
        "expired_count",
        "inherited",
        "schema_digest",
        "superseded_at",
        "superseded_reason",
        "shadow_problem",
        "is_redacted",
    },
    "system_state": {
        *("severity", "checked_at", "valid_until", "held", "damaged_features", "memory"),
        *("service_id", "model_version", "progress"),
    },
    "incidents": {
        *("escalated_at", "resolved_at", "resolution", "model_version", "baseline_id", "service_id"),
        *("fallback_ended_at", "fallback_ended_reason"),
    },
    "llm_explanations": {
        *("id", "incident_status", "source", "likely_causes"),
        *("prompt_version", "seconds", "unverified", "service_id"),
    },
}
FURTHER_TABLES = {
    *("refusals", "operator_actions", "prunes", "explanation_failures", "alembic_version"),
    *("services", "feature_schemas", "request_ids", "request_duplicates", "labels", "api_keys"),
    *("erasures", "erasure_marks"),
    "alerts",
}


def test_migrations_lead_to_the_tables(engine: Engine) -> None:
    """At head the database differs from `tables.metadata` in nothing: no table, column, type, default or index."""
    exact = {"compare_type": True, "compare_server_default": True}
    with database.reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=exact), metadata) == []


def test_there_are_the_six_tables_of_the_mission(engine: Engine) -> None:
    """The six tables are there by name, and beside them only what the promises need."""
    assert set(inspect(engine).get_table_names()) == {*MISSION, *FURTHER_TABLES}


@pytest.mark.parametrize("table", MISSION)
def test_each_table_has_the_columns_of_the_mission(engine: Engine, table: str) -> None:
    """Every column that the mission names, and ours."""
    assert {column["name"] for column in inspect(engine).get_columns(table)} == MISSION[table] | OURS[table]


@pytest.mark.parametrize("table", MISSION)
def test_a_column_of_ours_may_be_left_out(engine: Engine, table: str) -> None:
    """What the mission does not name is null, has a default, or is the counted key, so other writers need not know."""
    inspector = inspect(engine)
    keys = set(inspector.get_pk_constraint(table)["constrained_columns"])
    required_columns = {
        c["name"] for c in inspector.get_columns(table) if not c["nullable"] and c["default"] is None
    } - keys
    assert required_columns <= MISSION[table]


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    """A migration's number is the beginning of its file's name."""
    scripts = ScriptDirectory(str(database.MIGRATIONS)).walk_revisions()
    assert database.known_revisions() == [script.revision for script in scripts]


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    """An upgrade is safe on a database that is there already, and keeps its rows."""
    with database.writing(engine) as connection:
        connection.execute(text(_STATE))
    database.upgrade(engine)
    database.require_current(engine)
    with database.reading(engine) as connection:
        assert connection.execute(text("SELECT current_state FROM system_state")).scalar() == "WARNING"


def test_the_first_version_s_database_is_brought_here(empty: Engine) -> None:
    """A database of the first schema gets what was added since, and keeps what it holds."""
    upgrade_to(empty, "0001")
    with database.writing(empty) as connection:
        connection.execute(text(_STATE))
    with pytest.raises(SchemaMismatch, match="older version"):
        database.require_current(empty)
    database.upgrade(empty)
    test_migrations_lead_to_the_tables(empty)
    with database.reading(empty) as connection:
        assert connection.execute(text("SELECT current_state FROM system_state")).scalar() == "WARNING"


def test_older_explanations_stay_and_are_told_apart(empty: Engine) -> None:
    """A database of the first schema keeps its explanations; each step may then have one of each source."""
    insert = """
        INSERT INTO llm_explanations (incident_id, incident_status, generated_at, summary, recommendations, llm_model)
        VALUES ('inc-1', 'opened', '2026-01-01 00:00:00', 'why', 'what', 'offline')
    """
    upgrade_to(empty, "0001")
    with database.writing(empty) as connection:
        connection.execute(text(insert))
    database.upgrade(empty)
    with database.writing(empty) as connection:
        connection.execute(text(insert))
    with database.reading(empty) as connection:
        output = connection.execute(text("SELECT summary, source, unverified FROM llm_explanations ORDER BY id")).all()
    assert [tuple(row) for row in output] == [("why", "offline", None), ("why", None, None)]


def test_older_runs_get_the_versions_and_the_numbers_of_the_first_rules(empty: Engine) -> None:
    """Each run of a database of an older schema was decided by rules 1: its policy gets their numbers."""
    upgrade_to(empty, "0003")
    insert = text("""
        INSERT INTO current_window_metrics
            (window_start, window_end, prediction_count, feature_anomalies, unseen_categories, policy)
        VALUES ('2026-01-01 00:00:00', :window_end, 0, '{}', false, :policy)
    """)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    ends = [f"{first + timedelta(minutes=10 * number):%Y-%m-%d %H:%M:%S}" for number in range(BATCH + 20)]
    runs = [{"window_end": end, "policy": None if end == ends[4] else '{"warning_runs": 3}'} for end in ends]
    with database.writing(empty) as connection:
        connection.execute(insert, runs)
    database.upgrade(empty)
    with database.reading(empty) as connection:
        run_records = list(all_runs(connection))
    assert {(run.rules_version, run.wording_version) for run in run_records} == {(1, 1)}
    policies = [run.policy for run in run_records]
    assert policies[4] is None
    assert all(p == {"warning_runs": 3, "evidence": EVIDENCE_OF_RULES_1} for p in policies if p is not None)


def test_the_numbers_of_the_first_rules_are_those_of_the_policy() -> None:
    """As long as the rules are the first ones, the migration writes just what a run of today stores."""
    assert RULES_VERSION > 1 or to_document(EvidencePolicy()) == EVIDENCE_OF_RULES_1


def upgrade_to(engine: Engine, revision: str) -> None:
    """Migrate an empty database to an older schema."""
    with database.writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(database.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_two_processes_may_upgrade_at_once(store_url: str) -> None:
    """Server and monitor started together on a new database both find it ready."""
    upgrade = "import sys; from stillsafe.store import database; database.upgrade(database.connect(sys.argv[1]))"
    processes = [python(upgrade, store_url) for _ in range(3)]
    for process in processes:
        output, complaint = process.communicate(timeout=60)
        assert (process.returncode, output, complaint) == (0, "", "")
    database.require_current(database.connect(store_url))


def test_a_database_without_tables_is_refused(empty: Engine) -> None:
    """Nothing works on a schema that is not there; the command that makes it is named."""
    assert database.revision(empty) is None
    with pytest.raises(StoreMissing, match=r"^The database has no tables\. .*`stillsafe db upgrade` creates it\.$"):
        database.require_current(empty)


def test_an_older_database_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that this version could upgrade is not touched until a person says so."""
    monkeypatch.setattr(database, "known_revisions", lambda: ["9999", *_KNOWN_REVISIONS])
    with pytest.raises(SchemaMismatch, match=r"older version: back it up, then run `stillsafe db upgrade`\.$"):
        database.require_current(engine)


def test_a_newer_database_is_refused(engine: Engine) -> None:
    """A database that a newer version wrote is neither used nor upgraded."""
    with database.writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=r"newer version \(9999\) than this Stillsafe: upgrade the package\.$"):
        database.require_current(engine)
    with pytest.raises(SchemaMismatch, match=r"newer Stillsafe: upgrade the package\.$"):
        database.upgrade(engine)


@pytest.mark.parametrize("version", [16, 18])
def test_every_server_that_is_supported_takes_the_schema(version: int) -> None:
    """The schema is made, found current and written on the oldest server that is supported and on the newest."""
    with running_postgres(version) as server:
        engine = database.connect(server.empty())
        database.upgrade(engine)
        database.require_current(engine)
        with database.writing(engine) as connection:
            connection.execute(text(_STATE))
            server_version = connection.execute(text("SHOW server_version")).scalar_one()
        engine.dispose()
    assert server_version.startswith(f"{version}.")


_KNOWN_REVISIONS = database.known_revisions()
_STATE = """
    INSERT INTO system_state (id, current_state, last_updated, reason)
    VALUES (1, 'WARNING', '2026-01-01 00:00:00', 'why')
"""
