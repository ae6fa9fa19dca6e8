"""Alembic's entry point: runs the migrations on the connection that `database.upgrade` hands over."""

from alembic import context

from stillsafe.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
