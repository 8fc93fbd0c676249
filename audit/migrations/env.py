"""Alembic's entry: it runs the steps over the connection that `audit.migrations` hands in, and never opens one."""

from alembic import context

from audit.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=context.config.attributes["connection"].dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
