"""Run by alembic: migrates the connection that the service hands over."""

from alembic import context

from fedproxy.service.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
